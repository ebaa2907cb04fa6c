"""Clients of a simulated cluster: each writes and reads one key after the other, and writes it up.

A client never repeats a write whose outcome it does not know.
"""

from __future__ import annotations

from random import Random

from twisted.python.failure import Failure

from raftdb.database import Level
from raftdb.errors import RaftDBError, Refused, Timeout
from raftdb.simulation.checks.freshness import Freshness, Sighting
from raftdb.simulation.checks.history import History, Operation, Read, Result, Swap, Write
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.state.kv.commands import Absent, CompareAndSwap, Delete, Put, ValueIs
from raftdb.state.kv.reads import Get
from raftdb.state.kv.values import CompareAndSwapResult, DeleteResult, KeyValue, PutResult

KINDS = ("put", "put", "put all", "delete", "swap", *(level.value for level in Level))
"""What a client does; drawn evenly."""

PATIENCE_S = 2.0
"""A client's own deadline: a killed node answers nobody."""

TIMEOUT_S = PATIENCE_S / 2
"""What nodes are told; a node that runs answers by then, if only that it does not know."""

EARLY = 0.8
"""Of the time it is told, no node gives up before so much of it: clocks differ by a little."""


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
    :param pause_s: the longest time between two operations
    """

    def __init__(
        self,
        cluster: Cluster,
        number: int,
        rng: Random,
        record: Record,
        *,
        keys: int = 3,
        pause_s: float = 0.05,
    ) -> None:
        self.cluster = cluster
        self.number = number
        self.record = record
        self._rng = rng
        self._keys = keys
        self._pause_s = pause_s
        self._count = 0
        self._stopped = False
        self._seen: dict[bytes, bytes | None] = {}

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
        self.cluster.clock.callLater(self._rng.uniform(0.001, self._pause_s), self._next)

    def _next(self) -> None:
        if self._stopped:
            return
        running = [node for node in self.cluster.nodes.values() if node.is_up]
        if not running:
            self._later()
            return
        node = self._rng.choice(running)
        kind = self._rng.choice(KINDS)
        key = b"key %d" % self._rng.randrange(self._keys)
        writer = self.cluster.leader or node
        match kind:
            case "put":
                _Put(self, writer, {key: self._value()}).begin()
            case "put all":
                keys = [b"key %d" % number for number in range(self._keys)]
                _Put(self, writer, {one: self._value() for one in keys}).begin()
            case "delete":
                _Delete(self, writer, key).begin()
            case "swap":
                _Swap(self, writer, key, self._seen.get(key), self._value()).begin()
            case _:
                _Get(self, node, key, Level(kind)).begin()

    def _value(self) -> bytes:
        """Return a value that nobody else ever writes."""
        self._count += 1
        return b"%d.%d" % (self.number, self._count)

    def saw(self, key: bytes, value: bytes | None) -> None:
        """Remember what a key held, for a later swap."""
        self._seen[key] = value


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
        client.cluster.clock.callLater(PATIENCE_S, self._give_up)

    @property
    def now_s(self) -> float:
        return self.client.cluster.clock.seconds()

    def _give_up(self) -> None:
        node = self.node
        excused = not node.is_up or self.boot != f"{node.name}/{node.boots}"
        assert self.over or excused or node.clock.paused_until_s >= self.asked_s, (
            f"{node.name} left a client without an answer for {PATIENCE_S} s"
        )
        self.end()

    def end(self) -> None:
        """Go on with the next operation; an answer that comes later is of no interest."""
        if not self.over:
            self.over = True
            self.client.go_on()

    def answered(self, result: Result = None) -> None:
        """Write up the answer."""
        self.record.answered += 1
        self.client.cluster.event_log.note("answered", self.boot, type(self).__name__)
        if self.operation is not None:
            self.record.history.answer(self.operation, result)

    def written(self, revision: int, pairs: dict[bytes, bytes], result: Result = None) -> None:
        """Write up an acknowledged write."""
        self.answered(result)
        for key, value in pairs.items():
            self.record.acknowledged[value] = (key, revision)
            self.client.saw(key, value)
        self.record.freshness.acknowledged(self.now_s, revision)
        self.end()

    def failed(self, failure: Failure) -> None:
        """Write up a refusal; what is unknown stays in the history without an answer."""
        error = failure.value
        assert isinstance(error, RaftDBError), failure
        waited_s = self.now_s - self.asked_s
        assert not isinstance(error, Timeout) or waited_s > EARLY * TIMEOUT_S, (
            f"{self.node.name} gave up after {waited_s:.3f} s instead of {TIMEOUT_S} s"
        )
        if not self.over and self.operation is not None and isinstance(error, Refused):
            self.record.history.refuse(self.operation)
        self.end()


class _Put(_Attempt):
    """A write of one key, or of several in one step."""

    def __init__(self, client: Client, node: SimulatedNode, pairs: dict[bytes, bytes]) -> None:
        super().__init__(client, node)
        self._pairs = pairs

    def begin(self) -> None:
        """Ask the node."""
        pairs = tuple(self._pairs.items())
        self.operation = self.record.history.invoke(self.client.number, Write(pairs))
        asked = self.node.database.execute(Put(tuple(pairs)), timeout_s=TIMEOUT_S)
        asked.addCallback(self._written).addErrback(self.failed)

    def _written(self, result: PutResult) -> None:
        if not self.over:
            self.written(result.revision, self._pairs)


class _Delete(_Attempt):
    """A deletion of one key."""

    def __init__(self, client: Client, node: SimulatedNode, key: bytes) -> None:
        super().__init__(client, node)
        self._key = key

    def begin(self) -> None:
        """Ask the node."""
        write = Write(((self._key, None),))
        self.operation = self.record.history.invoke(self.client.number, write)
        asked = self.node.database.execute(Delete((self._key,)), timeout_s=TIMEOUT_S)
        asked.addCallback(self._deleted).addErrback(self.failed)

    def _deleted(self, result: DeleteResult) -> None:
        if not self.over:
            self.client.saw(self._key, None)
            self.written(result.revision, {})


class _Swap(_Attempt):
    """A compare-and-swap against what the client saw last."""

    def __init__(
        self, client: Client, node: SimulatedNode, key: bytes, seen: bytes | None, value: bytes
    ) -> None:
        super().__init__(client, node)
        self._key = key
        self._seen = seen
        self._value = value

    def begin(self) -> None:
        """Ask the node."""
        swap = Swap(self._key, self._seen, self._value)
        self.operation = self.record.history.invoke(self.client.number, swap)
        expected = Absent() if self._seen is None else ValueIs(self._seen)
        asked = self.node.database.execute(
            CompareAndSwap(self._key, expected, self._value), timeout_s=TIMEOUT_S
        )
        asked.addCallback(self._swapped).addErrback(self.failed)

    def _swapped(self, result: CompareAndSwapResult) -> None:
        if not self.over:
            current = result.current
            self.client.saw(self._key, None if current is None else current.value)
            pairs = {self._key: self._value} if result.swapped else {}
            self.written(result.revision, pairs, result.swapped)


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
        asked = self.node.database.query(Get(self._key), self._level, timeout_s=TIMEOUT_S)
        asked.addCallback(self._found).addErrback(self.failed)

    def _found(self, found: KeyValue | None) -> None:
        if not self.over:
            value = None if found is None else found.value
            self.client.saw(self._key, value)
            self.answered(value)
            revision = self.node.database.revision
            self.record.freshness.seen(
                Sighting(self._level.value, self.boot, self.asked_s, self.now_s, revision)
            )
            self.end()
