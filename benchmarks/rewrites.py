"""What one rewrite of a vault file costs, by the size of the file and the pages that hold erased rows.

    python -m benchmarks.rewrites                # medians of five

Milliseconds of processor. Each figure erases one person from each of some pages, reads the new file again and proves
it. Above four tenths of the pages the file is rewritten whole.
"""

import argparse
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.lake import DAYS, partition
from benchmarks.people import people
from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.files import SealedFile
from implio_pipeline.domain.ids import FileKind, Region, RequestId, TeamId, UserKey
from implio_pipeline.domain.scope import UserRule
from implio_pipeline.flows.accounts.teams import add_team
from implio_pipeline.stores.vault.cluster import Bounds
from implio_pipeline.stores.vault.vault import EncryptedVault
from implio_pipeline.wiring import OpenHome, init_home, open_home

_TEAM, _EU = TeamId("ads"), Region("eu")
_LAYOUTS = ((2_500, 1_000), (10_000, 2_000), (20_000, 1_000), (20_000, 2_000), (20_000, 4_000), (40_000, 2_000))
"""Rows of a file and of a page."""
_TOUCHED = (1, 2, 3, 4, 5)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ["IMPLIO_ACCESS__GRANTS"] = "none"
        init_home(home)
        with open_home(home) as opened:
            add_team(opened, _TEAM, region=_EU)
            print(
                "| rows a file · a page | MB | ms to write | ms of processor, whole |", *_TOUCHED, "pages |", sep=" | "
            )
            print("|---" * (4 + len(_TOUCHED)) + "|")
            for rows, page_rows in _LAYOUTS:
                _measure(opened, rows, page_rows, repeats=given.repeats)


def _measure(opened: OpenHome, rows: int, page_rows: int, *, repeats: int) -> None:
    items, _ = partition("a", 3, rows, people("a", 40_000, DAYS))
    whole, paged = _vault(opened, rows, rows), _vault(opened, rows, page_rows)
    began = time.process_time()
    (sealed,) = paged.write(items, team=_TEAM, region=_EU, kind=FileKind.ITEMS)
    took = time.process_time() - began
    users = paged.read(sealed, columns=["user_key"])["user_key"].to_pylist()
    figures = [_rewritten(whole, sealed, users[:1], repeats)]
    for touched in _TOUCHED:
        pages = rows // page_rows
        # The middle of a page, whose person has no row in the next one; the last rows have no user.
        chosen = [users[int(number * pages * 0.9 / touched) * page_rows + page_rows // 2] for number in range(touched)]
        figures.append(_rewritten(paged, sealed, chosen, repeats) if 5 <= pages > touched else "")
    about = [f"| {rows:,} · {page_rows:,}", f"{sealed.file.size_bytes / 1e6:.2f}", f"{1e3 * took:.0f}"]
    print(*about, *figures, sep=" | ", end=" |\n")


def _rewritten(vault: EncryptedVault, sealed: SealedFile, users: list[UserKey], repeats: int) -> str:
    """Return the processor time of a rewrite without some users, in milliseconds."""
    now = datetime.now(UTC)
    rules = tuple(
        NamedRule(request_id=RequestId(str(number)), rule=UserRule(user_key=user, before=now))
        for number, user in enumerate(users)
    )
    took = []
    for _ in range(repeats):
        began = time.process_time()
        rewrite = vault.rewrite(FileWork(sealed=sealed, named_rules=rules, is_whole=False))
        took.append(1e3 * (time.process_time() - began))
        rewrite.prove()
        assert rewrite.after
        vault.delete(rewrite.after.file)
    return f"{statistics.median(took):.0f}"


def _vault(opened: OpenHome, rows: int, page_rows: int) -> EncryptedVault:
    bounds = Bounds(rows=rows * 2, size_bytes=1 << 40, page_rows=page_rows)
    return EncryptedVault(opened.storage, opened.keychain, bounds=bounds)


if __name__ == "__main__":
    main()
