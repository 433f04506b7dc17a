"""The menu of a team: the pages that a role may open."""

from dataclasses import dataclass

from implio_pipeline.domain.access import Act, Role, may


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the menu."""

    name: str
    path: str
    is_here: bool


_PAGES = (
    ("Overview", "", Act.SEE_STORAGE),
    ("Moderation", "/queues", Act.SEE_QUEUES),
    ("Remove data", "/remove", Act.REQUEST_DELETION),
    ("Requests", "/requests", Act.SEE_REQUESTS),
    ("Retention", "/retention", Act.SEE_RETENTION),
    ("Holds", "/holds", Act.MANAGE_HOLDS),
    ("Keys", "/keys", Act.MANAGE_KEYS),
    ("Callback", "/callbacks", Act.MANAGE_CALLBACKS),
    ("Members", "/members", Act.MANAGE_MEMBERS),
    ("Audit log", "/audit-log", Act.SEE_AUDIT_LOG),
)


def menu(role: Role | None, home: str, here: str) -> tuple[Entry, ...]:
    """Return the menu of a role; `here` is the path of the open page."""
    return tuple(
        Entry(
            name=name,
            path=f"{home}{path}",
            is_here=here == f"{home}{path}" or (path != "" and here.startswith(f"{home}{path}/")),
        )
        for name, path, act in _PAGES
        if may(role, act)
    )
