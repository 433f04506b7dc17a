"""`Idempotency-Key`: a post that is sent again within a day is the same post.

The rules:

* Of a post the catalog keeps two keyed digests, a batch id and an instant, in the commit that stores its items. No
  text is kept, and without the team's key nobody can guess a text from the digests.
* The answer is not kept, since it repeats rejected items. The body that is sent again is validated again, and the same
  batch id and instant give the same task ids.
* A key that is being used is refused (409) until its first call is answered.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from threading import Lock

from fastapi import Request

from implio_pipeline.api.failures import KeyReused, ParametersRefused
from implio_pipeline.domain.errors import PostInWork
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.intake import POST_KEPT, PostRecord
from implio_pipeline.ports.services import Services

_HEADER = "Idempotency-Key"
_MOST_CHARACTERS = 255
_PATTERN = r'^(?:"[ -~]{0,126}[!-~][ -~]{0,126}"|[!#-~]|[!-~][ -~]{0,253}[!#-~])$'
"""Printable ASCII, with or without quotes."""
PARAMETER = {
    "name": _HEADER,
    "in": "header",
    "required": False,
    "description": (
        "A new text for each new body, such as a UUID, with or without quotes. For a day the same key with the same "
        "body gets the same answer, and nothing is stored twice."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": _MOST_CHARACTERS, "pattern": _PATTERN},
}


def key_of(request: Request) -> str | None:
    """Return a call's idempotency key without its quotes, or `None` when the call has none.

    Raises:
        ParametersRefused: there is more than one, or it is blank, too long, or not printable ASCII.
    """
    shown = request.headers.getlist(_HEADER)
    if not shown:
        return None
    key = shown[0].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(shown) > 1 or not key.strip() or len(key) > _MOST_CHARACTERS or not (key.isascii() and key.isprintable()):
        raise ParametersRefused(
            f"{_HEADER} is one text of 1 to {_MOST_CHARACTERS} printable ASCII characters",
            remedy=f"Send a UUID as the {_HEADER}, or leave the header out.",
        )
    return key


def post_of(services: Services, team: TeamId, *, key: str, body: bytes, arrived_at: datetime) -> PostRecord:
    """Build the record of a post that has just come. Its digests are keyed, so nobody can guess a body from them."""
    pseudonym = services.keychain.pseudonym
    return PostRecord(
        team=team,
        key_digest=pseudonym(team, f"idempotency-key\0{key}"),
        body_digest=pseudonym(team, f"post-body\0{sha256(body).hexdigest()}"),
        batch_id=str(uuid.uuid4()),
        taken_at=arrived_at,
    )


def known(services: Services, post: PostRecord) -> PostRecord | None:
    """Return the record of the same post from the last day, or `None` when the post is new.

    Raises:
        KeyReused: the key was used for another body.
    """
    before = services.catalog.landings.seen_post(post.team, post.key_digest)
    if before is None or before.taken_at <= post.taken_at - POST_KEPT:
        return None
    if before.body_digest != post.body_digest:
        raise KeyReused("the Idempotency-Key was used for another body within a day")
    return before


class PostsInWork:
    """The posts with an idempotency key that this process is storing."""

    def __init__(self) -> None:
        self._keys: set[tuple[TeamId, str]] = set()
        self._lock = Lock()

    @contextmanager
    def marked(self, post: PostRecord | None) -> Iterator[None]:
        """Mark a post as in work until the block ends; a post without an idempotency key needs no mark.

        Raises:
            PostInWork: another call with the same key is in work.
        """
        if post is None:
            yield
            return
        name = (post.team, post.key_digest)
        with self._lock:
            if name in self._keys:
                raise PostInWork("a call with this Idempotency-Key is still in work")
            self._keys.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard(name)
