"""Why a request of a file is refused: stable codes, what they mean, and what to do; never a value of the request."""

REASONS: dict[str, tuple[str, str]] = {
    "unknown-field": ("It has a field that requests do not have.", "Remove the field; check its spelling."),
    "missing-field": ("A field that its type needs is missing.", "Add the field."),
    "duplicate-field": ("It has the same field twice.", "Keep one of them."),
    "wrong-type": ("A field is not text.", "Write the field's value as text."),
    "bad-flag": ("`standing` is neither true nor false.", "Write true or false, or leave it out."),
    "not-an-object": ("It is not a JSON object.", "Write each request as one JSON object."),
    "unknown-type": ("Its type is none of user, task, dates and team.", "Name one of the four types."),
    "empty-id": ("The id is empty.", "Name the id; to erase everything of a team use the type team."),
    "rounded-id": (
        "The id is a number that a spreadsheet has rounded, so it may stand for several people.",
        "Format the column as text, export it again, and name the id in full.",
    ),
    "placeholder-id": (
        "The id is a word that programs write for a value that is missing, such as undefined or null.",
        "Check the program that makes the request; to erase items without a user id name their task ids or dates.",
    ),
    "no-task-id": (
        "The task id is no UUID; an ad's own id is not a task id.",
        "Use the taskId that the answer to the post names; to erase all of a person's items name the user.",
    ),
    "by-actor": (
        "There are no requests by actor: what moderators did is part of the items they decided.",
        "Erase the items, by user, task or dates; a moderator who asks turns to the team, which is the controller.",
    ),
    "id-too-long": ("The id has more than 1024 characters.", "Check the id; no item has one so long."),
    "text-too-long": ("The request id or the reason is too long.", "Use at most 200 and 2000 characters."),
    "bad-text": ("A text holds a NUL or half a character.", "Write the text in UTF-8, without NUL."),
    "bad-date": ("A date cannot be read.", "Write dates like 2026-01-31T00:00Z."),
    "zoneless-date": ("A date names no zone.", "Add Z or an offset like +02:00."),
    "dates-inverted": ("The range is empty: `from` is not before `to`.", "Exchange or correct the dates."),
    "year-out-of-range": ("A date lies outside the years 1970 to 9998.", "Correct the year."),
    "confirm-mismatch": ("`confirm` does not repeat the team's name.", "Write the team's name in `confirm`."),
    "bad-team-name": ("No team can have this name.", "Use the name that `implio team list` shows."),
    "wrong-cell-count": ("The row has another number of cells than the header.", "Quote cells that hold commas."),
    "not-json": ("It is not JSON.", "Write JSON in UTF-8."),
    "not-commas": ("Its cells are not separated by commas.", "Save it as CSV with commas, in UTF-8."),
    "not-text": (
        "It is an archive or a workbook, or damaged.",
        "Write JSON or CSV in UTF-8; a single file may be zipped with gzip.",
    ),
    "not-csv": ("It is not CSV.", "Write CSV in UTF-8, with a header."),
    "too-large": ("The file has more than 16 MiB.", "Split the file."),
    "too-many-entries": ("The file has more than 100000 requests.", "Split the file."),
    "no-entries": ("The file holds no request.", "Remove the file, or write requests into it."),
    "changed-while-read": ("It was written to while it was read.", "Rename files into the inbox when they are whole."),
}  # fmt: skip
_OTHER_REMEDY = "Correct the request and send it again."


def reason_of(code: str) -> str:
    """Return in words what a code means."""
    return REASONS.get(code, ("It was refused.", ""))[0]


def remedy_of(code: str) -> str:
    """Return what the sender can do."""
    return REASONS.get(code, ("", _OTHER_REMEDY))[1]
