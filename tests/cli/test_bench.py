"""``raftdb bench`` over a store in memory that takes its time by a simulated clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from random import Random

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock

from raftdb.cli.bench import PER_CLIENT, Bench, Plan, write_json, write_table
from raftdb.cli.main import main
from raftdb.cli.steps import Story
from raftdb.client.client import Level
from raftdb.errors import NoLeader, Timeout

READ_S, WRITE_S = 0.002, 0.01
MINE = "mine/"


class MemoryStore:
    """Keys and values of everybody, every operation of which takes a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.pairs = {"somebody's": "own"}
        self.touched: set[str] = set()
        self.busy = self.busy_max = 0
        self.failure: Exception | None = None
        self.only_loading_fails = False

    def _after(self, seconds: float, work: Callable[[], object]) -> Deferred[object]:
        if self.failure is not None:
            return fail(self.failure)
        self.busy += 1
        self.busy_max = max(self.busy_max, self.busy)

        done: Deferred[object] = Deferred()

        def end() -> None:  # also where nobody waits for it any more
            self.busy -= 1
            result = work()
            if not done.called:
                done.callback(result)

        self._clock.callLater(seconds, end)
        return done

    def get(self, key: str, *, level: Level) -> Deferred[bytes | None]:
        assert level == "stale"
        self.touched.add(key)
        return self._after(READ_S, self.pairs[key].encode)  # type: ignore[return-value]  # Deferred is invariant

    def put(self, key: str, value: str) -> Deferred[int]:
        self.touched.add(key)
        return self._after(WRITE_S, lambda: self.pairs.update({key: value}))  # type: ignore[return-value]  # same

    def put_many(self, pairs: dict[str, str]) -> Deferred[None]:
        self.touched |= pairs.keys()
        if self.only_loading_fails:
            return fail(Timeout("no answer"))
        return self._after(WRITE_S, lambda: self.pairs.update(pairs))  # type: ignore[return-value]  # same

    def delete(self, key: str) -> Deferred[bool]:
        self.touched.add(key)
        return self._after(WRITE_S, lambda: self.pairs.pop(key, None) is not None)  # type: ignore[return-value]  # same


