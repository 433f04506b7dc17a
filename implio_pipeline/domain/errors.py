"""Failures people meet: a stable code, facts without personal data, and a remedy."""

from datetime import date


class ImplioError(Exception):
    """A failure with a stable `code` and a `remedy` in one imperative sentence."""

    code: str = "failed"
    remedy: str = "Ask who runs this installation."

    def __init__(
        self, facts: str, *, remedy: str | None = None, about: str | None = None, day: date | None = None
    ) -> None:
        super().__init__(facts)
        self.facts = facts
        self.about = about
        """Opaque id of the file that it is about, where it is about one."""
        self.day = day
        """UTC day of that file's partition."""
        if remedy is not None:
            self.remedy = remedy


class RequestRefused(ImplioError):
    """The request was not accepted; nothing was hidden and nothing will be erased."""

    code = "request-refused"
    remedy = "Correct the request and send it again."


class RequestIdReused(RequestRefused):
    """The sender's own id made another request before, or one that was cancelled; which is meant is not ours to say."""

    code = "request-id-reused"
    remedy = "Give every request an id of its own; only the same request again may repeat one."


class RequestUnknown(ImplioError):
    """No request has this id."""

    code = "request-unknown"
    remedy = "Check the id; the list of requests has it."


class PlanChanged(RequestRefused):
    """What would be erased is not what the plan that was shown says; nothing was hidden and nothing erased."""

    code = "plan-changed"
    remedy = "Look at the plan as it is now, then confirm that."


class ApprovalRefused(RequestRefused):
    """The request cannot be approved, or not by this person."""

    code = "approval-refused"
    remedy = "Let somebody other than who asked approve it, while it waits for approval."


class CancelTooLate(RequestRefused):
    """The request can no longer be cancelled: its erasure has begun, or it was carried out."""

    code = "cancel-too-late"
    remedy = "Give the team a grace period for the next time."


class LiftRefused(RequestRefused):
    """A request keeps nobody out, so that nothing can be lifted."""

    code = "lift-refused"
    remedy = "Look at the request: it says whether it is standing, and whether somebody lifted it."


class ExtensionRefused(RequestRefused):
    """The due date cannot be put off so."""

    code = "extension-refused"
    remedy = "A due date may be put off once, before it has passed, by at most two months (GDPR Art. 12(3))."


class HoldRefused(RequestRefused):
    """The legal hold cannot be placed or released so."""

    code = "hold-refused"
    remedy = "Look at the team's holds, then correct it."


class IllegalMove(ImplioError):
    """A request was asked to move to a state it cannot reach: a programmer's error."""

    code = "illegal-move"


class TeamUnknown(ImplioError):
    """No team has this name."""

    code = "team-unknown"
    remedy = "Check the name of the team."


class TeamInvalid(ImplioError):
    """The team's name or settings are not acceptable."""

    code = "team-invalid"
    remedy = "Use 1 to 48 characters of a-z, 0-9, '_' and '-', beginning with a letter or digit."


class RegionUnknown(ImplioError):
    """No storage is configured for the region."""

    code = "region-unknown"
    remedy = "Name a region listed in implio.toml."


class PolicyInvalid(ImplioError):
    """The retention policy cannot be followed."""

    code = "policy-invalid"
    remedy = "Give whole days from 0 to 36500, and per outcome no more than the team's own."


class HomeMissing(ImplioError):
    """There is no home where one was expected."""

    code = "home-missing"
    remedy = "Make a home first."


class HomeExists(ImplioError):
    """A home is there already."""

    code = "home-exists"
    remedy = "Choose another folder; an existing home is never overwritten."


class KeyMissing(ImplioError):
    """A key that is needed is not there: destroyed, not granted, or lost."""

    code = "key-missing"
    remedy = "If the key was not shredded on purpose, put the keys folder back from its own backup."


class CatalogTampered(ImplioError):
    """A row of the catalog is not as this pipeline wrote it, or is missing: somebody changed the catalog by hand."""

    code = "catalog-tampered"
    remedy = "Keep the catalog for whoever looks into it, then put back a backup of it."


