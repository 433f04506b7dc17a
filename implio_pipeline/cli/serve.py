"""`implio serve`: answer customers' servers over HTTPS."""

from typing import Annotated

import typer

from implio_pipeline.cli.session import session_of


def serve_command(
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="The address to answer on; api.host when not given.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = None,
    is_plain: Annotated[
        bool, typer.Option("--http", help="Without TLS, for this machine's own programs alone.")
    ] = False,
    is_alone: Annotated[
        bool, typer.Option("--jobs", help="Do every job of `implio jobs list` as well, where no Dagster daemon does.")
    ] = False,
) -> None:
    """Answer customers' servers over HTTPS, until told to stop."""
    from implio_pipeline.api.serve import Serving, serve  # noqa: PLC0415 -- a web server, which `--help` need not load

    session = session_of(context)
    wanted = Serving(host=host, port=port, is_plain=is_plain, is_alone=is_alone)
    serve(session.home, wanted, on_start=lambda address: session.err.print(f"Serving {address}", markup=False))
