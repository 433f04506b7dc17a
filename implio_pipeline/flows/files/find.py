"""Find the live files that a rule may touch, from what the catalog keeps about each file; no file is opened.

The catalog keeps ranges, counts and membership filters for each file. These can say "maybe" wrongly, but never "no"
wrongly: a file that is not found here holds no row that the rule covers.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.hold import Hold
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.scope import Coverage, coverage_of
from implio_pipeline.ports.catalog import Manifest
from implio_pipeline.ports.requests import Holds
from implio_pipeline.ports.vault import Vault


def find(
    manifest: Manifest, vault: Vault, team: TeamId, named_rules: Sequence[NamedRule], *, is_proven: bool = False
) -> Iterator[tuple[VaultFile, tuple[NamedRule, ...]]]:
    """Yield each live file that a rule may touch, with the rules that may touch it.

    Args:
        manifest: Where live files are listed.
        vault: Where the files are.
        team: Only this team's files.
        named_rules: The rules.
        is_proven: Authenticate the team's whole list first, so that a row deleted from the catalog hides no file.

    Raises:
        CatalogTampered: a row of the catalog was altered, removed or added.
    """
    reaches = vault.reaches(named_rules)
    for file in manifest.candidates(team, named_rules, is_proven=is_proven):
        reached = reaches(file)
        if reached:
            yield file, reached


def _is_whole(file: VaultFile, named_rules: Iterable[NamedRule]) -> bool:
    """Tell whether a rule covers every row of the file, so that the file need not be read."""
    return any(coverage_of(named.rule, file) is Coverage.EVERYTHING for named in named_rules)


def holds_in_force(holds: Holds, team: TeamId, *, now: datetime) -> list[Hold]:
    """Return the legal holds on the team that forbid erasing at an instant."""
    return [hold for hold in holds.all(team) if hold.is_in_force(now=now)]


def plan_works(
    manifest: Manifest, vault: Vault, team: TeamId, named_rules: Sequence[NamedRule], holds: Sequence[Hold]
) -> list[FileWork]:
    """Return every file that a rule may touch, with its keys, its rules and the holds that reach it.

    Raises:
        CatalogTampered: the catalog's list of files was altered.
        PlanOutdated: a file was replaced while the works were planned.
    """
    found = list(find(manifest, vault, team, named_rules, is_proven=True))
    sealed = manifest.sealed([file for file, _ in found])
    by_id = {RequestId(hold.hold_id): hold for hold in holds}
    holding = vault.reaches([NamedRule(request_id=hold_id, rule=hold.rule) for hold_id, hold in by_id.items()])
    works = []
    for each, (file, reached) in zip(sealed, found, strict=True):
        over = tuple(by_id[named.request_id] for named in holding(file)) if by_id else ()
        # A file that a hold reaches may keep rows, so it is read even when a rule covers all of it.
        works.append(
            FileWork(sealed=each, named_rules=reached, is_whole=not over and _is_whole(file, reached), holds=over)
        )
    return works
