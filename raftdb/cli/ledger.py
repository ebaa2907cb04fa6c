"""What a cluster has acknowledged, and the comparison of every node with it, key by key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime

from raftdb.client import Client
from raftdb.errors import OutcomeUnknown, RaftDBError, Refused

T = TypeVar("T")

READS_AT_ONCE = 16


class Ledger:
    """Writes through a client and keeps the books.

    Each key is written once. A write that was refused did not happen; one whose outcome is unknown
    may have, and only the nodes' state hashes can say that they agree about it.

    :param client: of the whole cluster
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.acknowledged: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.refused = 0

    async def put(self, pairs: dict[str, str]) -> bool:
        """Write all of ``pairs`` at once; return whether that was acknowledged."""
        try:
            await self._client.put_many(pairs)
        except Refused:
            self.refused += 1
            return False
        except OutcomeUnknown:
            self.unknown.update(pairs)
            return False
        self.acknowledged.update(pairs)
        return True

    async def difference(
        self, reactor: IReactorTime, address: str, seen: Callable[[], None]
    ) -> str | None:
        """Compare every acknowledged key with the node's own copy; return the first difference.

        :param address: the node, asked with ``level=stale``
        :param seen: is called after each key
        """
        client = Client(reactor, [address])
        found: list[str] = []

        async def compare(item: tuple[str, str]) -> None:
            key, value = item
            if found:
                return
            read = await client.get(key, level="stale")
            text = None if read is None else read.decode()
            if text != value:
                found.append(f"{address} has {text!r} under {key!r}, acknowledged was {value!r}")
            seen()

        try:
            await at_once(READS_AT_ONCE, compare, self.acknowledged.items())
        except RaftDBError as error:
            return f"{address} did not answer: {error}"
        finally:
            await client.close()
        return found[0] if found else None


async def at_once(count: int, work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Do ``work`` on all ``items``, ``count`` of them at the same time; stop at the first error."""
    rest = iter(items)

    async def worker() -> None:
        for item in rest:
            await work(item)

    workers = [Deferred.fromCoroutine(worker()) for _ in range(count)]
    try:
        await gatherResults(workers, consumeErrors=True)
    except FirstError as first:
        first.subFailure.raiseException()
