"""What `implio doctor` finds: whether an installation is set up correctly.

Each store examines itself and yields findings; `wiring.py` lists the checkups. A finding holds no secret and nothing
personal: it names settings, addresses without passwords, and ids.

`implio status` says what waits or is late, and `implio audit` checks the data. A checkup repeats neither.

    def examine(self) -> Iterator[Finding]:
        if not os.access(self._folder, os.W_OK):
            yield Finding(code="folder-not-writable", what=f"{self._folder} cannot be written", remedy="Give …")
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How serious a finding is."""

    GOOD = "good"
    """A fact that is as it should be and worth a line."""
    ADVICE = "advice"
    """It works, and could be safer."""
    WRONG = "wrong"
    """Something does not work, or is not safe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that a checkup found."""

    code: str
    """Stable, in kebab case, as codes of failures are."""
    what: str
    """The facts, without a remedy."""
    remedy: str = ""
    """One imperative sentence; when empty, the command line looks it up by the code."""
    level: Level = Level.WRONG


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkup:
    """One part of the installation."""

    about: str
    """Its name, as people read it."""
    examine: Callable[[], Iterable[Finding]]
    """Yields what is found. It may raise: that is a finding too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedPart:
    """What one checkup found."""

    about: str
    findings: tuple[Finding, ...]

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return all(each.level is not Level.WRONG for each in self.findings)
