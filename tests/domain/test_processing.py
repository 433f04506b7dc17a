"""The record of processing: every column is in it, and what it lacks is named."""

from dataclasses import replace
from pathlib import PurePosixPath

from implio_pipeline.domain.columns import columns_of
from implio_pipeline.domain.ids import FileKind, Region
from implio_pipeline.domain.processing import Controller, Hosting, categories, gaps_of
from implio_pipeline.domain.residency import KeptIn, Place, Processor

PLACE = Place(
    region=Region("eu"),
    root=PurePosixPath("/data/eu"),
    keys=PurePosixPath("/keys/eu"),
    processor="Nordic Hosting",
    location="SE",
    kept_in=KeptIn.EU,
)
HOST = Processor(name="Nordic Hosting", role="hosting", location="SE")
NAMED = Controller(name="Example AB", contact="privacy@example.org", dpo="dpo@example.org")


def test_every_column_is_in_one_category_with_the_rule_of_items() -> None:
    named = [name for category in categories() for name, _ in category.columns]

    assert sorted(named) == sorted({column.name for kind in FileKind for column in columns_of(kind)})
    (rule,) = (rule for category in categories() for name, rule in category.columns if name == "task_id")
    assert rule == "with the item, and out of the moderation queue"


def test_a_record_that_says_everything_lacks_nothing() -> None:
    assert gaps_of(NAMED, (Hosting.of(PLACE, (HOST,)),)) == ()


def test_what_a_record_lacks_is_named() -> None:
    on_site = Hosting.of(replace(PLACE, processor="this machine", location="on site"), ())
    abroad = Hosting.of(replace(PLACE, location="US"), (replace(HOST, location="US"),))

    gaps = gaps_of(Controller(), (on_site, abroad))

    assert abroad.is_transfer
    assert not on_site.is_transfer
    assert len(gaps) == 5
