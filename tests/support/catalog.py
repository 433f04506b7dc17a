"""The catalog's rows, altered by a test as the pipeline itself would have written them."""

from sqlalchemy import select, update

from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import requests
from support.home import Home


def written_anew(home: Home) -> None:
    """Authenticate every request as it is now."""
    with home.opened.catalog._engine.begin() as connection:
        macs = RowMacs.of(connection)
        for row in connection.execute(select(requests)).mappings().all():
            is_it = requests.c.request_id == row["request_id"]
            connection.execute(update(requests).where(is_it).values(mac=macs.mac(requests, row)))
