"""Workers for tests that claim files of a watched place."""

from collections.abc import Collection

from implio_pipeline.domain.claims import Claim, ClaimKind


class Nobody:
    """The port `Claiming` for a folder, where nothing is claimed in a catalog."""

    def claim(
        self, kind: ClaimKind, units: Collection[str], *, most: int | None = None, is_whole: bool = False
    ) -> tuple[Claim, ...]:
        raise AssertionError("files of a folder are claimed by a lock")

    def give_back(self, claims: Collection[Claim]) -> None:
        assert not claims


NOBODY = Nobody()
