"""Find: the live files that a rule may touch, by what the catalog keeps of each, and the holds that reach them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from implio_pipeline.domain.file_changes import FileWork, NamedRule
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.hold import Hold
from implio_pipeline.domain.ids import RequestId, TeamId
from implio_pipeline.domain.scope import Reach, reach
from implio_pipeline.ports.services import Services


def find(
    services: Services, team: TeamId, named_rules: Sequence[NamedRule], *, is_proven: bool = False
) -> Iterator[tuple[VaultFile, tuple[NamedRule, ...]]]:
    """Yield the live files that rules may touch, with those rules.

    With `is_proven` the catalog is compared with what was written into it first, so that no file is passed over.

    Raises:
        CatalogTampered: the catalog is not what was written.
    """
    reaches = services.vault.reaches(named_rules)
    for file in services.catalog.manifest.candidates(team, named_rules, is_proven=is_proven):
        reached = reaches(file)
        if reached:
            yield file, reached


def is_whole(file: VaultFile, named_rules: Iterable[NamedRule]) -> bool:
    """Tell whether some rule covers every row of the file, so that it can go unread."""
    return any(reach(named.rule, file) is Reach.EVERYTHING for named in named_rules)


def holds_in_force(services: Services, team: TeamId) -> list[Hold]:
    """Return the legal holds on the team that forbid erasing now."""
    now = services.clock.now()
    return [hold for hold in services.catalog.holds.all(team) if hold.is_in_force(now=now)]


def plan_works(
    services: Services, team: TeamId, named_rules: Sequence[NamedRule], holds: Sequence[Hold]
) -> list[FileWork]:
    """Return every file that rules may touch, with the holds that reach it."""
    found = list(find(services, team, named_rules, is_proven=True))
    sealed = services.catalog.manifest.sealed([file for file, _ in found])
    reaching = _reaching(services, holds)
    works = []
    for each, (file, reached) in zip(sealed, found, strict=True):
        over = reaching(file)
        whole = not over and is_whole(file, reached)
        works.append(FileWork(sealed=each, named_rules=reached, is_whole=whole, holds=over))
    return works


def _reaching(services: Services, holds: Sequence[Hold]) -> Callable[[VaultFile], tuple[Hold, ...]]:
    if not holds:
        return lambda _: ()
    by_id = {RequestId(hold.hold_id): hold for hold in holds}
    reaches = services.vault.reaches([NamedRule(request_id=hold_id, rule=hold.rule) for hold_id, hold in by_id.items()])
    return lambda file: tuple(by_id[named.request_id] for named in reaches(file))
