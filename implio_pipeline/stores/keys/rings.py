"""The root keys of all regions and of the home, each at its own address: files, AWS KMS, or Transit."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from typing_extensions import override

from implio_pipeline.domain.checkup import Finding
from implio_pipeline.domain.errors import KeyMissing
from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.key_addresses import KeyAddress, KmsAddress, TransitAddress
from implio_pipeline.domain.keys import KeyContext, region_of, root_key_names
from implio_pipeline.ports.keychain import KeyRing
from implio_pipeline.stores.keys.ring import LocalKeyRing
from implio_pipeline.stores.keys.service_findings import tried

if TYPE_CHECKING:
    from implio_pipeline.stores.keys.aws_kms import KmsKeyRing
    from implio_pipeline.stores.keys.transit import TransitKeyRing


class RegionalKeyRing(KeyRing):
    """Hands each operation to the ring of its region.

    Args:
        folder: Holds the folders of the regions whose root keys are in files and have no address of their own.
        addresses: Where the root keys of each region are, and those of the home.
    """

    def __init__(self, folder: Path, addresses: Mapping[Region, KeyAddress]) -> None:
        folders = {region: Path(at) for region, at in addresses.items() if isinstance(at, PurePath)}
        services = {region: at for region, at in addresses.items() if not isinstance(at, PurePath)}
        self._local = LocalKeyRing(folder, folders, but=services)
        self._services = {region: _service(region, at) for region, at in services.items()}

    @override
    def is_in_service(self, region: Region) -> bool:
        return region in self._services

    @override
    def identities(self) -> dict[str, str]:
        found = self._local.identities()
        for ring in self._services.values():
            found |= ring.identities()
        return found

    def owners(self) -> dict[str, list[str]]:
        """Return the regions that hold each root key in a file, by a fingerprint of the key alone.

        If several regions hold one key, somebody copied it. Nobody can copy a key in a service.

        Raises:
            KeyMissing: a file of the ring has the wrong length.
        """
        return self._local.owners()

    @override
    def make(self, region: Region) -> None:
        self._of(region).make(region)

    @override
    def renew(self, region: Region) -> None:
        self._of(region).renew(region)

    @override
    def wrap(self, region: Region, name: str, key: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        return self._of(region).wrap(region, name, key, context=context)

    @override
    def unwrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> bytes:
        return self._of(region_of(root_key_id)).unwrap(root_key_id, wrapped, context=context)

    @override
    def rewrap(self, root_key_id: str, wrapped: bytes, *, context: KeyContext) -> tuple[str, bytes]:
        return self._of(region_of(root_key_id)).rewrap(root_key_id, wrapped, context=context)

    @override
    def retire(self, root_key_ids: Iterable[str]) -> dict[str, datetime | None]:
        listed = list(root_key_ids)
        done: dict[str, datetime | None] = {}
        for region, ring in self._services.items():
            theirs = [each for each in listed if region_of(each) == region]
            if theirs:
                done |= ring.retire(theirs)
        # The local ring is called even without keys: it then finishes what a crash interrupted.
        return done | self._local.retire(each for each in listed if region_of(each) not in self._services)

    def findings(self, region: Region) -> list[Finding]:
        """Return what is wrong with the root keys of a region; nothing is changed."""
        service = self._services.get(region)
        if service is not None:
            return service.findings()
        return [found for name in root_key_names(region) for found in tried(self._local, region, name)]

    def close(self) -> None:
        """Close the connections to key services."""
        for ring in self._services.values():
            ring.close()

    def _of(self, region: Region) -> KeyRing:
        return self._services.get(region, self._local)


def _service(region: Region, address: KmsAddress | TransitAddress) -> "KmsKeyRing | TransitKeyRing":
    """Return a region's ring in a key service. The library is imported here: a home with local keys may lack it."""
    try:
        if isinstance(address, KmsAddress):
            from implio_pipeline.stores.keys.aws_kms import KmsKeyRing  # noqa: PLC0415

            return KmsKeyRing(region, address)
        from implio_pipeline.stores.keys.transit import TransitKeyRing  # noqa: PLC0415

        return TransitKeyRing(region, address)
    except ModuleNotFoundError as error:
        raise KeyMissing(
            f"the root keys of {region} are in a key service, and the library {error.name} is not installed",
            remedy="Install the libraries for many machines: pip install 'implio-pipeline[cluster]'.",
        ) from None
