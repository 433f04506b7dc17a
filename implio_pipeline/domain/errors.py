"""Failures that people see: each has a stable code, facts without personal data, and a remedy.

Rules:
* Codes are part of the API and never change. A class has one code, or a table of codes (`remedies`) where no caller
  needs to tell them apart.
* The facts contain no value of an item and no name of a person.
* The remedy is one imperative sentence. It names no command and no header: the edge that speaks adds those, by the code
  (`remedies.py` for operators).
"""

from collections.abc import Mapping
from datetime import date
from typing import ClassVar


class ImplioError(Exception):
    """A failure with a stable `code`, and a `remedy` in one imperative sentence."""

    code: str = "failed"
    remedy: str = "Ask who runs this installation."
    remedies: ClassVar[Mapping[str, str]] = {}
    """The remedy of each code, for a class with several codes."""
    has_own_remedy: bool = False
    """Whether the remedy was given where the failure was found, so that it is better than any table's."""

    def __init__(
        self,
        facts: str,
        *,
        code: str | None = None,
        remedy: str | None = None,
        about: str | None = None,
        day: date | None = None,
    ) -> None:
        super().__init__(facts)
        self.facts = facts
        self.about = about
        """Opaque id of the file that the failure is about, if any."""
        self.day = day
        """UTC day of that file's partition."""
        if code is not None:
            self.code = code
        self.has_own_remedy = remedy is not None
        self.remedy = remedy or self.remedies.get(self.code, self.remedy)


class RequestRefused(ImplioError):
    """The request was not accepted: nothing is hidden and nothing is erased."""

    code = "request-refused"
    remedy = "Correct the request and send it again."


class RequestIdReused(RequestRefused):
    """The sender's id belongs to another request, or to a cancelled one. We do not guess which one is meant."""

    code = "request-id-reused"
    remedy = "Give every request an id of its own; only the same request again may repeat one."


class RequestUnknown(ImplioError):
    """There is no request with this id."""

    code = "request-unknown"
    remedy = "Check the id; the list of requests has it."


class PlanChanged(RequestRefused):
    """The erasure would differ from the plan that was shown. Nothing is hidden and nothing is erased."""

    code = "plan-changed"
    remedy = "Look at the new plan, then confirm it."


class ApprovalRefused(RequestRefused):
    """The request cannot be approved, or not by this person."""

    code = "approval-refused"
    remedy = "Ask a person who did not make the request to approve it while it waits."


class CancelTooLate(RequestRefused):
    """The request cannot be cancelled any more, because its erasure has begun or is done."""

    code = "cancel-too-late"
    remedy = "Give the team a grace period for the next time."


class LiftRefused(RequestRefused):
    """The request has no standing deletion that could be lifted."""

    code = "lift-refused"
    remedy = "Look at the request: it says whether it is standing, and whether somebody lifted it."


class ExtensionRefused(RequestRefused):
    """The due date cannot be extended in this way."""

    code = "extension-refused"
    remedy = "Extend a due date only once, before it has passed, by at most two months (GDPR Art. 12(3))."


class HoldRefused(RequestRefused):
    """The legal hold cannot be placed or released in this way."""

    code = "hold-refused"
    remedy = "Look at the team's holds, then correct it."


class IllegalMove(ImplioError):
    """The code tried a change of state that does not exist: a programming error."""

    code = "illegal-move"


class TeamUnknown(ImplioError):
    """There is no team with this name."""

    code = "team-unknown"
    remedy = "Check the name of the team."


class TeamInvalid(ImplioError):
    """The name or the settings of the team are not valid."""

    code = "team-invalid"
    remedy = "Use 1 to 48 characters of a-z, 0-9, '_' and '-', beginning with a letter or digit."


class RegionUnknown(ImplioError):
    """No storage is configured for the region."""

    code = "region-unknown"
    remedy = "Name a region listed in implio.toml."


class PolicyInvalid(ImplioError):
    """The retention policy is not valid."""

    code = "policy-invalid"
    remedy = "Give whole days from 0 to 36500, and per outcome no more than the team's own."


class HomeMissing(ImplioError):
    """The folder is not a home."""

    code = "home-missing"
    remedy = "Make a home first."


class HomeExists(ImplioError):
    """The folder is already a home, or holds other files."""

    code = "home-exists"
    remedy = "Choose another folder; an existing home is never overwritten."


class KeyMissing(ImplioError):
    """A key is missing: it was destroyed, not granted, or lost."""

    code = "key-missing"
    remedy = "If the key was not shredded on purpose, restore the keys folder from its own backup."


class KeyServiceDenied(ImplioError):
    """The key service refuses an operation: the credentials are wrong or expired, or lack a permission."""

    code = "key-service-denied"
    remedy = "Give this program the permissions and valid credentials of the key service."


