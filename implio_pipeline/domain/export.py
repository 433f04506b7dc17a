"""An export: everything held on one person, handed out once and deleted after a short time.

Source: GDPR Art. 15, right of access.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, assert_never

from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.domain.ids import Region, TeamId, UserKey
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.scope import DatesRule, OverdueRule, TaskRule, TeamRule, Tombstone, UserRule
from implio_pipeline.domain.statements import PersonExported

FORMAT = "implio-export/1"


class ExportRefused(ImplioError):
    """The certificate cannot be used for encryption, or the folder for the export already exists."""

    remedies: ClassVar[Mapping[str, str]] = {
        "recipient-invalid": "Give a valid X.509 certificate in PEM with an RSA key of 2048 bits or more.",
        "folder-taken": "Name a folder that does not exist yet; it is made for you alone.",
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedFile:
    """One file of an export."""

    name: str
    records: int
    content: bytes = field(repr=False)
    digest: str
    """SHA-256 of the content, hexadecimal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRecord:
    """The record of an export until it is purged. Its only personal value is the path of its folder."""

    export_id: str
    team: TeamId
    user_key: UserKey
    tombstone: int
    """Sequence of the team's newest tombstone when the export was made."""
    created_at: datetime
    expires_at: datetime
    folder: str = field(repr=False)
    digests: Mapping[str, str]
    """The digest of each file by name. A file with another digest belongs to somebody else and is never deleted."""

    def must_go(self, *, now: datetime, tombstones: Iterable[Tombstone]) -> bool:
        """Return whether the export must be purged: it has expired, or a newer deletion may cover what is in it.

        A rule by task or by dates always counts, because the export does not know whether it is covered; an export can
        be made again. Retention does not count: the export expires within a few days anyway.
        """
        if self.expires_at <= now:
            return True
        # What an erasure removed must not survive in an export that is still in a folder.
        newer = (each.rule for each in tombstones if each.sequence > self.tombstone)
        return any(_may_cover(rule, self.user_key) for rule in newer)


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonExport:
    """What an access request found, in counts, and how it was handed out."""

    export_id: str
    team: TeamId
    region: Region
    user_key: UserKey
    asked_by: str
    """Keyed pseudonym of the person who asked."""
    made_at: datetime
    expires_at: datetime
    recipient: str | None
    """SHA-256 of the certificate it is encrypted for; `None` if it is unencrypted, in a folder only its owner can open.
    """
    items: int
    rejected: int
    queue_entries: int
    notes: int
    """Notes of moderators, and verdicts that are not written into the items yet."""
    requests: int
    hidden: int
    """Items and rejected items that an open request hides: no longer accessible, and soon erased."""
    items_without_user: int
    not_searched: Mapping[str, int] = field(default_factory=dict)

    def statement(self, *, manifest_digest: str) -> PersonExported:
        """Return the ledger's entry about the export: who asked, about which pseudonym, and counts."""
        return PersonExported(
            export_id=self.export_id,
            team=self.team,
            region=self.region,
            user_key=self.user_key,
            asked_by=self.asked_by,
            at=self.made_at,
            expires_at=self.expires_at,
            recipient=None if self.recipient is None else f"sha256:{self.recipient}",
            counts=_counts(self),
            hidden_by_open_requests=self.hidden,
            manifest=f"sha256:{manifest_digest}",
        )

    def manifest(self, files: Iterable[PackedFile]) -> dict[str, Any]:
        """Return the manifest: what was searched, what was found, and what was not searched."""
        why_hidden = "hidden since a deletion request was accepted; no longer accessible, erased by that request"
        return {
            "format": FORMAT,
            "exportId": self.export_id,
            "team": self.team,
            "region": self.region,
            "userKey": self.user_key.hex(),
            "madeAt": instant_text(self.made_at),
            "deletedHereAt": instant_text(self.expires_at),
            "encryptedTo": None if self.recipient is None else f"sha256:{self.recipient}",
            "counts": _counts(self),
            "notExported": {"itemsHiddenByOpenRequests": self.hidden, "why": why_hidden},
            "searched": {
                "how": "exact user id of the team, after Unicode NFC and trimming, by its keyed pseudonym",
                "where": [
                    "items",
                    "rejected items",
                    "moderation queues",
                    "verdicts and notes",
                    "deletion requests of this user",
                ],
            },
            "notSearched": {
                "itemsWithoutUserId": self.items_without_user,
                "mentionsInFreeText": "items of others that mention this person are theirs and are not here",
                **self.not_searched,
            },
            "files": [{"name": file.name, "records": file.records, "sha256": file.digest} for file in files],
        }


def _may_cover(rule: UserRule | TaskRule | DatesRule | TeamRule | OverdueRule, user_key: UserKey) -> bool:
    match rule:
        case UserRule():
            return rule.user_key == user_key
        case TaskRule() | DatesRule() | TeamRule():
            return True
        case OverdueRule():
            return False
        case _:
            assert_never(rule)


def _counts(access: PersonExport) -> dict[str, int]:
    return {
        "items": access.items,
        "rejectedItems": access.rejected,
        "queueEntries": access.queue_entries,
        "moderation": access.notes,
        "requests": access.requests,
    }
