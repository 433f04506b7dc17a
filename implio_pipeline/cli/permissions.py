"""Which act of the access table each command performs.

Whoever runs a command is an operator and may do what `domain/access.py` allows operators. A command that has no line
here is denied, so add a line when you add a command.
"""

from implio_pipeline.domain.access import Act, Role, require
from implio_pipeline.domain.errors import AccessDenied

ACTS: dict[str, Act] = {
    "init": Act.RUN_PIPELINE,
    "demo": Act.RUN_PIPELINE,
    "ingest": Act.RUN_PIPELINE,
    "compact": Act.RUN_PIPELINE,
    "housekeep": Act.RUN_PIPELINE,
    "restore": Act.RUN_PIPELINE,
    "settle": Act.RUN_PIPELINE,
    "serve": Act.RUN_PIPELINE,
    "jobs list": Act.SEE_STORAGE,
    "jobs run": Act.RUN_PIPELINE,
    "status": Act.SEE_STORAGE,
    "audit": Act.SEE_AUDIT_LOG,
    "query": Act.QUERY_ITEMS,
    "export": Act.EXPORT_PERSON,
    "erase": Act.REQUEST_DELETION,
    "requests list": Act.SEE_REQUESTS,
    "requests show": Act.SEE_REQUESTS,
    "requests take": Act.REQUEST_DELETION,
    "requests approve": Act.APPROVE_REQUEST,
    "requests cancel": Act.CANCEL_REQUEST,
    "requests extend": Act.SEE_REQUESTS,
    "requests lift": Act.LIFT_STANDING,
    "receipts list": Act.READ_RECEIPTS,
    "receipts show": Act.READ_RECEIPTS,
    "receipts verify": Act.READ_RECEIPTS,
    "receipts page": Act.READ_RECEIPTS,
    "receipts checkpoint": Act.READ_RECEIPTS,
    "holds add": Act.MANAGE_HOLDS,
    "holds list": Act.MANAGE_HOLDS,
    "holds release": Act.MANAGE_HOLDS,
    "retention set": Act.SET_RETENTION,
    "retention approve": Act.APPROVE_REQUEST,
    "retention refuse": Act.CANCEL_REQUEST,
    "retention show": Act.SEE_RETENTION,
    "retention run": Act.RUN_PIPELINE,
    "team add": Act.MANAGE_TEAM,
    "team set": Act.MANAGE_TEAM,
    "team list": Act.SEE_STORAGE,
    "team show": Act.SEE_STORAGE,
    "queue list": Act.SEE_QUEUES,
    "queue add": Act.MANAGE_QUEUES,
    "queue remove": Act.MANAGE_QUEUES,
    "queue next": Act.DECIDE_ITEMS,
    "queue decide": Act.DECIDE_ITEMS,
    "callbacks set": Act.MANAGE_CALLBACKS,
    "callbacks show": Act.MANAGE_CALLBACKS,
    "callbacks remove": Act.MANAGE_CALLBACKS,
    "callbacks deliver": Act.MANAGE_CALLBACKS,
    "api-keys add": Act.MANAGE_KEYS,
    "api-keys list": Act.MANAGE_KEYS,
    "api-keys revoke": Act.MANAGE_KEYS,
    "api-keys rotate": Act.MANAGE_KEYS,
    "members add": Act.MANAGE_MEMBERS,
    "members list": Act.MANAGE_MEMBERS,
    "members set-role": Act.MANAGE_MEMBERS,
    "members remove": Act.MANAGE_MEMBERS,
    "members reset-password": Act.MANAGE_MEMBERS,
    "set-aside list": Act.RUN_PIPELINE,
    "set-aside show": Act.RUN_PIPELINE,
    "set-aside discard": Act.RUN_PIPELINE,
    "clock show": Act.RUN_PIPELINE,
    "clock confirm": Act.RUN_PIPELINE,
    "keys rotate": Act.RUN_PIPELINE,
    "keys list": Act.RUN_PIPELINE,
    "access grant": Act.MANAGE_ACCESS,
    "access revoke": Act.MANAGE_ACCESS,
    "access list": Act.MANAGE_ACCESS,
    "access review": Act.MANAGE_ACCESS,
    "access forget": Act.MANAGE_ACCESS,
    "access log": Act.SEE_AUDIT_LOG,
    "access verify": Act.SEE_AUDIT_LOG,
    "processors list": Act.SEE_AUDIT_LOG,
    "register export": Act.SEE_AUDIT_LOG,
}


def demand_act(command_path: str) -> None:
    """Check that an operator may run a command.

    Args:
        command_path: The name of the program and of the command, as in `implio team add`.

    Raises:
        AccessDenied: An operator may not run it, or it has no line in `ACTS`.
    """
    _, _, command = command_path.partition(" ")
    if command not in ACTS:
        raise AccessDenied("no act is named for this command", remedy=f"Name it in ACTS of {__name__}.")
    require(Role.OPERATOR, ACTS[command])