class AccessDenied(ImplioError):
    """Somebody asked for what their role does not allow."""

    code = "access-denied"
    remedy = "Ask an administrator of the team."


class ApiKeyRefused(ImplioError):
    """The call brought no API key, or one that is unknown, expired or revoked; which of them is not told."""

    code = "api-key-refused"
    remedy = "Use a valid key of the team."


class ApiKeyUnknown(ImplioError):
    """No API key has this id."""

    code = "api-key-unknown"
    remedy = "Check the id; the list of keys has it."


class ApiKeyInvalid(ImplioError):
    """An API key cannot be made so."""

    code = "api-key-invalid"
    remedy = "Give a label of 1 to 48 letters, digits, spaces, '.', '_' and '-', and an expiry that is still to come."


class PlainHttpRefused(ImplioError):
    """The server was asked to answer without TLS where others could listen."""

    code = "plain-http-refused"
    remedy = "Serve with TLS, or on 127.0.0.1 or ::1."


class AddressUnavailable(ImplioError):
    """The server cannot listen where it was told to."""

    code = "address-unavailable"
    remedy = "Choose another address and port, or stop what answers there."


class CertificateInvalid(ImplioError):
    """The server's certificate or its private key cannot be used."""

    code = "certificate-invalid"
    remedy = "Set api.certificate and api.private_key in implio.toml to PEM files that belong together."


class ClassNotGranted(ImplioError):
    """The reader asked for a column of a class that was not granted."""

    code = "class-not-granted"
    remedy = "Ask for the class, if your assignment allows it."


class MemberRefused(ImplioError):
    """The member cannot be added or changed so."""

    code = "member-refused"
    remedy = "Look at the team's members, then correct it."


class PasswordRefused(MemberRefused):
    """The password may not be used."""

    code = "password-refused"
    remedy = "Choose a longer one; a few words that do not belong together are good."


class SignInRefused(ImplioError):
    """Who it is was not proven; which part was wrong is not said."""

    code = "sign-in-refused"
    remedy = "Check address, password and code, and try again."


class SignInLocked(SignInRefused):
    """Too many attempts failed in a row for this address."""

    code = "sign-in-locked"
    remedy = "Wait, then try again; an administrator of the installation can reset the password."


class FileTampered(ImplioError):
    """A vault file is not the file its catalog row describes."""

    code = "file-tampered"
    remedy = "Take the named file out of the vault and restore it from a backup, then erase again."


class FileMissing(ImplioError):
    """A vault file that the catalog lists is not in storage."""

    code = "file-missing"
    remedy = "Restore the named file from a backup."


class Unverified(ImplioError):
    """A rewritten file did not prove right, so nothing was committed."""

    code = "unverified"
    remedy = "Nothing was changed; keep the named file and report it, then run the erasure again."


class PlanOutdated(ImplioError):
    """The catalog changed between plan and commit; the work is planned again."""

    code = "plan-outdated"
    remedy = "Nothing was changed; run it again."


class PostInWork(ImplioError):
    """A post with the same idempotency key is being taken in, or was while this one came."""

    code = "post-in-work"
    remedy = "Send the same call again in a moment: it gets the answer of the first one."
    retry_after_seconds = 1


class StorageFull(ImplioError):
    """The disk has no room for what has to be kept; nothing was changed."""

    code = "storage-full"
    remedy = "Free some space, then run it again; nothing was lost."


class CatalogUnavailable(ImplioError):
    """The catalog's database cannot be reached, read or written; nothing was changed."""

    code = "catalog-unavailable"
    remedy = "Check the disk, the permissions and the server that hold the catalog, then run it again."


class ClockWrong(ImplioError):
    """The clock disagrees with what this home knows; nothing was accepted, taken in or erased."""


class ClockBehind(ClockWrong):
    """The clock lies behind the newest instant that the home knows, by more than the bound."""

    code = "clock-behind"
    remedy = "Set the machine's clock right, then run it again."


