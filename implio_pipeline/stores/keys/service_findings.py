"""What `implio doctor` finds in any key service."""

from implio_pipeline.domain.checkup import Finding
from implio_pipeline.domain.errors import ImplioError, KeyMissing, KeyServiceDenied, KeyServiceUnavailable
from implio_pipeline.domain.ids import Region
from implio_pipeline.ports.keychain import KeyRing


def finding_of(error: ImplioError) -> Finding:
    """Return a failure as a finding."""
    return Finding(code=error.code, what=error.facts, remedy=error.remedy if error.has_own_remedy else "")


def key_missing(key: str) -> Finding:
    """Return the finding that a root key is not in the key service."""
    remedy = "If nothing was ever wrapped under it, make the root keys that are missing."
    return Finding(code="root-key-missing", what=f"{key} is not in the key service", remedy=remedy)


def tried(ring: KeyRing, region: Region, name: str) -> list[Finding]:
    """Wrap, rewrap and unwrap 32 zero bytes under a root key, and return what fails."""
    context = {"purpose": "doctor"}
    try:
        root_key_id, wrapped = ring.wrap(region, name, bytes(32), context=context)
        root_key_id, wrapped = ring.rewrap(root_key_id, wrapped, context=context)
        ring.unwrap(root_key_id, wrapped, context=context)
    except (KeyMissing, KeyServiceDenied, KeyServiceUnavailable) as error:
        return [finding_of(error)]
    return []
