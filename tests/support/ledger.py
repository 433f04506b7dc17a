"""Ledgers and raw entries for tests: a kind with a body that no flow would write, and the files of a ledger."""

from pathlib import Path
from typing import Any

from implio_pipeline.domain.ids import Region
from implio_pipeline.domain.statements import UnknownStatement
from implio_pipeline.stores.ledger.batch_file import BatchFile
from implio_pipeline.stores.ledger.chain import Chain
from implio_pipeline.stores.ledger.index import IndexFile
from implio_pipeline.stores.ledger.ledger import ChainedLedger
from implio_pipeline.stores.ledger.signing import SigningKeyFile, pem_of
from implio_pipeline.verify import SEAL_BEGINS
from support.clock import NOW

EU, HOME = Region("eu"), Region("home")


def raw(kind: str, body: dict[str, Any]) -> UnknownStatement:
    """Return a statement that is signed unchanged, even if its body does not match its kind. Its chain is `home`."""
    return UnknownStatement(kind=kind, body=body)


def local_chain(folder: Path, chain: Region = HOME, *, is_made: bool = True) -> Chain:
    """Return a chain in `folder/ledger`, its key in `folder/keys`; made if there is none."""
    storage, key = BatchFile(folder / "ledger" / chain, chain), SigningKeyFile(folder / "keys" / f"{chain}.pem")
    if is_made:
        key.make()
        storage.make(pem_of(key.public()))
    return Chain(storage, key, IndexFile(folder / "ledger" / "index.db"), lambda: NOW)


def local_ledger(folder: Path, *chains: Region, region_of: Region = EU) -> ChainedLedger:
    """Return a ledger of local chains; `home` alone when none is named."""
    made = [local_chain(folder, each) for each in (chains or (HOME,))]
    return ChainedLedger(made, lambda _team: region_of)


def batches_of(folder: Path, chain: str = HOME) -> Path:
    """Return the file of a chain in a home or in a folder of `local_chain`."""
    return folder / "ledger" / chain / "batches.jsonl"


def lines_of(folder: Path, chain: str = HOME) -> list[bytes]:
    return batches_of(folder, chain).read_bytes().splitlines(keepends=True)


def split(content: bytes) -> list[bytes]:
    """Return the batches of a chain's file, each with its seal."""
    found, batch = [], b""
    for line in content.splitlines(keepends=True):
        batch += line
        if line.startswith(SEAL_BEGINS):
            found.append(batch)
            batch = b""
    return found
