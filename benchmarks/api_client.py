"""A small client over TLS with one connection a thread; it measures its calls. Also the items that it posts."""

import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BATCH = 100
_IDLE_SECONDS = 10
"""The server closes idle connections after a time; an older connection is opened again."""
_WORDS = [
    f"{a}{b}{c}" for a in ("ba", "ko", "li", "ne", "su", "ta") for b in ("ran", "del", "mo") for c in ("", "s", "en")
]


def item(number: int, user: str, rng: random.Random) -> dict:
    """Return a classified ad of about 900 bytes."""
    text = " ".join(rng.choices(_WORDS, k=90))
    return {
        "id": f"ad-{number}",
        "content": {
            "title": text[:48],
            "body": text,
            "price": {"amount": rng.randrange(1, 90_000), "currency": "SEK"},
            "category": {"id": str(number % 40), "name": f"category {number % 40}"},
            "images": [{"src": f"https://images.example/{number}/1.jpg"}],
        },
        "user": {
            "id": user,
            "name": "A Person",
            "emailAddresses": [f"{user}@example.org"],
            "phoneNumbers": ["+461234"],
        },
        "location": {"city": "Lund", "countryCode": "SE", "ipAddress": "192.0.2.7"},
    }


def batch(number: int, users: list[str], rng: random.Random) -> bytes:
    """Return the body of one post. The numbers of its items identify the post."""
    return json.dumps([item(number * BATCH + each, rng.choice(users), rng) for each in range(BATCH)]).encode()


@dataclass(kw_only=True)
class Api:
    """The server's address, and how to call it."""

    port: int
    key: str
    authority: Path
    _local: threading.local = field(default_factory=threading.local)

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict]:
        """Make one call on this thread's connection, which stays open.

        Raises:
            OSError: there is no answer; `http.client.HTTPException` when it breaks off.
        """
        connection = getattr(self._local, "connection", None)
        if connection is None or time.monotonic() - self._local.used_at > _IDLE_SECONDS:
            context = ssl.create_default_context(cafile=str(self.authority))
            connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=60)
            self._local.connection, self._local.used_at = connection, time.monotonic()
        headers = {"X-Api-Key": self.key}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise
        self._local.used_at = time.monotonic()
        return answer.status, json.loads(content) if content else {}


def in_threads(count: int, act: Callable[[int], None]) -> float:
    """Run an act in several threads. Return how long all of them took."""
    threads = [threading.Thread(target=act, args=(number,)) for number in range(count)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
