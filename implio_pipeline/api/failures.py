"""Failures of a call, each with its HTTP status. None repeats a value of the call."""

from typing import ClassVar

from implio_pipeline.domain.errors import ImplioError


class CallFailed(ImplioError):
    """A call that is answered with a problem."""

    status: ClassVar[int] = 400
    code = "call-refused"
    remedy = "Correct the call and send it again; /openapi.json describes every call."
    retry_after_seconds: int | None = None
    is_closing: ClassVar[bool] = False
    """Whether the connection is closed after the answer, because the rest of the body would have to be read."""


class ParametersRefused(CallFailed):
    """The query string does not fit this call."""

    code = "parameters-refused"


class BodyRefused(CallFailed):
    """The body does not fit this call."""

    code = "body-refused"


class BodyTooLarge(CallFailed):
    """The body is too large, or has too many items."""

    status = 413
    is_closing = True
    code = "body-too-large"
    remedy = "Send less in one call."


class KeyReused(CallFailed):
    """The idempotency key was used for another body within a day."""

    status = 422
    code = "idempotency-key-reused"
    remedy = "Use a new `Idempotency-Key` for each new body. Nothing of this call was kept."


class MediaTypeRefused(CallFailed):
    """The `Content-Type` is not JSON."""

    status = 415
    code = "media-type-refused"
    remedy = "Send JSON in UTF-8 with `Content-Type: application/json` and no content encoding."


class NotThere(CallFailed):
    """The team has nothing with this name."""

    status = 404
    code = "not-found"
    remedy = "Check the address; ids of another team are not found either."


class TooSlow(CallFailed):
    """The body did not come in time."""

    status = 408
    is_closing = True
    code = "body-too-slow"
    remedy = "Send the body faster, or less in one call."


class TooManyCalls(CallFailed):
    """The API key or the network address makes more calls than its limit allows."""

    status = 429
    code = "too-many-calls"
    remedy = "Wait the seconds that Retry-After names, then call again."

    def __init__(self, facts: str, *, seconds: int) -> None:
        super().__init__(facts)
        self.retry_after_seconds = seconds


class TookTooLong(CallFailed):
    """The answer was not ready in time."""

    status = 503
    code = "took-too-long"
    remedy = "Call again later. What was accepted is kept."
    retry_after_seconds = 5


class ValidatorGone(CallFailed):
    """The process that validates posts was killed, and so was the next one. Nothing of the post was kept."""

    status = 503
    code = "judge-gone"
    remedy = "Call again in a moment."
    retry_after_seconds = 5


class ShuttingDown(CallFailed):
    """The server was told to stop and takes no more posts."""

    status = 503
    code = "shutting-down"
    remedy = "Call again in a moment."
    retry_after_seconds = 5