class ClockAhead(ClockWrong):
    """The clock lies ahead of the newest instant that the home knows, by more than the bound."""

    code = "clock-ahead"
    remedy = "Set the machine's clock right, then run it again."


class StorageFailed(ImplioError):
    """The operating system could not read, write, list or delete a file."""

    code = "storage-failed"
    remedy = "Check the disk or the network drive that holds the file, then run it again."


class Unexpected(ImplioError):
    """A fault that nobody foresaw: an error in this program, or damage that no check names."""

    code = "unexpected"
    remedy = "Keep the line it names and report it; run the same command again with the newest version."


class LandingInvalid(ImplioError):
    """A landing file cannot be parsed at all."""

    code = "landing-invalid"
    remedy = "Correct the file and land it again."


class LandingEmpty(LandingInvalid):
    """A landing file holds nothing at all."""

    code = "landing-empty"
    remedy = "Nothing is to be done: it was removed."


class LedgerBroken(ImplioError):
    """The ledger's chain or a signature does not hold."""

    code = "ledger-broken"
    remedy = "Put the ledger back from its own backup; do not edit it."


class LedgerUnavailable(ImplioError):
    """The ledger's file cannot be read or written."""

    code = "ledger-unavailable"
    remedy = "Check the disk that holds the ledger, then run it again; what was erased is told then."


class QueryRefused(ImplioError):
    """The query asks for something the query door does not do."""

    code = "query-refused"
    remedy = "Only reading statements over the views `items`, `rejected` and `queue` are allowed."


class KeyRingOutdated(ImplioError):
    """The key ring is not the one that the ledger's newest entry about keys describes: an old one was put back."""

    code = "key-ring-outdated"
    remedy = "Put the newest backup of the keys folder back; an older one opens nothing that was written since."


class KeyReturned(KeyRingOutdated):
    """A root key that was destroyed is in the key ring again: an old one was copied over the newest."""

    code = "key-returned"
    remedy = "Restore: that destroys the key again, and erases again what was erased."


class CatalogNewer(ImplioError):
    """A newer version of the software changed the catalog's tables; this one cannot know what they mean."""

    code = "catalog-newer"
    remedy = "Install the version of implio-pipeline that opened this home last, or a newer one."


class CatalogOutdated(ImplioError):
    """The catalog is older than the ledger: a backup was put back, and what was erased since may be in it."""

    code = "catalog-outdated"
    remedy = "Restore: that erases again what the ledger knows was erased."


class BackupForgotten(ImplioError):
    """The catalog that was put back is from before a rotation of keys: the keys that open it are destroyed."""

    code = "backup-forgotten"
    remedy = "Put back a backup of the catalog made after the newest rotation; see docs/KEYS.md."


class QueueUnknown(ImplioError):
    """The team has no moderation queue of this name."""

    code = "queue-unknown"
    remedy = "Name a queue of the team."


class QueueInvalid(RequestRefused):
    """The moderation queue cannot be named so, made or removed."""

    code = "queue-invalid"
    remedy = "Choose another name, or empty the queue first; Default and Escalated always stay."


class DecisionRefused(RequestRefused):
    """The decision cannot be taken so."""

    code = "decision-refused"
    remedy = "Ask for the next items and decide on those; a refusal needs a reason."


class ItemDecided(DecisionRefused):
    """Another verdict on the item fell before."""

    code = "item-decided"
    remedy = "Ask for the next items; the first verdict stands."


class ItemLocked(RequestRefused):
    """Somebody else is looking at the item."""

    code = "item-locked"
    remedy = "Ask for the next items; this one comes again when its lock has expired."


class ItemGone(ImplioError):
    """The item waits no longer: it was deleted, or it never did."""

    code = "item-gone"
    remedy = "Ask for the next items; nothing is left of this one to decide on."


class CallbackRefused(RequestRefused):
    """The callback cannot be sent where it was to go."""

    code = "callback-refused"
    remedy = "Give a URL of https whose host is on the team's allow list."


class CallbackUnknown(ImplioError):
    """The team has no callback."""

    code = "callback-unknown"
    remedy = "Set a callback first."
