"""Changes rows of the catalog and authenticates them, as the pipeline itself does."""

from sqlalchemy import select, update

from implio_pipeline.stores.catalog.row_macs import RowMacs
from implio_pipeline.stores.catalog.tables import requests
from support.home import Home


def written_anew(home: Home) -> None:
    """Make the MAC of every request again, for its present columns."""
    with home.opened.catalog._engine.begin() as connection:
        macs = RowMacs.of(connection)
        for row in connection.execute(select(requests)).mappings().all():
            is_it = requests.c.request_id == row["request_id"]
            connection.execute(update(requests).where(is_it).values(mac=macs.mac(requests, row)))
