"""Examples of the API: bodies and answers, and calls in curl and Python that a test runs as they are shown.

The calls take the server's address, the key, and the file of the authority to trust from the environment: `SERVER`,
`KEY`, `CA`. Each call that needs an id of an earlier one asks for it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from implio_pipeline.api.models import deletion_of
from implio_pipeline.domain.days import due_at
from implio_pipeline.domain.outcome import NOT_KNOWN
from implio_pipeline.domain.request import Request, RequestState
from implio_pipeline.domain.waiting import Cause, Wait, Waiting, wait_shape
from implio_pipeline.domain.words import Channel, RequestId, RequestKind, TeamId

_TRIES = 5
"""How often the example was tried: a request stops after some attempts, never before the first."""


def _curl(rest: str) -> str:
    return f'curl --fail-with-body --silent --show-error --cacert "$CA" -H "X-Api-Key: $KEY" {rest}'


def _python(*lines: str) -> str:
    return "\n".join(
        (
            "import os, ssl, httpx",
            "",
            'trust = ssl.create_default_context(cafile=os.environ["CA"])',
            'headers = {"X-Api-Key": os.environ["KEY"]}',
            'client = httpx.Client(base_url=os.environ["SERVER"], verify=trust, headers=headers, timeout=60)',
            *lines,
        )
    )


_DELETE_KINDS_CURL = "\n".join(
    (
        "# every item of one end user",
        _curl('-X DELETE --get "$SERVER/v1/ads" --data-urlencode "userId=u-7"'),
        "# and keep the user's later items out too",
        _curl('-X DELETE --get "$SERVER/v1/ads" --data-urlencode "userId=u-9" --data "standing=true"'),
        "# one submission",
        _curl('-X DELETE --get "$SERVER/v1/ads" --data-urlencode "taskId=0198c5d0-0000-7000-8000-000000000000"'),
        "# every item submitted in January",
        _curl('-X DELETE "$SERVER/v1/ads?fromDate=2026-01-01T00:00Z&toDate=2026-02-01T00:00Z"'),
    )
)
SAMPLES: dict[str, dict[str, str]] = {
    "submitAds": {
        "curl": _curl(
            """-H "Content-Type: application/json" \\
     -d '[{"id": "ad-1", "content": {"title": "Bike"}, "user": {"id": "u-7"}}]' "$SERVER/v1/ads\""""
        ),
        "Python": _python(
            'ad = {"id": "ad-1", "content": {"title": "Bike"}, "user": {"id": "u-7"}}',
            'answer = client.post("/v1/ads", json=[ad]).raise_for_status().json()',
            'print("accepted", answer["accepted"], "rejected", answer["rejected"])',
        ),
    },
    "pollAds": {
        "curl": _curl('"$SERVER/v1/ads?timestamp=0&noAdContent=true"'),
        "Python": _python(
            "timestamp = 0  # keep the newest one: the next call asks from there",
            "while True:",
            '    query = {"timestamp": timestamp, "noAdContent": "true"}',
            '    answer = client.get("/v1/ads", params=query).raise_for_status().json()',
            '    for ad in answer["ads"]:',
            '        print(ad["items"][0]["taskId"], ad["result"])',
            '    timestamp = answer["pollingInfo"]["newTimestamp"]',
            '    if not answer["pollingInfo"]["newerAdsExist"]:',
            "        break",
        ),
    },
    "deleteAds": {
        "curl": _DELETE_KINDS_CURL,
        "Python": _python(
            'deletion = client.delete("/v1/ads", params={"userId": "u-7"}).raise_for_status().json()',
            'print(deletion["state"], "hidden at", deletion["hiddenAt"], "ask", deletion["statusUrl"])',
        ),
    },
    "listDeletions": {
        "curl": _curl('"$SERVER/v1/deletions?state=open&limit=100"'),
        "Python": _python(
            'page = client.get("/v1/deletions", params={"limit": 100}).raise_for_status().json()',
            'while page["next"]:',
            '    query = {"limit": 100, "after": page["next"]}',
            '    page = client.get("/v1/deletions", params=query).raise_for_status().json()',
        ),
    },
    "getDeletion": {
        "Python": _python(
            'deletion = client.delete("/v1/ads", params={"userId": "u-7"}).raise_for_status().json()',
            'status = client.get(deletion["statusUrl"]).raise_for_status().json()',
            'print(status["state"], status["why"], status["next"])',
        ),
    },
    "liftDeletion": {
        "Python": _python(
            'asked = {"userId": "u-9", "standing": "true"}',
            'deletion = client.delete("/v1/ads", params=asked).raise_for_status().json()',
            "lifted = client.post(f\"{deletion['statusUrl']}/lift\").raise_for_status().json()",
            'print("new items come in again from", lifted["standingLiftedAt"])',
        ),
    },
    "getReceipt": {
        "Python": _python(
            'done = client.get("/v1/deletions", params={"state": "completed"}).raise_for_status().json()',
            'for deletion in done["deletions"]:',
            '    receipt = client.get(deletion["receiptUrl"]).raise_for_status().json()',
            '    print(receipt["body"]["erased"], receipt["signature"])',
        ),
    },
    "listQueues": {"curl": _curl('"$SERVER/v1/queues"')},
    "nextAds": {
        "curl": _curl(
            """-H "Content-Type: application/json" \\
     -d '{"moderator": "mia@example.com"}' "$SERVER/v1/queues/Default/next\""""
        ),
    },
    "decideAd": {
        "Python": _python(
            'asked = {"moderator": "mia@example.com"}',
            'waiting = client.post("/v1/queues/Default/next", json=asked).raise_for_status().json()',
            'for ad in waiting["items"]:',
            '    verdict = asked | {"outcome": "refused", "reasons": ["spam"]}',
            "    client.post(f\"/v1/tasks/{ad['taskId']}/decision\", json=verdict).raise_for_status()",
        ),
    },
    "getHealth": {"curl": 'curl --fail-with-body --silent --show-error --cacert "$CA" "$SERVER/v1/health"'},
    "getWaiting": {"curl": _curl('"$SERVER/v1/health/waiting"')},
}

_AD = {
    "id": "ad-1",
    "content": {"title": "Bike", "body": "Nearly new", "price": {"amount": 80, "currency": "EUR"}},
    "user": {"id": "u-7", "emailAddresses": ["seller@example.com"]},
}
_TASK, _BATCH = "0198c5d0-4a3b-7c2d-8e1f-0a1b2c3d4e5f", "6f9619ff-8b86-4d01-b42d-00c04fc964ff"
_ACCEPTED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
_WAIT = Wait(what=Waiting.LANDING_FILE, since=_ACCEPTED_AT, cause=Cause.NO_DAEMON)


def example_request(state: RequestState, *, kind: RequestKind = RequestKind.USER) -> Request:
    """Return a request as an example, before anything of it was counted."""
    return Request(
        request_id=RequestId("1be43fd44330b48ff4e02bdad4af044c"),
        team=TeamId("team"),
        kind=kind,
        channel=Channel.API,
        state=state,
        received_at=_ACCEPTED_AT,
        accepted_at=_ACCEPTED_AT,
        due_at=due_at(_ACCEPTED_AT),
        attempts=_TRIES,
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
    "WaitingLongest": {"waiting": [wait_shape(_WAIT, now=_ACCEPTED_AT + timedelta(hours=2))]},
}
"""Of bodies and answers, by schema; a test holds each against its schema."""
