"""Why a request as asked is refused: stable codes, what they mean, and what to do; never a value of the request."""

from implio_pipeline.domain.errors import RequestRefused

REASONS: dict[str, tuple[str, str]] = {
    "unknown-field": ("it has a field that requests do not have", "Remove the field; check its spelling."),
    "missing-field": ("a field that its type needs is missing", "Add the field."),
    "duplicate-field": ("it has the same field twice", "Keep one of them."),
    "wrong-type": ("a field is not text", "Write the field's value as text."),
    "bad-flag": ("`standing` is neither true nor false", "Write true or false, or leave it out."),
    "not-an-object": ("it is not a JSON object", "Write each request as one JSON object."),
    "unknown-type": ("its type is none of user, task, dates and team", "Name one of the four types."),
    "empty-id": ("the id is empty", "Name the id; to erase everything of a team use the type team."),
    "rounded-id": (
        "the id is a number that a spreadsheet has rounded, so it may stand for several people",
        "Format the column as text, export it again, and name the id in full.",
    ),
    "placeholder-id": (
        "the id is a word that programs write for a value that is missing, such as undefined or null",
        "Check the program that makes the request; to erase items without a user id name their task ids or dates.",
    ),
    "no-task-id": (
        "the task id is no UUID; an ad's own id is not a task id",
        "Use the taskId that the answer to the post names; to erase all of a person's items name the user.",
    ),
    "by-actor": (
        "there are no requests by actor: what moderators did is part of the items they decided",
        "Erase the items, by user, task or dates; a moderator who asks turns to the team, which is the controller.",
    ),
    "id-too-long": ("the id has more than 1024 characters", "Check the id; no item has one so long."),
    "text-too-long": ("the request id or the reason is too long", "Use at most 200 and 2000 characters."),
    "bad-text": ("a text holds a NUL or half a character", "Write the text in UTF-8, without NUL."),
    "bad-date": ("a date cannot be read", "Write dates like 2026-01-31T00:00Z."),
    "zoneless-date": ("a date names no zone", "Add Z or an offset like +02:00."),
    "dates-inverted": ("the range is empty: `from` is not before `to`", "Exchange or correct the dates."),
    "year-out-of-range": ("a date lies outside the years 1970 to 9998", "Correct the year."),
    "confirm-mismatch": ("`confirm` does not repeat the team's name", "Write the team's name in `confirm`."),
    "bad-team-name": ("no team can have this name", "Use 1 to 48 characters of a-z, 0-9, '_' and '-'."),
    "wrong-cell-count": ("the row has another number of cells than the header", "Quote cells that hold commas."),
    "stray-quote": (
        "the row has a quote that neither begins nor ends a cell, or one that is not closed",
        "Close the quote, or double those within a cell; the other rows of the file are taken.",
    ),
    "not-json": ("it is not JSON", "Write JSON in UTF-8."),
    "not-commas": ("its cells are not separated by commas", "Save it as CSV with commas, in UTF-8."),
    "not-text": (
        "it is an archive or a workbook, or damaged",
        "Write JSON or CSV in UTF-8; a single file may be zipped with gzip.",
    ),
    "not-csv": ("it is not CSV", "Write CSV in UTF-8, with a header."),
    "too-large": ("the file has more than 16 MiB", "Split the file."),
    "too-many-entries": ("the file has more than 100000 requests", "Split the file."),
    "no-entries": ("the file holds no request", "Remove the file, or write requests into it."),
    "changed-while-read": ("it was written to while it was read", "Rename files into the inbox when they are whole."),
}  # fmt: skip
"""Of each code: the reason, and the remedy."""


class RequestFieldRefused(RequestRefused):
    """A request, or the file that holds it, breaks a rule of how requests are written; the code names the rule."""

    def __init__(self, code: str) -> None:
        reason, remedy = REASONS[code]
        super().__init__(reason, remedy=remedy)
        self.code = code
