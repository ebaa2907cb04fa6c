"""Counting from many processes at once, with nothing lost and nothing counted twice.

    python examples/counter.py HOST:PORT[,HOST:PORT...] NAME [TIMES]

Each process counts under a name of its own and writes its whole count, so that writing it again
changes nothing: a repeat after an unknown outcome is safe. The count of all is the sum.

One thing is left: a write of unknown outcome may still be on its way, and set the count back if it
comes after a later one. It has been under way for longer than the client's deadline then. A program
that must not accept even that ends at ``OutcomeUnknown`` and has a person look.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from raftdb.client import Client
from raftdb.errors import OutcomeUnknown


class Counter:
    """One process's share of a count that many make together.

    :param name: of this process; no other one uses it
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._key = f"counter/{name}"
        self._count: int | None = None

    async def add(self, times: int = 1) -> int:
        """Count; return this process's count when it is kept."""
        if self._count is None:
            found = await self._client.get(self._key, level="consistent")
            self._count = int(found or b"0")
        self._count += times
        while True:
            try:
                await self._client.put(self._key, str(self._count))
            except OutcomeUnknown:
                continue  # the same count once more
            return self._count


async def total(client: Client, names: list[str]) -> int:
    """Return what all processes have counted together."""
    found = [await client.get(f"counter/{name}", level="consistent") for name in names]
    return sum(int(count or b"0") for count in found)


async def main(reactor: Any, endpoints: str, name: str, times: str = "1") -> None:
    """Count some times and print this process's count."""
    client = Client(reactor, endpoints.split(","))
    counter = Counter(client, name)
    for _ in range(int(times)):
        count = await counter.add()
    print(f"{name}: {count}")
    await client.close()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
