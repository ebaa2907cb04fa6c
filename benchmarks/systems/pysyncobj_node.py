"""One node of PySyncObj with a dictionary, which asks itself: a program for lines of JSON.

It is started by :mod:`benchmarks.systems.pysyncobj`, takes one command a line on standard input
and answers each with one line. The library has no interface for clients, so the load runs inside
the leader's process: so many calls are under way at any time, and each that is acknowledged makes
the next one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, SyncObjConsumer, replicated

ATTEMPT_S = 0.1
ACKNOWLEDGED_S = 5.0
AT_ONCE = 500
FILL_S = 90.0
KEYS = 500


class Store(SyncObjConsumer):  # type: ignore[misc]  # the library has no types
    """A replicated dictionary.

    What is set after the parent's ``__init__`` belongs to the state, and so to its snapshots.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[str, str] = {}
        self.seen: dict[str, float] = {}

    @replicated  # type: ignore[untyped-decorator]  # the library has no types
    def put(self, key: str, value: str) -> None:
        """Write a key; note when a write of the measurement arrives here."""
        self.pairs[key] = value
        if key == "visible":
            self.seen[value] = time.monotonic()

    @replicated  # type: ignore[untyped-decorator]  # the library has no types
    def put_many(self, keys: list[str], value: str) -> None:
        """Write several keys at once."""
        for key in keys:
            self.pairs[key] = value


class Load:
    """So many calls under way until the time or the work is up.

    :param calls: makes the next call, whose arguments are a callback; returns False for no more
    """

    def __init__(self, calls: Callable[[Callable[[Any, Any], None]], bool]) -> None:
        self._calls = calls
        self._under_way = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.times_s: list[float] = []
        self.failed = 0

    def run(self, connections: int) -> float:
        """Return how many seconds it took."""
        began = time.monotonic()
        self._under_way = connections
        for _ in range(connections):
            self._next()
        self._ended.wait()
        return time.monotonic() - began

    def _next(self) -> None:
        began = time.monotonic()

        def done(_: object, error: object) -> None:
            if error:
                self.failed += 1
            self.times_s.append(time.monotonic() - began)
            self._next()

        if not self._calls(done):
            with self._lock:
                self._under_way -= 1
                if not self._under_way:
                    self._ended.set()


class Node:
    """Carries out commands."""

    def __init__(self, me: str, others: list[str], path: str, *, batch: bool) -> None:
        self._store = Store()
        self._cluster = SyncObj(
            me,
            others,
            SyncObjConf(
                journalFile=f"{path}.journal",
                fullDumpFile=f"{path}.dump",
                appendEntriesUseBatch=batch,  # with it a write waits for the next 0.1 s
                connectionRetryTime=0.1,  # the default of 5 s would be all that a restart measures
            ),
            consumers=[self._store],
        )
        self._me = me
        self._value = ""

    def status(self) -> dict[str, object]:
        """Tell who leads, as far as this node knows."""
        status = self._cluster.getStatus()
        leader = status["leader"]
        is_ready = self._cluster.isReady() and status["has_quorum"]
        return {"leader": None if leader is None or not is_ready else leader.id}

    def load(
        self, connections: int, seconds: float, keys: int, value: str
    ) -> dict[str, float | int]:
        """Write the same keys again and again."""
        names = [f"key-{n:08}" for n in range(KEYS * keys)]
        until, number = time.monotonic() + seconds, 0

        def call(done: Callable[[Any, Any], None]) -> bool:
            nonlocal number
            if time.monotonic() >= until:
                return False
            first, number = number * keys % len(names), number + 1
            if keys == 1:
                self._store.put(names[first], value, callback=done)
            else:
                self._store.put_many(names[first : first + keys], value, callback=done)
            return True

        load = Load(call)
        took_s = load.run(connections)
        times = sorted(load.times_s)
        return {
            "requests": len(times),
            "seconds": took_s,
            "p50_ms": times[len(times) // 2] * 1000,
            "p99_ms": times[len(times) * 99 // 100] * 1000,
            "failed": load.failed,
        }

    def fill(self, first: int, count: int, per_request: int, value: str) -> dict[str, int]:
        """Write keys once each; what is not acknowledged in time is written again.

        An acknowledgement that is due when the leader changes never comes.
        """
        todo = list(range(first, first + count, per_request))
        deadline = time.monotonic() + FILL_S
        while todo and time.monotonic() < deadline:
            batch, todo = todo[:AT_ONCE], todo[AT_ONCE:]
            todo = self._write(batch, per_request, value) + todo
        return {"failed": len(todo)}

    def _write(self, batch: list[int], per_request: int, value: str) -> list[int]:
        """Write at once; return what was not acknowledged."""
        missing, ended = set(batch), threading.Event()

        def write(at: int) -> None:
            def done(_: object, error: object) -> None:
                if not error:
                    missing.discard(at)
                if not missing:
                    ended.set()

            names = [f"key-{n:08}" for n in range(at, at + per_request)]
            self._store.put_many(names, value, callback=done)

        for at in batch:
            write(at)
        ended.wait(ACKNOWLEDGED_S)
        return sorted(missing)

    def holds(self, key: str) -> dict[str, bool]:
        """Tell whether this node's own copy has a key."""
        return {"holds": key in self._store.pairs}

    def put_until_done(self, value: str) -> dict[str, float]:
        """Write until a write is acknowledged; tell the time of the acknowledgement."""
        while True:
            acknowledged = threading.Event()

            def done(_: object, error: object, event: threading.Event = acknowledged) -> None:
                if not error:
                    event.set()

            self._store.put("failover", value, callback=done)
            if acknowledged.wait(ATTEMPT_S):
                return {"at": time.monotonic()}

    def put_visible(self, count: int) -> dict[str, dict[str, float]]:
        """Write so often, one after the other; tell when each was acknowledged."""
        times: dict[str, float] = {}
        for number in range(count):
            value = f"{number}-{time.monotonic_ns()}"
            acknowledged = threading.Event()

            def done(_: object, error: object, event: threading.Event = acknowledged) -> None:
                assert not error
                event.set()

            self._store.put("visible", value, callback=done)
            acknowledged.wait(5)
            times[value] = time.monotonic()
        return {"times": times}

    def seen(self) -> dict[str, dict[str, float]]:
        """Tell when each of those writes was applied here."""
        return {"times": self._store.seen}


def main() -> None:
    """Carry out one command a line until there are no more."""
    me, others, path, batch = sys.argv[1:]
    node = Node(me, others.split(","), path, batch=batch == "batch")
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(node, command.pop("do"))(**command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
