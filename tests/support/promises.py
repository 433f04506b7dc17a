"""What must hold for the lake after every test of an erasure, a swap or a crash."""

from implio_pipeline.domain.audit import AuditPart
from implio_pipeline.flows.operations.audit import audit
from implio_pipeline.ports.services import Services


def disagreements(services: Services) -> list[str]:
    """Return where catalog, keys and storage differ, including strays of any age. No file is read."""
    report = audit(services, parts=(AuditPart.CATALOG, AuditPart.FILES, AuditPart.STORAGE))
    young = [f"{report.young_strays} strays"] if report.young_strays else []
    return [f"{each.kind.value}: {each.about}: {each.words}" for each in report.findings] + young
