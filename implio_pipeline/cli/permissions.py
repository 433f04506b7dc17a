"""Which act of the access table each command performs.

Whoever runs a command is an operator and may do what `domain/access.py` allows operators. A command that has no line
here is denied, so add a line when you add a command.
"""

from implio_pipeline.domain.access import Act, Role, require
from implio_pipeline.domain.errors import AccessDenied

_COMMANDS: dict[Act, tuple[str, ...]] = {
    Act.RUN_PIPELINE: (
        "init",
        "demo",
        "ingest",
        "compact",
        "housekeep",
        "restore",
        "settle",
        "serve",
        "jobs run",
        "retention run",
        "set-aside list",
        "set-aside show",
        "set-aside discard",
        "clock show",
        "clock confirm",
        "keys rotate",
        "keys make",
        "keys renew-signing",
        "keys list",
    ),
    Act.SEE_STORAGE: ("jobs list", "status", "doctor", "team list", "team show"),
    Act.SEE_AUDIT_LOG: ("audit", "access log", "access verify", "processors list", "register export"),
    Act.QUERY_ITEMS: ("query",),
    Act.EXPORT_PERSON: ("export",),
    Act.REQUEST_DELETION: ("erase", "requests take"),
    Act.SEE_REQUESTS: ("requests list", "requests show", "requests extend"),
    Act.APPROVE_REQUEST: ("requests approve", "retention approve"),
    Act.CANCEL_REQUEST: ("requests cancel", "retention refuse"),
    Act.LIFT_STANDING: ("requests lift",),
    Act.READ_RECEIPTS: ("receipts list", "receipts show", "receipts verify", "receipts page", "receipts checkpoint"),
    Act.MANAGE_HOLDS: ("holds add", "holds list", "holds release"),
    Act.SET_RETENTION: ("retention set",),
    Act.SEE_RETENTION: ("retention show",),
    Act.MANAGE_TEAM: ("team add", "team set"),
    Act.SEE_QUEUES: ("queue list",),
    Act.MANAGE_QUEUES: ("queue add", "queue remove"),
    Act.DECIDE_ITEMS: ("queue next", "queue decide"),
    Act.MANAGE_CALLBACKS: ("callbacks set", "callbacks show", "callbacks remove", "callbacks deliver"),
    Act.MANAGE_KEYS: ("api-keys add", "api-keys list", "api-keys revoke", "api-keys rotate"),
    Act.MANAGE_MEMBERS: ("members add", "members list", "members set-role", "members remove", "members reset-password"),
    Act.MANAGE_ACCESS: ("access grant", "access revoke", "access list", "access review", "access forget"),
}
ACTS = {command: act for act, commands in _COMMANDS.items() for command in commands}
"""The act of each command."""


def demand_act(command_path: str) -> None:
    """Check that an operator may run a command.

    Args:
        command_path: The name of the program and of the command, as in `implio team add`.

    Raises:
        AccessDenied: An operator may not run it, or it has no line in `ACTS`.
    """
    _, _, command = command_path.partition(" ")
    if command not in ACTS:
        raise AccessDenied("the table of permissions has no line for this command", remedy=f"Add it to {__name__}.")
    require(Role.OPERATOR, ACTS[command])
