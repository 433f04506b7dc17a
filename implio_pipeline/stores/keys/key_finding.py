"""What is wrong with an address of root keys, for whoever checks an installation."""

from dataclasses import dataclass

from implio_pipeline.domain.errors import ImplioError


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """One thing that is wrong with an address, and what to do about it."""

    address: str
    code: str
    facts: str
    remedy: str
    is_warning: bool = False
    """Whether everything works in spite of it."""

    @classmethod
    def of(cls, address: str, error: ImplioError) -> "KeyFinding":
        """Return the finding of a failed operation."""
        return cls(address, error.code, error.facts, error.remedy)

    @classmethod
    def missing(cls, address: str, key: str) -> "KeyFinding":
        """Return the finding that a root key is not there."""
        remedy = "Make it with `implio keys make`, if nothing was ever wrapped under it."
        return cls(address, "root-key-missing", f"{key} is not in the key service", remedy)
