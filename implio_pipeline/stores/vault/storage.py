"""The storage of vault files: for each region a folder or a bucket.

Rules:

* What proves a file (a rewrite before its commit, an audit) reads it from the region's own storage.
* What reads many files reads copies of those in buckets, from the cache of this machine (`stores/objects/cache.py`).
* Errors name the region and the path, which have no personal data.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from implio_pipeline.domain.errors import FileMissing, RegionUnknown, StorageFull
from implio_pipeline.domain.files import VaultFile
from implio_pipeline.domain.ids import Region
from implio_pipeline.stores.objects.cache import CiphertextCache, is_content
from implio_pipeline.stores.objects.folder import ObjectFolder
from implio_pipeline.stores.objects.objects import Objects


class RegionStorage:
    """The storage of each region. Paths are relative to it.

    Args:
        places: Where the files of each region are.
        cache: Copies of the files of buckets.
    """

    def __init__(self, places: Mapping[Region, Objects], *, cache: CiphertextCache) -> None:
        self._places = dict(places)
        self._cache = cache

    def write(self, region: Region, path: str, content: bytes | memoryview) -> None:
        """Write a new file, durable with its name on return.

        Raises:
            StorageFull: there is not enough room; nothing is left behind.
        """
        try:
            self._place(region).put_new(path, content)
        except StorageFull:
            raise StorageFull(f"no room for {len(content)} bytes in region {region}") from None

    def read(self, region: Region, path: str) -> bytes:
        """Return a file's bytes, from its storage.

        Raises:
            FileMissing: the file does not exist.
        """
        try:
            return self._place(region).get(path)
        except FileMissing:
            raise FileMissing(f"{path} is not in the vault of region {region}") from None

    def read_cached(self, file: VaultFile) -> bytes:
        """Return the bytes of a file, from the cache if it has them. The caller checks them.

        Raises:
            FileMissing: the file does not exist.
        """
        if isinstance(self._place(file.region), ObjectFolder):
            return self.read(file.region, file.path)
        found = self._cache.get(file)
        if found is None:
            found = self.read(file.region, file.path)
            self._cache.put(file, found)
        return found

    def location(self, file: VaultFile) -> str:
        """Return where on disk a reader opens a file, after `fetch` was called for it. Nothing is looked up here."""
        place = self._place(file.region)
        return f"{place.root}/{file.path}" if isinstance(place, ObjectFolder) else str(self._cache.path(file))

    def fetch(self, files: Sequence[VaultFile]) -> None:
        """Make files ready to be opened at their locations. Missing files raise no error here.

        Raises:
            OSError: a folder, a pipe or a device has a file's name.
            FileTampered: a file in a bucket is not the one the catalog lists.
        """
        remote: dict[Region, list[VaultFile]] = {}
        for file in files:
            place = self._place(file.region)
            if isinstance(place, ObjectFolder):
                place.check_plain(file.path)
            else:
                remote.setdefault(file.region, []).append(file)
        for region, theirs in remote.items():
            self._cache.fetch(theirs, self._place(region))

    def check_room(self, files: Sequence[VaultFile]) -> None:
        """Check that the files of buckets that one scan reads fit into the cache together.

        Raises:
            CacheTooSmall: they do not.
        """
        self._cache.check_room([file for file in files if not isinstance(self._place(file.region), ObjectFolder)])

    def is_altered(self, file: VaultFile) -> bool:
        """Return whether what a reader opens is not the file that the catalog lists. `False` for a missing file."""
        if not isinstance(self._place(file.region), ObjectFolder):
            return self._cache.is_altered(file)
        with suppress(FileNotFoundError):
            return not is_content(file, Path(self.location(file)).read_bytes())
        return False

    def delete(self, region: Region, *paths: str) -> None:
        """Delete files, with all versions of them. Missing files are ignored."""
        self._place(region).delete(paths)

    def forget(self, file: VaultFile) -> None:
        """Remove this machine's copy of a file, if there is one."""
        if not isinstance(self._place(file.region), ObjectFolder):
            self._cache.remove(file)

    def paths(self, region: Region) -> Iterator[str]:
        """Yield the path of every file of a region. A bucket is listed page by page."""
        place = self._place(region)
        # A folder's files are not looked at one by one: their names are enough here.
        return place.keys() if isinstance(place, ObjectFolder) else (found.key for found in place.listing())

    def tail(self, region: Region, path: str, *, size: int) -> tuple[int, bytes] | None:
        """Return a file's size in bytes and its last `size` bytes; `None` when it does not exist."""
        return self._place(region).tail(path, size=size)

    def written_at(self, region: Region, path: str) -> datetime | None:
        """Return when a file was last written, by the clock of its storage; `None` when it does not exist."""
        found = self._place(region).look(path)
        return None if found is None else found.written_at

    def sweep(self, region: Region, *, older_than: datetime) -> int:
        """Delete incomplete uploads that were begun before an instant. Returns how many."""
        return self._place(region).sweep(older_than=older_than)

    def _place(self, region: Region) -> Objects:
        try:
            return self._places[region]
        except KeyError:
            raise RegionUnknown(f"no storage root is configured for region {region}") from None
