"""What a cluster has acknowledged, and the comparison of every node with it, key by key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from http.client import OK, HTTPConnection, HTTPException
from typing import TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from raftdb.client import Client
from raftdb.errors import OutcomeUnknown, Refused

T = TypeVar("T")

ANSWER_S = 10.0
SEEN_EVERY = 100


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

    def difference(self, address: str, seen: Callable[[int], None]) -> str | None:
        """Compare every acknowledged key with the node's own copy; return the first difference.

        Blocks: for a thread of its own. One plain connection to one node is all it takes, and the
        standard library's costs a tenth of a client that finds its way through a cluster.

        :param address: the node, asked with ``level=stale``
        :param seen: is called with a number of keys after so many
        """
        host, _, port = address.rpartition(":")
        with closing(HTTPConnection(host, int(port), timeout=ANSWER_S)) as connection:
            try:
                for number, (key, value) in enumerate(list(self.acknowledged.items()), 1):
                    connection.request("GET", f"/api/kv?key={quote(key, safe='')}&level=stale")
                    answer = connection.getresponse()
                    found = answer.read().decode()
                    if answer.status != OK or found != value:
                        return (
                            f"{address} answers {answer.status} {found!r} for {key!r}, acknowledged"
                            f" was {value!r}"
                        )
                    if number % SEEN_EVERY == 0:
                        seen(SEEN_EVERY)
            except (OSError, HTTPException) as error:
                return f"{address} did not answer: {error}"
        return None


async def at_once(count: int, work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Do ``work`` on all ``items``, ``count`` of them at the same time.

    After the first error, or when cancelled, nothing more is begun; it ends when all that is under
    way has ended.
    """
    rest = iter(items)
    failures: list[Failure] = []

    async def worker() -> None:
        for item in rest:
            await work(item)
            if failures:
                break

    workers = [Deferred.fromCoroutine(worker()) for _ in range(count)]
    for one in workers:
        one.addErrback(failures.append)
    await DeferredList(workers)
    if failures:
        failures[0].raiseException()
