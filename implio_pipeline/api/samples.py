"""Examples of the API: bodies, answers, and the calls of `samples.toml`. A test runs the calls as they are shown.

The calls take the server's address, the key, and the certificate of the authority to trust from the environment:
`SERVER`, `KEY`, `CA`. A call that needs an id of an earlier call makes that call itself.
"""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import msgspec

from implio_pipeline.api.models import deletion_of
from implio_pipeline.domain.ids import Channel, RequestId, RequestKind, TeamId
from implio_pipeline.domain.instants import due_at
from implio_pipeline.domain.outcome import NOT_KNOWN
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.waiting import Wait, WaitCause, WaitingKind
from implio_pipeline.remedies import wait_view

_ATTEMPTS = 5
"""As many as a request that has stopped: without them the example could not be in that state."""
_CURL = 'curl --fail-with-body --silent --show-error --cacert "$CA" -H "X-Api-Key: $KEY" '
_PYTHON = """\
import os, ssl, httpx

trust = ssl.create_default_context(cafile=os.environ["CA"])
headers = {"X-Api-Key": os.environ["KEY"]}
client = httpx.Client(base_url=os.environ["SERVER"], verify=trust, headers=headers, timeout=60)
"""


def _samples() -> dict[str, dict[str, str]]:
    """Return the calls by operation and language, complete, so that they can be run."""
    found = tomllib.loads((files("implio_pipeline.api") / "samples.toml").read_text(encoding="utf-8"))
    for calls in found.values():
        if "curl" in calls:
            calls["curl"] = re.sub("^curl (?!--)", _CURL, calls["curl"], flags=re.MULTILINE).strip()
        if "Python" in calls:
            calls["Python"] = (_PYTHON + calls["Python"]).strip()
    return found


SAMPLES = _samples()
_AD = {
    "id": "ad-1",
    "content": {"title": "Bike", "body": "Nearly new", "price": {"amount": 80, "currency": "EUR"}},
    "user": {"id": "u-7", "emailAddresses": ["seller@example.com"]},
}
_TASK, _BATCH = "0198c5d0-4a3b-7c2d-8e1f-0a1b2c3d4e5f", "6f9619ff-8b86-4d01-b42d-00c04fc964ff"
_ACCEPTED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
_WAIT = Wait(what=WaitingKind.LANDING_FILE, since=_ACCEPTED_AT, cause=WaitCause.NO_DAEMON)


def example_request(state: RequestState, *, kind: RequestKind = RequestKind.USER) -> Request:
    """Build an example of a request in this state, before its items are counted."""
    return Request(
        request_id=RequestId("1be43fd44330b48ff4e02bdad4af044c"),
        team=TeamId("team"),
        kind=kind,
        channel=Channel.API,
        state=state,
        received_at=_ACCEPTED_AT,
        accepted_at=_ACCEPTED_AT,
        due_at=due_at(_ACCEPTED_AT),
        attempts=_ATTEMPTS,
        scope_pseudonym="",
        tombstone_sequence=0,
        queue_removed=1,
    )


_DELETION = msgspec.to_builtins(deletion_of(example_request(RequestState.ACCEPTED), NOT_KNOWN))
EXAMPLES: dict[str, Any] = {
    "Ads": [_AD],
    "Submission": {"batchId": _BATCH, "accepted": [{"id": "ad-1", "taskId": _TASK}], "rejected": []},
    "Poll": {
        "pollingInfo": {"newTimestamp": 1772366400000, "newerAdsExist": False},
        "ads": [
            {
                "items": [{"id": "ad-1", "batchId": _BATCH, "taskId": _TASK}],
                "packedAt": 1772366400123,
                "result": {"outcome": "refused", "reasons": [{"name": "spam"}], "actorId": "mia@example.com"},
            }
        ],
    },
    "Deletion": _DELETION,
    "DeletionPage": {"deletions": [_DELETION], "next": None},
    "NextAsked": {"moderator": "mia@example.com"},
    "Decision": {"moderator": "mia@example.com", "outcome": "refused", "reasons": ["spam"]},
    "Queues": {"queues": [{"queue": "Default", "waiting": 12}, {"queue": "Escalated", "waiting": 0}]},
    "Health": {"status": "alive"},
    "WaitingLongest": {"waiting": [wait_view(_WAIT, now=_ACCEPTED_AT + timedelta(hours=2))]},
}
"""Bodies and answers by schema. A test validates each against its schema."""
