"""``raftdb bench``: how fast a running cluster answers this client, from where it stands.

It writes and reads keys under a prefix of its own, tells what the operations took, and deletes its
keys again. It measures the client as well, which is Python and shares one processor: latencies are
what a program sees; a node's limit is for generators that cost less.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from raftdb.cli.acknowledged import at_once
from raftdb.cli.steps import Story
from raftdb.client.client import Level
from raftdb.errors import OutcomeUnknown, RaftDBError

PER_CLIENT = 16
"""Operations under way through one client: it keeps so many connections to a node."""
LOADED_AT_ONCE = 100
LOADED_BYTES = 512 * 1024
AFTER_ERROR_S = 0.05
"""A cluster that refuses is not asked again at once."""
DRAWN_EVERY_S = 0.1


class Store(Protocol):
    """What is measured: :class:`raftdb.client.Client`, or what behaves like one."""

    def get(self, key: str, *, level: Level) -> Awaitable[bytes | None]:
        """Read a key."""

    def put(self, key: str, value: str) -> Awaitable[int]:
        """Write a key."""

    def put_many(self, pairs: dict[str, str]) -> Awaitable[None]:
        """Write several keys at once."""

    def delete(self, key: str) -> Awaitable[bool]:
        """Delete a key."""


class Plan(NamedTuple):
    """What is asked.

    :param connections: operations under way at any time, at least 1
    :param seconds: how long, above 0
    :param keys: different keys, at least 1; all are written before the time begins
    :param value_bytes: of each value
    :param reads: the share of reads, in [0, 1]
    :param level: of the reads
    :param prefix: of all keys; nobody else's keys begin with it
    """

    connections: int
    seconds: float
    keys: int
    value_bytes: int
    reads: float
    level: Level
    prefix: str

    def key(self, number: int) -> str:
        """Return one of the keys."""
        return f"{self.prefix}{number:08}"


@dataclass
class Figures:
    """What one kind of operation came to.

    :ivar times_s: of each that succeeded
    :ivar errors: how many failed, by the error's name
    """

    times_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def told(self, seconds: float) -> dict[str, object]:
        """Return the figures by name; the times are None where nothing succeeded."""
        ordered = sorted(self.times_s)

        def ms(percent: float) -> float | None:
            if not ordered:
                return None
            place = min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)
            return round(ordered[max(0, place)] * 1000, 3)

        return {
            "operations": len(ordered),
            "per_second": round(len(ordered) / seconds, 1) if seconds else 0.0,
            "p50_ms": ms(50),
            "p90_ms": ms(90),
            "p99_ms": ms(99),
            "max_ms": ms(100),
            "errors": dict(sorted(self.errors.items())),
        }


class Bench:
    """One measurement.

    :param clock: measures and waits
    :param clients: share the operations; one for every :data:`PER_CLIENT` of them
    :param story: shows the progress
    :param rng: chooses keys, and between reads and writes
    """

    def __init__(
        self,
        clock: IReactorTime,
        clients: Sequence[Store],
        plan: Plan,
        *,
        story: Story,
        rng: Random,
    ) -> None:
        self._clock = clock
        self._clients = clients
        self._plan = plan
        self._story = story
        self._rng = rng
        self._value = "v" * plan.value_bytes
        self._took_s = 0.0
        self._until = 0.0
        self._perhaps_there: list[int] = []
        self.reads = Figures()
        self.writes = Figures()

    async def run(self) -> None:
        """Load the keys, measure, delete the keys, also when cancelled.

        :raises RaftDBError: where the keys could not be written or deleted
        """
        try:
            await _to_its_end(self._load())
            await _to_its_end(self._measure(), self._stop)
        finally:
            await self._delete()

    @property
    def has_measured(self) -> bool:
        """Whether any operation has ended: without one there is nothing to tell."""
        kinds = (self.reads, self.writes)
        return any(figures.times_s or figures.errors for figures in kinds)

    def result(self) -> dict[str, object]:
        """Return what was found so far."""
        both = Figures(self.reads.times_s + self.writes.times_s)
        both.errors = self.reads.errors + self.writes.errors
        kinds = {"read": self.reads, "write": self.writes, "all": both}
        plan = self._plan
        return {
            "connections": plan.connections,
            "keys": plan.keys,
            "value_bytes": plan.value_bytes,
            "reads": plan.reads,
            "level": plan.level,
            "seconds": round(self._took_s, 3),
            **{kind: figures.told(self._took_s) for kind, figures in kinds.items()},
        }

    async def _load(self) -> None:
        plan = self._plan
        progress = self._story.progress("keys written", plan.keys)
        batch = max(1, min(LOADED_AT_ONCE, LOADED_BYTES // max(1, plan.value_bytes)))

        async def write(first: int) -> None:
            numbers = range(first, min(first + batch, plan.keys))
            try:
                await self._clients[0].put_many({plan.key(n): self._value for n in numbers})
            except OutcomeUnknown:
                self._perhaps_there.extend(numbers)
                raise
            self._perhaps_there.extend(numbers)
            progress.advance(len(numbers))

        await at_once(4, write, range(0, plan.keys, batch))
        progress.end(f"{plan.keys:,} keys of {plan.value_bytes} bytes, all beginning {plan.prefix}")

    async def _measure(self) -> None:
        plan, began = self._plan, self._clock.seconds()
        self._until = began + plan.seconds
        progress = self._story.progress("seconds", max(1, math.ceil(plan.seconds)))

        def draw() -> None:
            passed = int(self._clock.seconds() - began)
            progress.advance(min(passed, progress.total) - progress.done)

        drawing = LoopingCall(draw)
        drawing.clock = self._clock
        drawing.start(DRAWN_EVERY_S)
        clients = [self._clients[number // PER_CLIENT] for number in range(plan.connections)]
        try:
            await at_once(len(clients), self._work, clients)
        finally:
            drawing.stop()
            self._took_s = self._clock.seconds() - began
        done = len(self.reads.times_s) + len(self.writes.times_s)
        progress.end(f"{done:,} operations in {self._took_s:.1f} s")

    def _stop(self) -> None:
        """Begin no further operation."""
        self._until = self._clock.seconds()

    async def _work(self, client: Store) -> None:
        """Do one operation after the other."""
        clock, plan = self._clock, self._plan
        while (began := clock.seconds()) < self._until:
            key = plan.key(self._rng.randrange(plan.keys))
            is_read = self._rng.random() < plan.reads
            figures = self.reads if is_read else self.writes
            try:
                if is_read:
                    await client.get(key, level=plan.level)
                else:
                    await client.put(key, self._value)
            except RaftDBError as error:
                figures.errors[type(error).__name__] += 1
                await deferLater(clock, AFTER_ERROR_S)
            else:
                figures.times_s.append(clock.seconds() - began)

    async def _delete(self) -> None:
        keys = [self._plan.key(number) for number in self._perhaps_there]
        if not keys:
            return
        progress = self._story.progress("keys deleted", len(keys))

        async def delete(key: str) -> None:
            await self._clients[0].delete(key)
            progress.advance()

        try:
            await at_once(PER_CLIENT, delete, keys)
        except RaftDBError:
            self._story.bad(f"keys that begin {self._plan.prefix} are left behind")
            raise
        progress.end(f"{len(keys):,} keys deleted")


async def _to_its_end(
    work: Coroutine[Deferred[object], object, None], stop: Callable[[], None] = lambda: None
) -> None:
    """Wait for ``work``; where the waiting is cancelled, have it stop and wait for its end.

    A write whose waiting is cancelled may still happen, even after its key was deleted.
    """
    outcome: list[object] = []
    gates: list[Deferred[None]] = []

    def tell(result: object) -> None:
        outcome.append(result)
        if gates:
            gates[-1].callback(None)

    async def wait() -> None:
        if not outcome:
            gates.append(Deferred())
            await gates[-1]

    Deferred.fromCoroutine(work).addBoth(tell)
    try:
        await wait()
    except CancelledError:
        stop()
        await wait()
        raise
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()


def prefix(rng: Random) -> str:
    """Return the beginning of keys that nobody else has."""
    return f"raftdb-bench/{rng.getrandbits(64):016x}/"


def write_json(result: dict[str, object], out: TextIO) -> None:
    """Write the result for a program."""
    out.write(json.dumps(result, indent=2) + "\n")


def write_table(result: dict[str, object], out: TextIO) -> None:
    """Write the result for a person."""
    columns = ("operations", "per_second", "p50_ms", "p90_ms", "p99_ms", "max_ms")
    titles = ("", "operations", "per second", "p50 ms", "p90 ms", "p99 ms", "max ms")
    rows: list[tuple[str, ...]] = [titles]
    failed: list[str] = []
    for kind in ("read", "write", "all"):
        figures = result[kind]
        assert isinstance(figures, dict)
        rows.append((kind, *(_text(figures[column]) for column in columns)))
        if kind != "all":
            failed += [f"{kind} {name} {count:,}" for name, count in figures["errors"].items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out.writelines(_aligned(row, widths) + "\n" for row in rows)
    out.write(f"errors: {', '.join(failed) or 'none'}\n")


def _aligned(row: Iterable[str], widths: Iterable[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    return "  ".join(cells)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
