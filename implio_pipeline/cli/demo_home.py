"""The home a demo runs in: made, made anew, or left alone."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

from implio_pipeline.cli.init import make_home
from implio_pipeline.cli.session import Session
from implio_pipeline.domain.errors import HomeExists
from implio_pipeline.settings import HOME_VARIABLE, SETTINGS_FILE

_MARKER = ".demo"
_KEPT = frozenset({"samples", "README.md", ".gitignore"})
"""What a checkout's `data/` holds of its own."""


def prepare(session: Session, *, is_fresh: bool) -> Path:
    """Return a new home at the place given, or that `IMPLIO_HOME` names, or at `./data`.

    Raises:
        HomeExists: a home is there that no demo made.
    """
    home = (session.home or Path(os.environ.get(HOME_VARIABLE) or "data")).expanduser().absolute()
    if (home / SETTINGS_FILE).exists():
        if not (home / _MARKER).exists():
            _ask_for_fresh(session, home, is_fresh=is_fresh)
        _empty(home)
    made = make_home(home)
    (made / _MARKER).touch()
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Dagster's log off the terminal while the block lasts; what a run did is in its event log."""
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield


def _ask_for_fresh(session: Session, home: Path, *, is_fresh: bool) -> None:
    if not is_fresh:
        remedy = "Run it elsewhere with `implio --home FOLDER demo`, or give --fresh to remove this home and its keys."
        raise HomeExists(f"{home} is a home that no demo made", remedy=remedy)
    text = f"{home} was not made by a demo. Remove it with its keys, so that nothing of it can ever be read again?"
    session.be_sure(text)


def _empty(home: Path) -> None:
    """Remove everything but a checkout's own; the settings go first, so that half a home is none."""
    (home / SETTINGS_FILE).unlink()
    for path in sorted(home.iterdir(), key=lambda path: path.name == _MARKER):
        if path.name in _KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
