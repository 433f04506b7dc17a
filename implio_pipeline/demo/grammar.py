"""How an advert is put together from phrases; the phrases themselves are in `phrases`, one language a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

Facts = Mapping[str, str]
"""What fills the slots of a phrase: `thing`, `year`, `distance`, `months`, `rooms`, `area`, `level`, `colour`, `city`,
`first`, `phone` (empty if there is none), `hour`."""


class Trade(StrEnum):
    """What an advert is about."""

    CARS = "cars"
    PHONES = "phones"
    FURNITURE = "furniture"
    FLATS = "flats"
    BIKES = "bikes"
    JOBS = "jobs"
    PETS = "pets"
    TOOLS = "tools"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pitch:
    """How one trade is advertised in one language; every phrase may have slots."""

    things: tuple[str, ...]
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    details: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrasebook:
    """One language: a pitch for each trade and what sellers of anything say."""

    language: str
    """ISO 639-1."""
    colours: tuple[str, ...]
    pitches: Mapping[Trade, Pitch]
    terms: tuple[str, ...]
    closings: tuple[str, ...]
    amendments: tuple[str, ...]
    """What a revision adds: one sentence, whose part before the colon also marks the title."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advert:
    """The words of one advert."""

    title: str
    body: str


def happens(rng: Random, *, percent: float) -> bool:
    """Tell whether something happens that happens in so many of a hundred cases."""
    return rng.random() * 100 < percent


def lines(block: str) -> tuple[str, ...]:
    """Return the block's lines without indentation and empty ones."""
    return tuple(line.strip() for line in block.splitlines() if line.strip())


def words(block: str) -> tuple[str, ...]:
    """Return the block's words."""
    return tuple(block.split())


def pitch(block: str) -> Pitch:
    """Read a pitch from four paragraphs: things (parted by `|`), titles, openings, details.

    Raises:
        ValueError: the block has not four paragraphs.
    """
    things, titles, openings, details = block.strip().split("\n\n")
    return Pitch(
        things=tuple(thing.strip() for thing in things.replace("\n", " ").split("|")),
        titles=lines(titles),
        openings=lines(openings),
        details=lines(details),
    )


def compose(rng: Random, book: Phrasebook, trade: Trade, facts: Facts) -> Advert:
    """Return an advert of about 300 to 600 characters: opening, details, terms, and a closing on a line of its own."""
    phrases = book.pitches[trade]
    wanted = rng.randint(270, 430)
    sentences = [rng.choice(phrases.openings)]
    length = len(sentences[0])
    for sentence in (*rng.sample(phrases.details, rng.randint(2, 4)), *rng.sample(book.terms, len(book.terms))):
        if length >= wanted:
            break
        sentences.append(sentence)
        length += len(sentence) + 1
    closings = [closing for closing in book.closings if facts["phone"] or "{phone}" not in closing]
    body = f"{' '.join(sentences)}\n{rng.choice(closings)}"
    return Advert(title=_title(rng.choice(phrases.titles).format_map(facts)), body=body.format_map(facts))


def amend(rng: Random, book: Phrasebook, advert: Advert, *, revision: int) -> Advert:
    """Return the advert as its seller changed it for the `revision`-th time."""
    amendment = rng.choice(book.amendments)
    mark = amendment.split(":", maxsplit=1)[0]
    return Advert(title=f"{mark}: {advert.title}", body=f"({revision}) {amendment}\n{advert.body}")


def _title(text: str) -> str:
    """Return the text with a capital letter first, except where a name is written otherwise (iPhone)."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]
