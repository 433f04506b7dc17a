"""Answer an access request: everything held on one person, packed for one recipient, noted in the ledger.

The machinery that finds what to erase finds what to hand out, so that neither knows of more than the other.

Source: GDPR Art. 15 (access) and Art. 20 (portability).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from implio_pipeline.domain.access import GrantId
from implio_pipeline.domain.errors import PlanOutdated, RequestRefused
from implio_pipeline.domain.export import (
    ExportRecord,
    PackedFile,
    PersonExport,
    moderation_record,
    queue_record,
)
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.ids import FileKind, RequestId, TeamId, UserKey, sensitive
from implio_pipeline.domain.replan import reread
from implio_pipeline.domain.request import Request
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.scope import FOR_EVER, UserRule
from implio_pipeline.flows.access.authorize import note_export
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.files.find import find
from implio_pipeline.flows.moderation.apply_decisions import opened_values
from implio_pipeline.flows.moderation.decide import opened_notes
from implio_pipeline.ports.exports import Exports
from implio_pipeline.ports.rows import Progress, Rows
from implio_pipeline.ports.services import Services

KEEP = timedelta(days=7)
"""How long an export lies where it was made."""
_BREAKS_OFF = timedelta(hours=6)
"""An export that is this old and not whole was broken off."""
_OF_A_REQUEST = ("requestId", "kind", "channel", "state", "receivedAt", "hiddenAt", "erasedAt")
"""What a person is told of each deletion request about them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessDraft:
    """An access request as it comes through the door."""

    team: TeamId
    user_id: str = sensitive()
    asked_by: str = sensitive()
    folder: PurePath | None = field(default=None, repr=False)
    """Where the export goes; into the home's own folder when `None`. It must not exist."""
    recipient: bytes | None = None
    """An X.509 certificate in PEM to encrypt to; in clear, in a closed folder, when `None`."""
    not_searched: Mapping[str, int] = field(default_factory=dict)
    """Places that may hold more and were not looked into, counted."""
    operator: str = sensitive(default="")
    """Who carries it out, for the audit log of reads; who asked when it is empty."""
    grants: tuple[GrantId, ...] = ()
    """What allows them to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportMade:
    """An export that lies ready."""

    access: PersonExport
    folder: PurePath = field(repr=False)
    files: tuple[str, ...]
    ledger_entry: int


def export_person(
    services: Services,
    exports: Exports,
    draft: AccessDraft,
    *,
    keep: timedelta = KEEP,
    progress: Progress | None = None,
) -> ExportMade:
    """Hand out everything held on one person.

    Items that an open request hides are counted, not handed out. The ledger is told before anything is written.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        RequestRefused: the user id is empty.
        TeamUnknown: there is no such team.
        RecipientInvalid: nothing can be encrypted to the certificate.
        FolderTaken: the folder exists.
        PlanOutdated: files kept changing underneath.
    """
    team = services.catalog.teams.get(draft.team)
    if not draft.user_id.strip():
        raise RequestRefused("the user id is empty")
    fingerprint = None if draft.recipient is None else exports.fingerprint(draft.recipient, at=services.clock.now())
    # 1. Find and decrypt; anew when a request is accepted meanwhile.
    held = _settled(services, team.team, services.keychain.user_key(team.team, draft.user_id), progress)
    # 2. Pack: from here on the content is encrypted, if it is to be.
    files = tuple(exports.pack(name, records, recipient=draft.recipient) for name, records in held.parts.items())
    now = agreed_now(services)
    access = PersonExport(
        export_id=exports.new_id(),
        team=team.team,
        region=team.region,
        user_key=held.user_key,
        asked_by=services.keychain.pseudonym(team.team, f"asked by {draft.asked_by}"),
        made_at=now,
        expires_at=now + keep,
        recipient=fingerprint,
        items=held.counts[FileKind.ITEMS],
        rejected=held.counts[FileKind.REJECTED],
        queue_entries=held.queue_entries,
        notes=held.notes,
        requests=held.requests,
        hidden=held.hidden,
        items_without_user=services.catalog.manifest.anonymous_items(team.team),
        not_searched=draft.not_searched,
    )
    manifest = _manifest(access, files)
    # 3. Say so, in the audit log of reads too, then hand it out.
    read = access.items + access.rejected + access.queue_entries + access.requests
    note_export(services, operator=draft.operator or draft.asked_by, team=team.team, rows=read, grants=draft.grants)
    (entry,) = services.ledger.append([access.statement(manifest_digest=manifest.digest)])
    folder = exports.put(_record(access, held.tombstone, (*files, manifest)), (*files, manifest), folder=draft.folder)
    return ExportMade(
        access=access,
        folder=folder,
        files=tuple(file.name for file in (*files, manifest)),
        ledger_entry=entry.sequence,
    )


def purge_exports(services: Services, exports: Exports, faults: Faults | None = None) -> int:
    """Discard exports that broke off, are too old, or that a deletion accepted since may cover; return how many.

    `faults` is told of each that failed; when `None`, the first is raised at the end.

    Raises:
        ClockWrong: the clock disagrees with what the home knows; nothing goes for its age.
    """
    now, purged = agreed_now(services), 0
    with collecting(faults) as failed:
        for record in exports.all():
            with failed.isolate(f"export {record.export_id} of team {record.team}"):
                is_broken = record.created_at < now - _BREAKS_OFF and not exports.is_whole(record)
                if is_broken or record.must_go(now=now, tombstones=services.catalog.requests.tombstones(record.team)):
                    exports.discard(record.export_id)
                    purged += 1
    return purged


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """Everything held on one person."""

    user_key: UserKey
    tombstone: int
    parts: Mapping[str, Rows | list[dict[str, Any]]] = sensitive()
    counts: Mapping[FileKind, int]
    hidden: int
    queue_entries: int
    notes: int
    requests: int


def _settled(services: Services, team: TeamId, user_key: UserKey, progress: Progress | None) -> _Held:
    """Search until no tombstone came and no file went while it was done."""

    def search() -> _Held:
        newest = services.catalog.requests.newest_tombstone(team)
        held = _search(services, team, user_key, newest, progress)
        if services.catalog.requests.newest_tombstone(team) != newest:
            raise PlanOutdated("a request was accepted meanwhile")
        return held

    return reread(search, about=f"the files of team {team}", again=lambda: services.keychain.forget(team))


def _search(services: Services, team: TeamId, user_key: UserKey, newest: int, progress: Progress | None) -> _Held:
    rule = UserRule(user_key=user_key, before=FOR_EVER)
    hiding = [each.rule for each in services.catalog.requests.tombstones(team, only_open=True)]
    named = NamedRule(request_id=RequestId("export"), rule=rule)
    files = [file for file, _ in find(services.catalog.manifest, services.vault, team, [named], is_proven=True)]
    # The oldest file first, as a person reads it; the manifest gives them in no order.
    files.sort(key=lambda file: (file.day, file.first_submitted_at, file.file_id))
    sealed = services.catalog.manifest.sealed(files)
    found: dict[FileKind, list[Rows]] = {kind: [] for kind in FileKind}
    hidden = 0
    for done, each in enumerate(sealed, start=1):
        disclosed = services.vault.disclosed(each, rule, hidden=hiding)
        hidden += disclosed.hidden
        if disclosed.rows.num_rows:
            found[each.file.kind].append(disclosed.rows)
        if progress:
            progress(done, len(sealed))
    waiting = [queue_record(entry) for entry in services.catalog.moderation.entries(team) if entry.user_key == user_key]
    notes = services.catalog.moderation.notes_on(team, user_key)
    about = [
        moderation_record(note.task_id, written_at=opened.written_at, note=opened.text)
        for note, opened in zip(notes, opened_notes(services, notes), strict=True)
    ]
    about += [
        moderation_record(
            verdict.task_id, written_at=verdict.decided_at, verdict=opened_values(services.keychain, verdict)
        )
        for verdict in services.catalog.moderation.unsettled(team)
        if verdict.user_key == user_key
    ]
    asked = [
        request_view(request, request.outcome, only=_OF_A_REQUEST) for request in _requests(services, team, user_key)
    ]
    parts: dict[str, Rows | list[dict[str, Any]]] = {
        "items.jsonl": services.vault.join(found[FileKind.ITEMS]) if found[FileKind.ITEMS] else [],
        "rejected.jsonl": services.vault.join(found[FileKind.REJECTED]) if found[FileKind.REJECTED] else [],
        "queue.jsonl": waiting,
        "moderation.jsonl": about,
        "requests.jsonl": asked,
    }
    return _Held(
        user_key=user_key,
        tombstone=newest,
        parts=parts,
        counts={kind: sum(rows.num_rows for rows in several) for kind, several in found.items()},
        hidden=hidden,
        queue_entries=len(waiting),
        notes=len(about),
        requests=len(asked),
    )


def _requests(services: Services, team: TeamId, user_key: UserKey) -> list[Request]:
    """Return the requests that named this user, found by their tombstones: what they said themselves is sealed."""
    return [
        services.catalog.requests.get(RequestId(each.request_id))
        for each in services.catalog.requests.tombstones(team)
        if isinstance(each.rule, UserRule) and each.rule.user_key == user_key
    ]


def _manifest(access: PersonExport, files: tuple[PackedFile, ...]) -> PackedFile:
    content = (json.dumps(access.manifest(files), indent=2) + "\n").encode()
    return PackedFile(name="manifest.json", records=1, content=content, digest=sha256(content).hexdigest())


def _record(access: PersonExport, tombstone: int, files: tuple[PackedFile, ...]) -> ExportRecord:
    return ExportRecord(
        export_id=access.export_id,
        team=access.team,
        user_key=access.user_key,
        tombstone=tombstone,
        created_at=access.made_at,
        expires_at=access.expires_at,
        folder="",
        digests={file.name: file.digest for file in files},
    )
