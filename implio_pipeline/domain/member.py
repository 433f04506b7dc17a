"""Members: the people who sign in, and what each of them is in which team."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from implio_pipeline.domain.access import MEMBER_ROLES, Role
from implio_pipeline.domain.errors import MemberRefused
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.domain.sensitive import sensitive

MemberId = NewType("MemberId", str)

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_LONGEST_NAME = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One person who may sign in."""

    member_id: MemberId
    email: str = sensitive()
    name: str = sensitive()
    created_at: datetime
    roles: Mapping[TeamId, Role] = field(default_factory=dict)
    has_codes: bool = False
    """Whether a one-time code is asked for after the password."""
    is_temporary: bool = False
    """Whether the password was made by somebody else, so that a new one must be chosen first."""


def email_of(text: str) -> str:
    """Return an e-mail address as it is compared: normalised, in lower case.

    Raises:
        MemberRefused: it is no address.
    """
    email = unicodedata.normalize("NFKC", text).strip().casefold()
    if not _EMAIL.fullmatch(email):
        raise MemberRefused("this is no e-mail address")
    return email


def name_of(text: str) -> str:
    """Return a person's name, its white space made single.

    Raises:
        MemberRefused: it is empty, too long, or holds what cannot be shown.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise MemberRefused("a name has 1 to 80 characters that can be shown")
    return name


def name_key(name: str) -> str:
    """Return what two spellings of one name share: letter case, white space and forms of characters do not count."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def role_of(text: str) -> Role:
    """Return the role that a word names.

    Raises:
        MemberRefused: a member cannot have such a role.
    """
    for role in MEMBER_ROLES:
        if text == role.value:
            return role
    raise MemberRefused(f"there is no such role; there are: {', '.join(MEMBER_ROLES)}")


def check_keeps_admin(members: Iterable[Member], team: TeamId, *, but: MemberId, role: Role | None) -> None:
    """Let a change pass that leaves the team an administrator.

    Args:
        members: Everybody in the team, as they are.
        team: The team.
        but: Who is changed.
        role: What they become; `None` when they leave.

    Raises:
        MemberRefused: nobody would be left who may decide.
    """
    others = any(each.roles.get(team) is Role.ADMIN for each in members if each.member_id != but)
    was = any(each.roles.get(team) is Role.ADMIN for each in members if each.member_id == but)
    if was and role is not Role.ADMIN and not others:
        raise MemberRefused(
            "the team would have no administrator left", remedy="Make somebody else an administrator first."
        )
