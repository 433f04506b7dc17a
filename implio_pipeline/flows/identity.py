"""The keyed pseudonym of a person: two spellings of one name are the same person.

The cap and the second person depend on this. Otherwise `anna` could approve what `Anna` asked for.
"""

import unicodedata
from collections.abc import Callable

from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.keychain import Keychain


def identity_of(keychain: Keychain, team: TeamId, name: str) -> str:
    """Return the keyed pseudonym of a person's name. Two spellings of a name give the same one."""
    return identity_by(keychain.pseudonym_maker(team), name)


def identity_by(pseudonym: Callable[[str], str], name: str) -> str:
    """Return the keyed pseudonym of a person's name by a team's `Keychain.pseudonym_maker`, for many names."""
    # All spellings of a name are one person: case, white space and Unicode forms are ignored.
    spelling = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return pseudonym(f"identity {spelling}")
