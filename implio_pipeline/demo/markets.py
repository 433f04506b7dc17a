"""The two marketplaces of the demo: where their sellers live, what they pay with, which language they write."""

from collections.abc import Mapping
from dataclasses import dataclass

from implio_pipeline.demo.grammar import Phrasebook, words
from implio_pipeline.demo.phrases.american import AMERICAN
from implio_pipeline.demo.phrases.english import ENGLISH
from implio_pipeline.demo.phrases.french import FRENCH
from implio_pipeline.demo.phrases.german import GERMAN
from implio_pipeline.demo.phrases.swedish import SWEDISH


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A city as an item's location names it."""

    city: str
    postal_code: str
    region: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Locale:
    """One country of a marketplace."""

    country: str
    """ISO 3166-1 alpha-2."""
    currency: str
    """ISO 4217."""
    per_euro: float
    """Rough price level, so that a Swedish sofa costs crowns; no exchange rate."""
    distance: str
    """What distances are given in: `km` or `miles`."""
    thousands: str
    """What parts the thousands of a number."""
    book: Phrasebook
    places: tuple[Place, ...]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    feet_per_metre: float = 1.0
    """Square ones; 1 where flats are measured in metres."""
    has_noon: bool = False
    """Whether people say `5 pm` rather than 17."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """One marketplace, which is one team."""

    name: str
    item_prefix: str
    user_prefix: str
    utc_offset_hours: int
    """Zone in which its backfill writes instants."""
    locales: tuple[Locale, ...]
    shares: tuple[int, ...]
    """How many in a hundred sellers each locale has."""


def _places(block: str) -> tuple[Place, ...]:
    rows = (row.strip().split(", ") for row in block.strip().splitlines())
    return tuple(Place(city=city, postal_code=code, region=region) for city, code, region in rows)


IRELAND = Locale(
    country="IE",
    currency="EUR",
    per_euro=1.0,
    distance="km",
    thousands=",",
    book=ENGLISH,
    places=_places("""
        Dublin, D08 XY00, Leinster
        Cork, T12 XY00, Munster
        Galway, H91 XY00, Connacht
        Limerick, V94 XY00, Munster
        Waterford, X91 XY00, Munster
        Sligo, F91 XY00, Connacht
    """),
    first_names=words("""
        Aoife Ciarán Niamh Seán Orla Declan Gráinne Patrick Róisín Conor Siobhán Liam Fiona Brendan Maeve
        Eoin
    """),
    last_names=words("""
        Murphy Kelly Byrne Ryan Doyle Walsh Gallagher Nolan Kavanagh Brennan Burke Quinn Daly Keane Foley
        Hayes
    """),
    has_noon=True,
)
GERMANY = Locale(
    country="DE",
    currency="EUR",
    per_euro=1.0,
    distance="km",
    thousands=".",
    book=GERMAN,
    places=_places("""
        Berlin, 10115, Berlin
        Hamburg, 20095, Hamburg
        München, 80331, Bayern
        Köln, 50667, Nordrhein-Westfalen
        Leipzig, 04109, Sachsen
        Freiburg, 79098, Baden-Württemberg
        Bremen, 28195, Bremen
    """),
    first_names=words("""
        Anna Lukas Katharina Jürgen Sabine Moritz Heike Florian Birgit Tobias Jana Stefan Ayşe Dirk Lena
        Matthias
    """),
    last_names=words("""
        Schmidt Weber Wagner Schäfer Köhler Krüger Neumann Vogel Lehmann Yildiz Böhm Franke Winkler Arnold
        Kühn Busch
    """),
)
AUSTRIA = Locale(
    country="AT",
    currency="EUR",
    per_euro=1.05,
    distance="km",
    thousands=".",
    book=GERMAN,
    places=_places("""
        Wien, 1070, Wien
        Graz, 8010, Steiermark
        Linz, 4020, Oberösterreich
        Salzburg, 5020, Salzburg
    """),
    first_names=GERMANY.first_names,
    last_names=("Gruber", "Huber", "Pichler", "Steiner", "Moser", "Leitner", "Hofer", "Eder", "Wallner", "Aigner"),
)
FRANCE = Locale(
    country="FR",
    currency="EUR",
    per_euro=1.0,
    distance="km",
    thousands=" ",
    book=FRENCH,
    places=_places("""
        Lyon, 69003, Auvergne-Rhône-Alpes
        Marseille, 13006, Provence-Alpes-Côte d'Azur
        Nantes, 44000, Pays de la Loire
        Lille, 59800, Hauts-de-France
        Rennes, 35000, Bretagne
        Toulouse, 31000, Occitanie
    """),
    first_names=words("""
        Camille Julien Élodie Mathieu Chloé Benoît Aurélie Thierry Inès Olivier Margaux Karim Sylvie Antoine
        Zoé Rémi
    """),
    last_names=words("""
        Martin Lefèvre Moreau Girard Rousseau Faure Mercier Blanc Garnier Benali Chevalier Lambert Renaud
        Picard Roy
    """),
)
SWEDEN = Locale(
    country="SE",
    currency="SEK",
    per_euro=11.0,
    distance="km",
    thousands=" ",
    book=SWEDISH,
    places=_places("""
        Stockholm, 111 20, Stockholms län
        Göteborg, 411 03, Västra Götalands län
        Malmö, 211 20, Skåne län
        Uppsala, 753 10, Uppsala län
        Umeå, 903 26, Västerbottens län
        Örebro, 702 10, Örebro län
    """),
    first_names=words("""
        Astrid Björn Elin Göran Ingrid Nils Åsa Oskar Maja Lars Linnéa Anders Sofia Håkan Amir Karin
    """),
    last_names=words("""
        Lindqvist Bergström Sjöberg Nyström Ekman Åkesson Holm Sandberg Engström Wallin Öberg Hellström
        Norén Dahl
    """),
)
UNITED_STATES = Locale(
    country="US",
    currency="USD",
    per_euro=1.1,
    distance="miles",
    thousands=",",
    book=AMERICAN,
    places=_places("""
        Portland, 97209, Oregon
        Columbus, 43215, Ohio
        Austin, 78704, Texas
        Raleigh, 27601, North Carolina
        Denver, 80205, Colorado
        Tucson, 85705, Arizona
        Milwaukee, 53202, Wisconsin
        Richmond, 23220, Virginia
    """),
    first_names=words("""
        Emily Marcus Jasmine Tyler Maria Brandon Ashley Carlos Heather DeShawn Nicole Kevin Mei Travis
        Latoya Scott
    """),
    last_names=words("""
        Johnson Ramirez Nguyen Williams Carter Peterson Brooks Hernandez Kim Sullivan Foster Reed Washington
        Cole
    """),
    feet_per_metre=10.8,
    has_noon=True,
)

ACME = Market(
    name="acme",
    item_prefix="ac-",
    user_prefix="u-",
    utc_offset_hours=1,
    locales=(GERMANY, FRANCE, SWEDEN, IRELAND, AUSTRIA),
    shares=(32, 24, 22, 14, 8),
)
GLOBEX = Market(
    name="globex",
    item_prefix="GX",
    user_prefix="usr_",
    utc_offset_hours=-6,
    locales=(UNITED_STATES,),
    shares=(100,),
)

MARKETS: Mapping[str, Market] = {ACME.name: ACME, GLOBEX.name: GLOBEX}
"""The demo's teams and their marketplaces."""
