"""Answer an access request: everything held on one person, packed for one recipient and recorded in the ledger.

Rules:

* What to export is found by the same search as what to erase, so neither can find less than the other.
* Items that an open deletion hides are counted and not exported: they are about to be erased.
* The export is in the log of reads and in the ledger before any file of it is written.
* An export is deleted after `KEEP`, and as soon as a deletion that may cover the person is accepted.

Source: GDPR Art. 15 (access) and Art. 20 (portability).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from implio_pipeline.domain.access import GrantId, Purpose
from implio_pipeline.domain.audit_log import LoggedRead, ReadDoor
from implio_pipeline.domain.errors import PlanOutdated, RequestRefused
from implio_pipeline.domain.export import (
    ExportRecord,
    PackedFile,
    PersonExport,
)
from implio_pipeline.domain.file_changes import NamedRule
from implio_pipeline.domain.ids import ColumnClass, FileKind, RequestId, TeamId, UserKey, sensitive
from implio_pipeline.domain.instants import instant_text
from implio_pipeline.domain.moderation import QueueEntry
from implio_pipeline.domain.replan import reread
from implio_pipeline.domain.request_view import request_view
from implio_pipeline.domain.scope import FOR_EVER, UserRule
from implio_pipeline.flows.clock import agreed_now
from implio_pipeline.flows.faults import Faults, collecting
from implio_pipeline.flows.files.find import find
from implio_pipeline.flows.moderation.apply_decisions import opened_values
from implio_pipeline.flows.moderation.decide import opened_notes
from implio_pipeline.ports.exports import Exports
from implio_pipeline.ports.rows import Progress, Rows
from implio_pipeline.ports.services import Services

KEEP = timedelta(days=7)
"""How long an export is kept."""
_BREAKS_OFF = timedelta(hours=6)
"""An export of this age that is not complete was interrupted."""
_OF_A_REQUEST = ("requestId", "kind", "channel", "state", "receivedAt", "hiddenAt", "erasedAt")
"""What a person learns of each deletion request about them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessDraft:
    """An access request, before it is answered."""

    team: TeamId
    user_id: str = sensitive()
    asked_by: str = sensitive()
    folder: PurePath | None = field(default=None, repr=False)
    """Where the export goes; the home's own folder for exports when `None`. It must not exist."""
    recipient: bytes | None = None
    """An X.509 certificate in PEM to encrypt to. When `None`, the files are in clear, in a folder that only the
    account which made it may open."""
    not_searched: Mapping[str, int] = field(default_factory=dict)
    """Places that may hold more about the person and were not searched, each with a count."""
    operator: str = sensitive(default="")
    """Name of the operator, for the log of reads; `asked_by` when empty."""
    grants: tuple[GrantId, ...] = ()
    """The operator's grants that allow it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportMade:
    """A finished export."""

    access: PersonExport
    folder: str = field(repr=False)
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
    """Export everything held on one person.

    Args:
        services: What the flow may use.
        exports: Packs, encrypts and stores the files.
        draft: The access request.
        keep: How long the export stays.
        progress: Receives vault files done and vault files in all.

    Raises:
        ClockWrong: the clock disagrees with what the home knows.
        RequestRefused: the user id is empty.
        TeamUnknown: there is no such team.
        ExportRefused: nothing can be encrypted to the certificate.
        ExportRefused: the folder exists.
        PlanOutdated: files kept being replaced, or requests kept being accepted.
    """
    team = services.catalog.teams.get(draft.team)
    if not draft.user_id.strip():
        raise RequestRefused("the user id is empty")
    fingerprint = None if draft.recipient is None else exports.fingerprint(draft.recipient, at=services.clock.now())
    # 1. Find and decrypt. If a request is accepted during the search, begin again, since it may hide what was found.
    user_key, requests = services.keychain.user_key(team.team, draft.user_id), services.catalog.requests

    def search() -> _Held:
        newest = requests.newest_tombstone(team.team)
        held = _search(services, team.team, user_key, newest, progress)
        if requests.newest_tombstone(team.team) != newest:
            raise PlanOutdated("a request was accepted during the search")
        return held

    held = reread(search, about=f"the files of team {team.team}", again=lambda: services.keychain.forget(team.team))
    # 2. Pack. With a recipient's certificate the content is encrypted from here on.
    files = tuple(exports.pack(name, records, recipient=draft.recipient) for name, records in held.parts.items())
    now = agreed_now(services)
    access = PersonExport(
        export_id=exports.new_id(),
        team=team.team,
        region=team.region,
        user_key=user_key,
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
    content = (json.dumps(access.manifest(files), indent=2) + "\n").encode()
    manifest = PackedFile(name="manifest.json", records=1, content=content, digest=sha256(content).hexdigest())
    packed = (*files, manifest)
    # 3. Log the read: every class was read, to answer this person (GDPR Art. 15).
    rows = access.items + access.rejected + access.queue_entries + access.requests
    read = LoggedRead(
        at=services.clock.now(),
        person=services.people.remember(draft.operator or draft.asked_by),
        teams=(team.team,),
        classes=frozenset(ColumnClass),
        purpose=Purpose.ACCESS_REQUEST,
        door=ReadDoor.EXPORT,
        rows=rows,
        rows_read=rows,
        grants=draft.grants,
    )
    services.catalog.access_log.append([read])
    # 4. Record it in the ledger, with the digest of the manifest, which names the digest of every file.
    (entry,) = services.ledger.append([access.statement(manifest_digest=manifest.digest)])
    # 5. Write the files. The record beside them says when they must be deleted.
    record = ExportRecord(
        export_id=access.export_id,
        team=access.team,
        user_key=access.user_key,
        tombstone=held.tombstone,
        created_at=access.made_at,
        expires_at=access.expires_at,
        folder="",
        digests={file.name: file.digest for file in packed},
    )
    folder = exports.put(record, packed, folder=draft.folder)
    names = tuple(file.name for file in packed)
    return ExportMade(access=access, folder=folder, files=names, ledger_entry=entry.sequence)


def purge_exports(services: Services, exports: Exports, faults: Faults | None = None) -> int:
    """Delete exports that were interrupted, are too old, or may hold what a newer deletion covers; return how many.

    Args:
        services: What the flow may use.
        exports: Where the exports are.
        faults: Collects the exports that failed. When `None`, the first failure is raised at the end.

    Raises:
        ClockWrong: the clock disagrees with what the home knows. Nothing is deleted for its age.
    """
    now, purged = agreed_now(services), 0
    with collecting(faults) as failed:
        for record in exports.all():
            with failed.isolate(f"export {record.export_id} of team {record.team}"):
                # An export that a crash cut short holds personal data that nobody will fetch.
                is_broken = record.created_at < now - _BREAKS_OFF and not exports.is_whole(record)
                if is_broken or record.must_go(now=now, tombstones=services.catalog.requests.tombstones(record.team)):
                    exports.discard(record.export_id)
                    purged += 1
    return purged


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """Everything held on one person."""

    tombstone: int
    """Sequence of the team's newest tombstone when it was searched."""
    parts: Mapping[str, Rows | list[dict[str, Any]]] = sensitive()
    """Records by file name."""
    counts: Mapping[FileKind, int]
    hidden: int
    queue_entries: int
    notes: int
    requests: int


