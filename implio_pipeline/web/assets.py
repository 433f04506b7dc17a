"""One style and one script, served by us at an address that changes with their content."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parent / "static"
ASSETS_PATH = f"/static/{sha256(b''.join(each.read_bytes() for each in sorted(_FOLDER.iterdir()))).hexdigest()[:16]}"
"""Where they are mounted; an address of another version is not found."""


class Assets(StaticFiles):
    """The app to mount there; browsers may keep what they got for a year."""

    def __init__(self) -> None:
        super().__init__(directory=_FOLDER)

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        """Return a file, or the answer that the browser's copy is still good."""
        response = super().file_response(*arguments, **named)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