class KeyServiceUnavailable(ImplioError):
    """The key service does not answer, is sealed, or throttles us. Nothing is lost; what waits is tried again."""

    code = "key-service-unavailable"
    remedy = "Check that the key service runs and can be reached; what waits is tried again."


class CatalogTampered(ImplioError):
    """A row of the catalog was changed or removed by somebody else than this pipeline."""

    code = "catalog-tampered"
    remedy = "Keep a copy of the catalog for the investigation, then restore a backup of it."


class AccessDenied(ImplioError):
    """The role does not allow this act."""

    code = "access-denied"
    remedy = "Ask an administrator of the team."


class ApiKeyRefused(ImplioError):
    """The API key is missing, unknown, expired or revoked. The caller is not told which."""

    code = "api-key-refused"
    remedy = "Use a valid key of the team."


class ApiKeyUnknown(ImplioError):
    """There is no API key with this id."""

    code = "api-key-unknown"
    remedy = "Check the id; the list of keys has it."


class ApiKeyInvalid(ImplioError):
    """The API key cannot be made with these values."""

    code = "api-key-invalid"
    remedy = "Give a label of 1 to 48 letters, digits, spaces, '.', '_' and '-', and an expiry that is still to come."


class ServerMisconfigured(ImplioError):
    """The server cannot start with this address, this certificate, or plain HTTP that other machines could read."""

    remedies: ClassVar[Mapping[str, str]] = {
        "plain-http-refused": "Serve with TLS, or on 127.0.0.1 or ::1.",
        "address-unavailable": "Choose another address and port, or stop the program that uses it.",
        "certificate-invalid": (
            "Set api.certificate and api.private_key in implio.toml to PEM files that belong together."
        ),
    }


class ClassNotGranted(ImplioError):
    """The query names a column of a class that the reader was not granted."""

    code = "class-not-granted"
    remedy = "Ask for the class, if your assignment allows it."


class MemberRefused(ImplioError):
    """The member cannot be added or changed in this way, or the password is not allowed."""

    code = "member-refused"
    remedies: ClassVar[Mapping[str, str]] = {
        "member-refused": "Look at the team's members, then correct it.",
        "password-refused": "Choose a longer one; a few words that do not belong together are good.",
    }


class SignInRefused(ImplioError):
    """The sign-in failed. The caller is not told which part was wrong."""

    code = "sign-in-refused"
    remedy = "Check address, password and code, and try again."


class SignInLocked(SignInRefused):
    """Too many attempts in a row failed for this address."""

    code = "sign-in-locked"
    remedy = "Wait, then try again; an administrator of the installation can reset the password."


class FileTampered(ImplioError):
    """A vault file differs from what the catalog says about it."""

    code = "file-tampered"
    remedy = "Take the named file out of the vault and restore it from a backup, then erase again."


class FileMissing(ImplioError):
    """A vault file that the catalog lists is not in storage."""

    code = "file-missing"
    remedy = "Restore the named file from a backup."


class Unverified(ImplioError):
    """A rewritten file failed its verification, so nothing was committed."""

    code = "unverified"
    remedy = "Nothing was changed; keep the named file and report it, then run the erasure again."


class PlanOutdated(ImplioError):
    """The catalog changed between planning and commit. The work is planned again."""

    code = "plan-outdated"
    remedy = "Nothing was changed; run it again."


class ClaimLost(PlanOutdated):
    """Another worker has taken the work over: the lease ended before the work was committed. Nothing was changed."""

    code = "claim-lost"


class PostInWork(ImplioError):
    """Another call with the same idempotency key is being processed."""

    code = "post-in-work"
    remedy = "Send the same call again in a moment: it gets the answer of the first one."
    retry_after_seconds = 1


class StorageFull(ImplioError):
    """There is no room on the disk, in the database or in the bucket. Nothing was changed."""

    code = "storage-full"
    remedy = "Free some space, then run it again; nothing was lost."


class CatalogUnavailable(ImplioError):
    """The catalog's database cannot be reached, read or written. Nothing was changed."""

    code = "catalog-unavailable"
    remedy = "Check the disk, the permissions and the server that hold the catalog, then run it again."


class CatalogUnsafe(ImplioError):
    """The catalog's server may lose what it has confirmed, or is too old. Nothing was changed."""

    code = "catalog-unsafe"
    remedy = "Turn on fsync and full_page_writes at the server, or use a newer server."


class ClockWrong(ImplioError):
    """The clock is too far behind or ahead of the newest instant that this home knows. Nothing was changed."""

    remedies: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("clock-behind", "clock-ahead"), "Set the machine's clock right, then run it again."
    )


