"""Changes by others during a flow: something happens once, just before one of the flow's calls to a port."""

from collections.abc import Callable
from typing import Any

from support.crash import Tripwire

_ELSEWHERE = ("clock.", "identifiers.", "ledger.")
"""Ports that changes by others do not affect."""


class Amid(Tripwire):
    """Runs an act before the call instead of raising."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        super().__init__(at=at, is_every_call=True)
        self._act = act

    def call(self, name: str, act: Callable[[], Any]) -> Any:
        if name.startswith(_ELSEWHERE):
            return act()
        with self._lock:
            self.calls.append(name)
            is_here = len(self.calls) == self.at
        if is_here:
            self.is_tripped = True
            self._act()
        return act()

    @property
    def place(self) -> str:
        return f"before call {self.at}, {self.calls[self.at - 1] if self.is_tripped else 'never reached'}"
