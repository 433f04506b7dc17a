"""Files on which a flow failed. They are tried again after a back-off, or put in quarantine."""

from collections.abc import Collection
from dataclasses import asdict, fields

from sqlalchemy import Engine, delete, insert, select
from typing_extensions import override

from implio_pipeline.domain.chunks import chunks
from implio_pipeline.domain.faults import FailedFile, WorkKind
from implio_pipeline.domain.ids import TeamId
from implio_pipeline.ports.catalog import FailedFiles
from implio_pipeline.stores.catalog.engine import reading, writing
from implio_pipeline.stores.catalog.tables import failed_files

_COLUMNS = [failed_files.c[field.name] for field in fields(FailedFile)]


class SqlFailedFiles(FailedFiles):
    """The port `FailedFiles` over a table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @override
    def all(self, work: WorkKind, *, team: TeamId | None = None) -> list[FailedFile]:
        query = select(*_COLUMNS).where(failed_files.c.work == work).order_by(failed_files.c.team, failed_files.c.file)
        if team is not None:
            query = query.where(failed_files.c.team == team)
        with reading(self._engine) as connection:
            return [FailedFile(**row) for row in connection.execute(query).mappings()]

    @override
    def note(self, file: FailedFile) -> None:
        with writing(self._engine) as connection:
            is_it = (failed_files.c.team == file.team, failed_files.c.work == file.work)
            connection.execute(delete(failed_files).where(*is_it, failed_files.c.file == file.file))
            connection.execute(insert(failed_files), asdict(file))

    @override
    def forget(self, work: WorkKind, team: TeamId, files: Collection[str]) -> None:
        with writing(self._engine) as connection:
            for some in chunks(sorted(files)):
                is_its = (failed_files.c.team == team, failed_files.c.work == work, failed_files.c.file.in_(some))
                connection.execute(delete(failed_files).where(*is_its))
