"""The child process of `implio serve` that delivers callbacks.

It is apart from the one that erases, so that nothing of an erasure waits for a customer's receiver. It looks for
deliveries every few seconds, waits for none of them, and ends at once when its server does: what is under way is broken
off and sent again by the next one.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path

from implio_pipeline.api.child_processes import FromServer
from implio_pipeline.domain.errors import ImplioError
from implio_pipeline.flows.deliver import Deliverer
from implio_pipeline.wiring import open_home

_LOOK_EVERY_SECONDS = 5.0
"""A decision or a receipt is told after this long at most; a look is one query."""
_NICE = 5
_LOG = logging.getLogger("implio_pipeline.upkeep")


def main() -> int:
    """Deliver until standard input ends."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write each receiver's address
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at a terminal it reaches the server too, which then ends us
    server = FromServer()
    with open_home(Path(sys.argv[1])) as house:
        deliverer = Deliverer(house.world, house.courier)
        while True:
            try:
                codes = set(deliverer.begin().failed.values())
            except ImplioError as error:
                codes = {error.code}
            for code in sorted(codes):
                _LOG.warning(json.dumps({"upkeep": "deliver", "code": code}))
            if not server.wait(_LOOK_EVERY_SECONDS):
                break
        house.courier.abandon()
        deliverer.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
