"""A client that a public generator makes from the OpenAPI document, calling a server.

The generator needs an older Typer than ours, so it has an environment of its own: `make client-env`. Without that
these tests are skipped; `.ci/run` makes it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.home import Home
from support.serving import serving

from tests.api.conftest import Door

ROOT = Path(__file__).parents[2]
BIN = Path(os.environ.get("IMPLIO_CLIENT_ENV", ROOT / ".venv-client")) / "bin"
pytestmark = pytest.mark.skipif(not (BIN / "openapi-python-client").exists(), reason="`make client-env` was not run")
CALLS = """
import os, ssl, time
from client import AuthenticatedClient
from client.api.ads import poll_ads, submit_ads
from client.api.deletions import delete_ads, get_deletion, get_receipt, list_deletions
from client.api.health import get_health
from client.api.moderation import decide_ad, list_queues, next_ads
from client.models import Ad, Content, Decision, DecisionOutcome, NextAsked, Problem, User

client = AuthenticatedClient(
    base_url=os.environ["SERVER"], token=os.environ["KEY"], auth_header_name="X-Api-Key", prefix="", timeout=600,
    verify_ssl=ssl.create_default_context(cafile=os.environ["CA"]),
)
ads = [Ad(id=f"ad-{user}", content=Content(title="Bike"), user=User(id=user)) for user in ("ann", "bob", "cat")]
posted = submit_ads.sync(client=client, body=ads)
assert len(posted.accepted) == 3 and posted.rejected == []
ann, bob, cat = [each.task_id for each in posted.accepted]
assert get_health.sync(client=client).status == "alive"
assert [(each.queue, each.waiting) for each in list_queues.sync(client=client).queues][0] == ("Default", 3)
waiting = next_ads.sync("Default", client=client, body=NextAsked(moderator="mia"))
assert {each.task_id for each in waiting.items} == {ann, bob, cat}
verdict = Decision(moderator="mia", outcome=DecisionOutcome.REFUSED, reasons=["spam"])
assert decide_ad.sync(ann, client=client, body=verdict).outcome == "refused"
polled = poll_ads.sync(client=client, timestamp="0", no_ad_content="True")
assert [(ad.items[0].task_id, ad.result["outcome"]) for ad in polled.ads] == [(ann, "refused")]
assert len(poll_ads.sync(client=client, task_ids=f"{ann},{bob},{cat}").ads) == 3

def done(deletion):
    while (found := get_deletion.sync(deletion.request_id, client=client)).state != "completed":
        time.sleep(0.05)
    return found, get_receipt.sync(deletion.request_id, client=client)

for scope in ({"user_id": "ann"}, {"task_id": bob}, {"from_date": "2026-01-01T00:00Z", "to_date": "2999-01-01T00:00Z"}):
    found, receipt = done(delete_ads.sync(client=client, **scope))
    assert receipt.body["erased"]["items"] == 1, receipt
    assert receipt.proof["signature"] and found.erased_at and found.hidden_at
assert poll_ads.sync(client=client, task_ids=f"{ann},{bob},{cat}").ads == []
assert len(list_deletions.sync(client=client, limit="2").deletions) == 2
assert isinstance(delete_ads.sync(client=client, user_id="a", task_id="b"), Problem)
assert isinstance(get_deletion.sync("unknown", client=client), Problem)
"""


def test_every_call_is_generated_and_nothing_is_left_out(door: Door, tmp_path: Path) -> None:
    said = generated(door.app.openapi(), tmp_path)

    assert "WARNING" not in said
    assert "will not be generated" not in said
    assert "Unable to process" not in said
    calls = {path.stem for path in (tmp_path / "client" / "api").glob("*/*.py") if path.stem != "__init__"}
    assert len(calls) == sum(len(methods) for methods in door.app.openapi()["paths"].values())


def test_the_generated_client_posts_polls_decides_deletes_and_reads_receipts(
    home: Home, door: Door, tmp_path: Path
) -> None:
    generated(door.app.openapi(), tmp_path)
    with serving(home.path, "--jobs", call_seconds="600") as server:
        known = {"SERVER": server.address, "KEY": server.key, "CA": str(home.path / "keys" / "tls" / "ca.pem")}
        done = subprocess.run(
            [BIN / "python", "-c", CALLS],
            cwd=tmp_path,
            env=os.environ | known,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 0, done.stderr


def generated(document: dict[str, object], folder: Path) -> str:
    """Generate `folder/client` from a document, and return what the generator said."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    said = ["generate", "--path", path, "--output-path", folder / "client", "--meta", "none"]
    done = subprocess.run(
        [BIN / "openapi-python-client", *said], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