class StorageFailed(ImplioError):
    """A file or an object could not be read, written, listed or deleted."""

    code = "storage-failed"
    remedy = "Check the disk, the network drive or the bucket that holds it, then run it again."


class CacheTooSmall(ImplioError):
    """The files that a statement reads do not fit into this machine's cache together. Nothing was read."""

    code = "cache-too-small"
    remedy = "Read fewer days or one team at a time, or give the cache more room."


class BucketRefused(ImplioError):
    """A bucket keeps what is deleted, or its settings cannot be read. The code names the reason."""

    code = "bucket-refused"
    remedies: ClassVar[Mapping[str, str]] = {
        "bucket-unreachable": "Check the address, the endpoint, the credentials and the network.",
        "bucket-settings-unreadable": "Allow these credentials to read the settings of the bucket.",
        "bucket-versions-remain": (
            "Allow these credentials to list and delete versions, or use a bucket that never kept versions."
        ),
        "bucket-replicated": "Remove the replication rules, and erase in the replica what was erased here.",
        "bucket-locked": "Use a bucket without a default retention: only the ledger may be locked.",
    }


class Unexpected(ImplioError):
    """An unforeseen error: a bug in this program, or damage that no check covers."""

    code = "unexpected"
    remedy = "Keep the line it names and report it; run the same command again with the newest version."


class LandingInvalid(ImplioError):
    """A landing file cannot be parsed."""

    code = "landing-invalid"
    remedy = "Correct the file and land it again."


class LandingEmpty(LandingInvalid):
    """A landing file is empty."""

    code = "landing-empty"
    remedy = "Nothing needs to be done: the file was removed."


class LedgerBroken(ImplioError):
    """The ledger's hash chain or a signature is not valid."""

    code = "ledger-broken"
    remedy = "Restore the ledger from its own backup; do not edit it."


class LedgerUnavailable(ImplioError):
    """The ledger cannot be read or written."""

    code = "ledger-unavailable"
    remedy = "Check the disk or the bucket that holds the ledger, then run it again; it then records what was erased."


class QueryRefused(ImplioError):
    """The query uses something that the query door does not allow."""

    code = "query-refused"
    remedy = "Only reading statements over the views `items`, `rejected` and `queue` are allowed."


class KeyRingOutdated(ImplioError):
    """The key ring does not match the ledger's newest entry about keys: an older key ring was restored."""

    code = "key-ring-outdated"
    remedies: ClassVar[Mapping[str, str]] = {
        "key-ring-outdated": (
            "Restore the newest backup of the keys folder; an older one cannot open what was written since."
        ),
        # A destroyed root key is in the key ring again: an older key ring was copied over the newest one.
        "key-returned": "Restore: that destroys the key again, and erases again what was erased.",
    }


class CatalogNewer(ImplioError):
    """A newer version of the software changed the catalog's tables, so this version cannot use them."""

    code = "catalog-newer"
    remedy = "Install the version of implio-pipeline that opened this home last, or a newer one."


class CatalogOutdated(ImplioError):
    """The catalog is older than the ledger: a backup was restored, and it may contain items that were erased since."""

    code = "catalog-outdated"
    remedy = "Restore: that erases again what the ledger knows was erased."


class BackupForgotten(ImplioError):
    """The restored catalog is older than the last key rotation, and the keys that open it are destroyed."""

    code = "backup-forgotten"
    remedy = "Restore a backup of the catalog made after the newest rotation; see docs/KEYS.md."


class QueueUnknown(ImplioError):
    """The team has no moderation queue with this name."""

    code = "queue-unknown"
    remedy = "Name a queue of the team."


class QueueInvalid(RequestRefused):
    """The moderation queue cannot be made, renamed or removed in this way."""

    code = "queue-invalid"
    remedy = "Choose another name, or empty the queue first; Default and Escalated always stay."


class DecisionRefused(RequestRefused):
    """The decision cannot be taken."""

    code = "decision-refused"
    remedy = "Ask for the next items and decide on those; a refusal needs a reason."


class ItemDecided(DecisionRefused):
    """The item already has a different verdict."""

    code = "item-decided"
    remedy = "Ask for the next items; the first verdict counts."


class ItemLocked(RequestRefused):
    """Somebody else is looking at the item."""

    code = "item-locked"
    remedy = "Ask for the next items; this one comes again when its lock has expired."


class ItemGone(ImplioError):
    """The item is not waiting for a decision: it was deleted, or never waited."""

    code = "item-gone"
    remedy = "Ask for the next items; nothing is left of this one to decide on."


class CallbackRefused(RequestRefused):
    """The callback's destination is not allowed."""

    code = "callback-refused"
    remedy = "Give an https URL whose host is on the team's allow list."


class CallbackUnknown(ImplioError):
    """The team has no callback."""

    code = "callback-unknown"
    remedy = "Set a callback first."
