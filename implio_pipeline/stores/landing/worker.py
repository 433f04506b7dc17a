"""A process that parses chunks, one after the other, until whoever started it hangs up.

Parsing makes no cycles, so it goes without the cycle collector: a quarter faster.
"""

import gc
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from implio_pipeline.stores.landing.chunk import parsed_to_bytes


def serve(connection: "Connection[Any, Any]") -> None:
    """Answer each chunk with a failure or `None`, then with its good and its bad items."""
    while True:
        try:
            chunk, submission = connection.recv()
        except EOFError:
            return
        try:
            items, rejected = parsed_to_bytes(chunk, submission)
        except Exception as failure:  # noqa: BLE001  # raised again by whoever asked
            connection.send(failure)
            continue
        connection.send(None)
        connection.send_bytes(items)
        connection.send_bytes(rejected)


if __name__ == "__main__":
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides when it ends
    with Connection(int(sys.argv[1])) as _connection:
        serve(_connection)
