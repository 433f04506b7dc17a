"""Folders and small files: for their owner alone whatever the umask is, and there after the power went."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.claiming import NOBODY

from implio_pipeline.stores import durable
from implio_pipeline.wiring import init_home, open_home


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["open to all", "usual", "closed"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Disk:
    """Remembers what was synchronised: of a file its size, of a folder its names."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], object] = {}

    def fsync(self, file: object) -> None:
        fd = file if isinstance(file, int) else file.fileno()  # type: ignore[attr-defined]
        is_folder = os.path.isdir(f"/proc/self/fd/{fd}")  # noqa: PTH112
        self.kept[_inode(os.fstat(fd))] = sorted(os.listdir(fd)) if is_folder else os.fstat(fd).st_size  # noqa: PTH208


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


def test_a_new_home_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    home = tmp_path / "above" / "home"
    init_home(home, files={"dagster.yaml": "telemetry: {enabled: false}"})
    with open_home(home) as opened:
        (home / "landing" / "acme").mkdir()
        list(opened.landing.claim("acme", NOBODY))

    open_to_others = [
        path for path in [home, *home.rglob("*")] if path.stat().st_mode & 0o077 and path.name != "public.pem"
    ]
    open_to_others.remove(home / "landing" / "acme") if umask != 0o077 else None
    assert open_to_others == []


def test_a_new_home_is_durable_when_init_returns(tmp_path: Path, disk: Disk) -> None:
    home = tmp_path / "above" / "home"

    init_home(home, files={"workspace.yaml": "load_from: []"})

    for path in [tmp_path, tmp_path / "above", home, *home.rglob("*")]:
        status = path.stat()
        if path.is_dir():
            assert disk.kept.get(_inode(status), []) == sorted(os.listdir(path)), path  # noqa: PTH208
        elif path.parent.name != "catalog":  # SQLite synchronises its own files
            assert disk.kept.get(_inode(status)) == status.st_size, path


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    durable.write_whole(file, b"before")

    def fails(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input"):
        durable.write_whole(file, b"after")

    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
