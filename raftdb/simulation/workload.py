"""Clients of a simulated cluster: each writes and reads one key after the other, and writes it up.

A client never repeats a write whose outcome it does not know.
"""

from __future__ import annotations

from random import Random

from twisted.python.failure import Failure

from raftdb.database import Level
from raftdb.errors import RaftDBError, Refused
from raftdb.kv.values import KeyValue, PutResult
from raftdb.simulation.cluster import Cluster, SimulatedNode
from raftdb.simulation.freshness import Freshness, Sighting
from raftdb.simulation.history import History, Operation, Read, Write

PATIENCE_S = 2.0
"""A client's own deadline: a killed node answers nobody."""


class Record:
    """What all clients of one run saw."""

    def __init__(self) -> None:
        self.history = History()
        self.freshness = Freshness()
        self.acknowledged: dict[bytes, tuple[bytes, int]] = {}
        """Of each value that was acknowledged, its key and the revision it was written at."""
        self.answered = 0


class Client:
    """One client, one operation at a time.

    :param cluster: whose nodes it asks, each time another one
    :param number: tells it from the others
    :param rng: draws operations, keys, nodes and the time between
    :param record: where everything is written up
    :param keys: how many keys all clients share
    """

    def __init__(
        self, cluster: Cluster, number: int, rng: Random, record: Record, *, keys: int = 3
    ) -> None:
        self.cluster = cluster
        self.number = number
        self.record = record
        self._rng = rng
        self._keys = keys
        self._count = 0
        self._stopped = False

    def start(self) -> None:
        """Begin, a little later."""
        self._later()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped = True

    def go_on(self) -> None:
        """Take note that the operation is over, and begin another one soon."""
        self._later()

    def _later(self) -> None:
        self.cluster.clock.callLater(self._rng.uniform(0.001, 0.05), self._next)

    def _next(self) -> None:
        if self._stopped:
            return
        running = [node for node in self.cluster.nodes.values() if node.is_up]
        if not running:
            self._later()
            return
        node = self._rng.choice(running)
        kind = self._rng.choice(("put", "put", *(level.value for level in Level)))
        key = b"key %d" % self._rng.randrange(self._keys)
        if kind == "put":
            self._count += 1
            value = b"%d.%d" % (self.number, self._count)
            _Put(self, self.cluster.leader or node, key, value).begin()
        else:
            _Get(self, node, key, Level(kind)).begin()


class _Attempt:
    """One operation under way."""

    def __init__(self, client: Client, node: SimulatedNode) -> None:
        self.client = client
        self.record = client.record
        self.node = node
        self.boot = f"{node.name}/{node.boots}"
        self.asked_s = client.cluster.clock.seconds()
        self.over = False
        self.operation: Operation | None = None
        client.cluster.clock.callLater(PATIENCE_S, self.end)

    @property
    def now_s(self) -> float:
        return self.client.cluster.clock.seconds()

    def end(self) -> None:
        """Go on with the next operation; an answer that comes later is of no interest."""
        if not self.over:
            self.over = True
            self.client.go_on()

    def answered(self, result: bytes | None = None) -> None:
        """Write up the answer."""
        self.record.answered += 1
        if self.operation is not None:
            self.record.history.answer(self.operation, result)

    def failed(self, failure: Failure) -> None:
        """Write up a refusal; what is unknown stays in the history without an answer."""
        error = failure.value
        assert isinstance(error, RaftDBError), failure
        if not self.over and self.operation is not None and isinstance(error, Refused):
            self.record.history.refuse(self.operation)
        self.end()


class _Put(_Attempt):
    """A write."""

    def __init__(self, client: Client, node: SimulatedNode, key: bytes, value: bytes) -> None:
        super().__init__(client, node)
        self._key = key
        self._value = value

    def begin(self) -> None:
        """Ask the node."""
        pair = (self._key, self._value)
        self.operation = self.record.history.invoke(self.client.number, Write((pair,)))
        asked = self.node.database.put([pair], timeout_s=PATIENCE_S / 2)
        asked.addCallback(self._written).addErrback(self.failed)

    def _written(self, result: PutResult) -> None:
        if not self.over:
            self.answered()
            self.record.acknowledged[self._value] = (self._key, result.revision)
            self.record.freshness.acknowledged(self.now_s, result.revision)
            self.end()


class _Get(_Attempt):
    """A read at one of the levels; only consistent ones are judged by the checker."""

    def __init__(self, client: Client, node: SimulatedNode, key: bytes, level: Level) -> None:
        super().__init__(client, node)
        self._key = key
        self._level = level

    def begin(self) -> None:
        """Ask the node."""
        if self._level is Level.CONSISTENT:
            self.operation = self.record.history.invoke(self.client.number, Read(self._key))
        asked = self.node.database.get(self._key, self._level, timeout_s=PATIENCE_S / 2)
        asked.addCallback(self._found).addErrback(self.failed)

    def _found(self, found: KeyValue | None) -> None:
        if not self.over:
            self.answered(None if found is None else found.value)
            revision = self.node.database.revision
            self.record.freshness.seen(
                Sighting(self._level.value, self.boot, self.asked_s, self.now_s, revision)
            )
            self.end()
