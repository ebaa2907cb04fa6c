"""A cache in front of something slow: what was made once is used for a minute, by every process.

    python examples/cache.py HOST:PORT[,HOST:PORT...] NAME

A cache may be wrong for a moment, so it reads at level ``stale``, which every node answers by itself.
When the cluster does not answer, the program makes the value again: a cache is never a reason to fail.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from raftdb.client import Client
from raftdb.errors import RaftDBError


class Entry(msgspec.Struct):
    """One value, and until when it may be used, in seconds since 1970."""

    until: float
    value: str


class Cache:
    """Values that are kept for a while.

    :param keep_s: for how long
    """

    def __init__(self, client: Client, *, keep_s: float = 60.0) -> None:
        self._client = client
        self._keep_s = keep_s

    async def get(self, name: str, make: Callable[[], str]) -> tuple[str, bool]:
        """Return the value called ``name``, and whether it came from the cache."""
        try:
            found = await self._client.get(f"cache/{name}", level="stale", timeout_s=0.5)
        except RaftDBError:
            return make(), False
        entry = None if found is None else msgspec.json.decode(found, type=Entry)
        if entry is not None and time.time() < entry.until:
            return entry.value, True
        value = make()
        kept = msgspec.json.encode(Entry(time.time() + self._keep_s, value))
        try:
            await self._client.put(f"cache/{name}", kept)
        except RaftDBError as error:
            print(f"not cached: {error}", file=sys.stderr)
        return value, False


def slow(name: str) -> str:
    """Make a value, as a template engine or a search would."""
    return f"<h1>{name}</h1>"


async def main(reactor: Any, endpoints: str, name: str) -> None:
    """Get one value."""
    client = Client(reactor, endpoints.split(","))
    value, cached = await Cache(client).get(name, lambda: slow(name))
    print(f"{'cached' if cached else 'made'}: {value}")
    await client.close()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, sys.argv[1], sys.argv[2])))
