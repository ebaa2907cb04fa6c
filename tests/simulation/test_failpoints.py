"""The power fails at named durable steps: each name is one, and a node that dies there comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from raftdb.replica import ReplicaOptions
from raftdb.simulation.disk.host import DurableHost
from raftdb.simulation.disk.power import BEGINNING, LIFE, START, PowerFailure, Trap
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.run.plan import Plan
from raftdb.simulation.run.run_seed import run
from raftdb.state.kv.commands import Put


class TestNames:
    """A failpoint that nobody comes to would be tested by nobody."""

    def test_all_are_come_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a few runs with snapshots, restarts and newcomers."""
        missing = dict.fromkeys((*LIFE, *START, *BEGINNING))
        passes = Trap.__call__

        def watch(self: Trap, point: str) -> None:
            missing.pop(point, None)
            passes(self, point)

        monkeypatch.setattr(Trap, "__call__", watch)
        options = ReplicaOptions(snapshot_entries=10)
        faults = ("failpoint", "kill", "isolate")
        for seed in range(40):
            run(_quick(seed, interval_s=0.1, faults=faults, options=options, reconfigure=True))
            if not missing:
                break
        assert not missing


class TestTraps:
    """Where a trap springs, the power is gone, and all the rest is not done."""

    @pytest.mark.parametrize(
        "point", ["before write log", "after fdatasync log", "after fsync spare"]
    )
    def test_a_leader_dies_there_and_comes_back(self, point: str) -> None:
        """And loses nothing that it acknowledged."""
        cluster = Cluster(3, durable=True, events_kept=None)
        cluster.boot()
        leader = cluster.await_leader()
        host = leader.host
        assert isinstance(host, DurableHost)
        host.trap.arm(point)
        acknowledged: list[int] = []
        while leader.boots == 1:
            if leader.is_up:
                written = leader.database.execute(Put(((b"key", b"value" * 20),)))
                written.addCallbacks(lambda put: acknowledged.append(put.revision), lambda _: None)
            cluster.run_for(0.01)
        cluster.run_while(lambda: not leader.is_up)
        cluster.await_leader()
        cluster.converge()
        assert any(
            f"loses power {leader.name} {point}" in line for line in cluster.event_log.lines()
        )
        assert leader.machine.kv.revision >= max(acknowledged, default=0)

    def test_nothing_is_done_after_it(self) -> None:
        """A dead process takes no more steps, whatever its code would do to clean up."""
        trap = Trap()
        trap.arm("before rename part", skipped=1)
        trap("before rename part")
        for point in ("before rename part", "before unlink part"):
            with pytest.raises(PowerFailure):
                trap(point)
        trap.disarm()
        trap("before rename part")

    def test_at_a_start(self) -> None:
        """A node that dies while it recovers starts again."""
        cluster = Cluster(3, durable=True, events_kept=None)
        cluster.boot()
        leader = cluster.await_leader()
        assert isinstance(leader.host, DurableHost)
        leader.kill()
        leader.host.trap.arm("before rename copy")
        leader.boot()
        assert not leader.is_up
        cluster.run_while(lambda: not leader.is_up)
        assert leader.boots == 3


class TestWhatItFound:
    """Seeds that broke a promise once."""

    @pytest.mark.parametrize("seed", [78, 122, 150])
    def test_an_identity_in_the_page_cache_alone(self, seed: int) -> None:
        """The maker of a directory was killed before the last fsync; the next process relied on it."""
        faults = ("kill", "kill all", "burst")
        plan = _quick(seed, storm_s=2.0, interval_s=0.15, clients=1, pause_s=0.1, faults=faults)
        assert run(plan).violation is None


def _quick(seed: int, **changes: Any) -> Plan:
    plan = Plan(seed=seed, durable=True, storm_s=4.0, liveness=False, manners=False)
    return replace(plan, **changes)
