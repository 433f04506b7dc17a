"""Examine every part of an installation, whatever is wrong with the others."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from implio_pipeline.domain.checkup import CheckedPart, Checkup, Finding
from implio_pipeline.domain.errors import FileMissing, ImplioError
from implio_pipeline.domain.faults import fault_of
from implio_pipeline.flows.operations.rotate_keys import newest_key_statement
from implio_pipeline.ports.services import Services

_CONTEXT = "doctor"


def examine(checkups: Iterable[Checkup]) -> Iterator[CheckedPart]:
    """Yield what each checkup finds, in order. One that fails ends with its failure as a finding.

    What was said of an earlier part is not said again: a server that is down makes several checkups fail alike. A part
    of which nothing else is to be said is left out.
    """
    said: set[Finding] = set()
    for each in checkups:
        found = tuple(_findings(each))
        new = tuple(finding for finding in dict.fromkeys(found) if finding not in said)
        said.update(found)
        if new or not found:
            yield CheckedPart(about=each.about, findings=new)


def refusals(*checks: Callable[[], object]) -> Iterator[Finding]:
    """Yield a finding for each check that raises: what would keep the home from being opened."""
    found: dict[Finding, None] = {}
    for check in checks:
        try:
            check()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it keeps the home shut
            found[_of_failure(error)] = None  # a catalog that is down fails every check alike
    yield from found


def misplaced(services: Services) -> Iterator[Finding]:
    """Look whether the ledger, and in each region a team's keys and a file, are where the settings say.

    Otherwise a setting that names another place is noticed only when somebody needs what is missing there.
    """
    yield from refusals(lambda: newest_key_statement(services.ledger))
    found: set[Finding] = set()
    for region, team in {each.region: each.team for each in services.catalog.teams.all()}.items():
        found.update(refusals(partial(services.keychain.seal, team, b"", context=_CONTEXT)))
        file = next(iter(services.catalog.manifest.files(team)), None)
        if file is not None and services.vault.look(file) is None:
            what = f"a file that the catalog lists is not in the vault of region {region}"
            found.add(Finding(code=FileMissing.code, what=what, remedy="Check `vault` of the region in the settings."))
    yield from sorted(found, key=lambda each: each.what)


def _findings(checkup: Checkup) -> Iterator[Finding]:
    try:
        yield from checkup.examine()
    except Exception as error:  # noqa: BLE001 -- a server that is down must not hide what else is wrong
        yield _of_failure(error)


def _of_failure(error: Exception) -> Finding:
    try:
        known = error if isinstance(error, ImplioError) else fault_of(error)
    except Exception:  # noqa: BLE001 -- a message of a library may quote a secret, so only its class is told
        name = type(error).__name__
        return Finding(
            code="unexpected", what=f"the checkup failed with {name}", remedy="Report the name of the error."
        )
    return Finding(code=known.code, what=known.facts, remedy=known.remedy if known.has_own_remedy else "")