def _search(services: Services, team: TeamId, user_key: UserKey, newest: int, progress: Progress | None) -> _Held:
    """Read everything held on a person: vault files, queues, moderation, and their own requests."""
    catalog, keychain, vault = services.catalog, services.keychain, services.vault
    # 1. Items and rejected items, from every file that the catalog cannot rule out; the oldest first, as a person
    #    reads them.
    rule = UserRule(user_key=user_key, before=FOR_EVER)
    hiding = [each.rule for each in catalog.requests.tombstones(team, only_open=True)]
    named = NamedRule(request_id=RequestId("export"), rule=rule)
    files = [file for file, _ in find(catalog.manifest, vault, team, [named], is_proven=True)]
    files.sort(key=lambda file: (file.day, file.first_submitted_at, file.file_id))
    sealed = catalog.manifest.sealed(files)
    found: dict[FileKind, list[Rows]] = {kind: [] for kind in FileKind}
    hidden = 0
    for done, each in enumerate(sealed, start=1):
        disclosed = vault.disclosed(each, [rule], hidden=hiding)
        hidden += disclosed.hidden
        if disclosed.rows.num_rows:
            found[each.file.kind].append(disclosed.rows)
        if progress:
            progress(done, len(sealed))
    # 2. What moderation keeps about the person's items: queue entries, notes and pending decisions.
    moderation = catalog.moderation
    waiting = [_queue_record(entry) for entry in moderation.entries(team) if entry.user_key == user_key]
    notes = moderation.notes_on(team, user_key)
    about = [
        _moderation_record(note.task_id, written_at=opened.written_at, note=opened.text)
        for note, opened in zip(notes, opened_notes(keychain, notes), strict=True)
    ]
    about += [
        _moderation_record(
            verdict.task_id, written_at=verdict.decided_at, verdict=opened_values(catalog, keychain, verdict)
        )
        for verdict in moderation.unsettled(team)
        if verdict.user_key == user_key
    ]
    # 3. The requests that named this person. They are found by their tombstones, since their own words are sealed.
    requests = [
        catalog.requests.get(RequestId(each.request_id))
        for each in catalog.requests.tombstones(team)
        if isinstance(each.rule, UserRule) and each.rule.user_key == user_key
    ]
    asked = [request_view(request, request.outcome, only=_OF_A_REQUEST) for request in requests]
    parts: dict[str, Rows | list[dict[str, Any]]] = {
        "items.jsonl": vault.join(found[FileKind.ITEMS]) if found[FileKind.ITEMS] else [],
        "rejected.jsonl": vault.join(found[FileKind.REJECTED]) if found[FileKind.REJECTED] else [],
        "queue.jsonl": waiting,
        "moderation.jsonl": about,
        "requests.jsonl": asked,
    }
    return _Held(
        tombstone=newest,
        parts=parts,
        counts={kind: sum(rows.num_rows for rows in several) for kind, several in found.items()},
        hidden=hidden,
        queue_entries=len(waiting),
        notes=len(about),
        requests=len(asked),
    )


def _queue_record(entry: QueueEntry) -> dict[str, Any]:
    """Return an entry of a moderation queue in the form that is handed out."""
    return {
        "taskId": entry.task_id,
        "queue": entry.queue,
        "submittedAt": instant_text(entry.submitted_at),
        "outcome": entry.outcome,
    }


def _moderation_record(
    task_id: str, *, written_at: datetime, note: str | None = None, verdict: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a moderator's note, or a verdict that is not written into its item yet, in the form that is handed out."""
    said = {"note": note} if verdict is None else {"verdict": dict(verdict)}
    return {"taskId": task_id, "writtenAt": instant_text(written_at), **said}