class World:
    """A store, a measurement of it, and the clock of both."""

    def __init__(self, *, connections: int = 4, reads: float = 0.5, keys: int = 250) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.said = StringIO()
        plan = Plan(connections, 2.0, keys, 10, reads, "stale", MINE)
        clients = [self.store] * -(-connections // PER_CLIENT)
        self.bench = Bench(self.clock, clients, plan, story=Story(self.said), rng=Random(1))
        self.running: Deferred[object] = Deferred()
        self.ended: list[object] = []

    def start(self) -> None:
        self.running = Deferred.fromCoroutine(self.bench.run())
        self.running.addBoth(self.ended.append)

    def run(self, seconds: float) -> None:
        self.clock.pump([0.001] * round(seconds * 1000))

    def figures(self, kind: str) -> dict[str, object]:
        found = self.bench.result()[kind]
        assert isinstance(found, dict)
        return found


class TestWhatIsMeasured:
    """So many operations at a time, for so long, and what they took."""

    def test_times_and_rates(self) -> None:
        """A read takes 2 ms here and a write 10, and so it is told."""
        world = World()
        world.start()
        world.run(6)
        assert world.ended == [None]
        assert world.bench.has_measured
        reads, writes = world.figures("read"), world.figures("write")
        assert reads["p50_ms"] == pytest.approx(2, abs=0.01)
        assert writes["p99_ms"] == writes["max_ms"] == pytest.approx(10.5, abs=0.51)
        operations = world.figures("all")["operations"]
        assert isinstance(operations, int)
        assert operations == pytest.approx(4 * 2.0 / 0.006, rel=0.1)
        assert world.figures("all")["per_second"] == pytest.approx(operations / 2, rel=0.01)

    @pytest.mark.parametrize("connections", [1, PER_CLIENT, PER_CLIENT + 1])
    def test_so_many_at_a_time(self, connections: int) -> None:
        """One client for every sixteen, and no operation more than was asked for."""
        world = World(connections=connections, keys=1)
        world.start()
        world.run(4)
        assert world.store.busy_max == connections
        assert world.ended == [None]

    @pytest.mark.parametrize(("reads", "kind"), [(0.0, "read"), (1.0, "write")])
    def test_only_reads_or_only_writes(self, reads: float, kind: str) -> None:
        """The share may be nothing or all; what did not happen has no times."""
        world = World(reads=reads)
        world.start()
        world.run(6)
        figures = world.figures(kind)
        assert (figures["operations"], figures["p50_ms"]) == (0, None)

    def test_errors_are_counted_by_their_kind(self) -> None:
        """And not in the times; a cluster that refuses is not asked without a pause."""
        world = World(connections=2, keys=1)
        world.start()
        world.run(1)
        world.store.failure = NoLeader()
        world.run(1)
        world.store.failure = None
        world.run(2)
        failed = sum(
            figures.errors["NoLeader"] for figures in (world.bench.reads, world.bench.writes)
        )
        assert 30 <= failed <= 42
        assert world.ended == [None]


class TestItsKeys:
    """Only keys of its own are touched, and none is left."""

    def test_all_begin_with_its_prefix_and_are_deleted(self) -> None:
        """Somebody else's data is as it was."""
        world = World()
        world.start()
        world.run(1)
        assert len(world.store.pairs) == 251
        world.run(5)
        assert world.store.pairs == {"somebody's": "own"}
        assert all(key.startswith(MINE) for key in world.store.touched)

    def test_are_deleted_when_it_is_interrupted(self) -> None:
        """After the writes under way have ended: one of them could bring its key back."""
        world = World(reads=0.0)
        world.start()
        world.run(0.5)
        world.running.cancel()
        assert world.ended == []
        world.run(2)
        assert isinstance(getattr(world.ended[0], "value", None), CancelledError)
        assert world.store.pairs == {"somebody's": "own"}
        assert world.figures("write")["operations"]

    def test_are_deleted_when_loading_them_failed_half_way(self) -> None:
        """What may have been written may still be there; what was refused is not."""
        world = World(keys=1_000)
        world.start()
        world.run(0.012)
        world.store.only_loading_fails = True
        world.run(2)
        assert isinstance(getattr(world.ended[0], "value", None), Timeout)
        assert world.store.pairs == {"somebody's": "own"}
        assert not world.bench.has_measured

    def test_are_named_where_they_could_not_be_deleted(self) -> None:
        """Somebody has to do it by hand."""
        world = World()
        world.start()
        world.run(1)
        world.store.failure = NoLeader()
        world.run(5)
        assert isinstance(getattr(world.ended[0], "value", None), NoLeader)
        assert f"✗ keys that begin {MINE} are left behind" in world.said.getvalue()


class TestWhatIsTold:
    """A table for people, JSON for programs."""

    def test_table(self) -> None:
        """Every kind with its times, and the errors under it."""
        world = World(reads=1.0)
        world.start()
        world.run(6)
        world.bench.writes.errors["NoLeader"] = 1_234
        out = StringIO()
        write_table(world.bench.result(), out)
        lines = out.getvalue().splitlines()
        assert lines[0].split("  ")[-1].strip() == "max ms"
        assert lines[2].split() == ["write", "0", "0.00", "-", "-", "-", "-"]
        assert len({len(line) for line in lines[:4]}) == 1
        assert lines[4] == "errors: write NoLeader 1,234"

    def test_json(self) -> None:
        """What was asked, and what came of it."""
        world = World()
        world.start()
        world.run(6)
        out = StringIO()
        write_json(world.bench.result(), out)
        told = json.loads(out.getvalue())
        assert (told["connections"], told["level"], told["keys"]) == (4, "stale", 250)
        assert told["all"]["errors"] == {}

    @pytest.mark.parametrize(
        "wrong", ["--connections=0", "--keys=x", "--reads=1.5", "--reads=nan", "--level=none"]
    )
    def test_wrong_usage_is_refused_before_anything_is_asked(
        self, capsys: pytest.CaptureFixture[str], wrong: str
    ) -> None:
        """With the code of wrong usage."""
        with pytest.raises(SystemExit) as caught:
            main(["bench", wrong])
        assert caught.value.code == 2
        assert wrong.split("=")[1] in capsys.readouterr().err
