from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from twisted.internet.defer import Deferred

from raftdb.database import Level
from raftdb.errors import NoLeader
from raftdb.replica import ReplicaOptions
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.state.kv.commands import Put
from raftdb.state.kv.reads import Get

Outcome: TypeAlias = Callable[[Deferred[Any]], object]


def started(
    names: str = "abc", seed: int = 1, *, durable: bool = False, **options: Any
) -> tuple[Cluster, SimulatedNode]:
    cluster = Cluster(seed, names, durable=durable, options=ReplicaOptions(**options))
    cluster.boot()
    return cluster, cluster.await_leader()


def write(cluster: Cluster, count: int, size: int = 1) -> None:
    """Write ``count`` keys as fast as they go."""
    leader = cluster.await_leader()
    writes = [
        leader.database.execute(Put(((b"key %d" % number, b"x" * size),)))
        for number in range(count)
    ]
    for written in writes:
        cluster.result(written)
    cluster.run_for(0.5)


class TestTaking:
    """Snapshots are taken by themselves, beside everything else."""

    def test_comes_after_so_many_entries(self) -> None:
        """Counted from the last one."""
        cluster, leader = started(snapshot_entries=50)
        write(cluster, 40)
        assert leader.replica.status().snapshot_index == 0
        write(cluster, 40)
        assert leader.replica.status().snapshot_index >= 50

    def test_comes_after_so_many_bytes(self) -> None:
        """A few large values are as good a reason."""
        cluster, leader = started(snapshot_bytes=100_000)
        write(cluster, 12, size=10_000)
        assert leader.replica.status().snapshot_index > 0

    @pytest.mark.parametrize("durable", [False, True])
    def test_bounds_the_log_by_the_older_of_two(self, durable: bool) -> None:
        """A follower that lags a little needs no snapshot."""
        cluster, leader = started(durable=durable, snapshot_entries=50)
        for _ in range(6):
            write(cluster, 50)
        status = leader.replica.status()
        assert status.raft.first_index > 150
        assert status.snapshot_index - status.raft.first_index >= 50 - 1
        assert status.log_bytes < 200 * 100

    def test_lets_writes_pass_between_its_slices(self) -> None:
        """Applying goes on while the pinned state is written."""
        cluster, leader = started("a", snapshot_entries=300)
        write(cluster, 250, size=5_000)
        leader.host.save_min_s = leader.host.save_max_s = 0.02
        writes = [leader.database.execute(Put(((b"more %d" % n, b"v"),))) for n in range(60)]
        cluster.run_while(lambda: leader.replica.applied < 300)
        assert leader.replica.status().snapshot_index == 0
        for written in writes:
            cluster.result(written)
        late = leader.database.execute(Put(((b"late", b"v"),)))
        cluster.result(late, limit_s=0.1)
        assert leader.replica.status().snapshot_index == 0
        cluster.run_for(5.0)
        assert leader.replica.status().snapshot_index >= 300

    def test_without_room_is_given_up_and_tried_again(self) -> None:
        """Nothing is lost but the attempt."""
        cluster, leader = started("a", durable=True, snapshot_entries=100)
        for _ in range(9):
            write(cluster, 10)
        leader.host.fill(full=True)
        written = [leader.database.execute(Put(((b"k%d" % n, b"v"),))) for n in range(20)]
        for deferred in written:
            deferred.addErrback(lambda _: None)
        cluster.run_for(1.0)
        assert leader.failure is None
        assert leader.replica.applied > 100
        assert leader.replica.status().snapshot_index == 0
        leader.host.fill(full=False)
        for _ in range(12):
            write(cluster, 10)
        assert leader.replica.status().snapshot_index > 0


class TestLoading:
    """A snapshot becomes the state in one step, when it is complete and its hash is right."""

    @pytest.mark.parametrize("durable", [False, True])
    def test_brings_back_the_state_after_a_restart(self, durable: bool) -> None:
        """The snapshot first, then the rest of the log."""
        cluster, leader = started(durable=durable, snapshot_entries=40)
        write(cluster, 100)
        state_hash, applied = leader.machine.state_hash, leader.replica.applied
        for node in cluster.nodes.values():
            node.kill()
        cluster.boot()
        cluster.await_leader()
        for node in cluster.nodes.values():
            cluster.run_while(_behind(node, applied))
            assert node.machine.kv.get(b"key 99") is not None
            assert node.machine.members.cluster_id == cluster.cluster_id
        assert state_hash in {node.machine.state_hash for node in cluster.nodes.values()}

    def test_serves_nothing_before_the_first_is_complete(self, outcome: Outcome) -> None:
        """An empty state is no old state."""
        cluster, leader = started(snapshot_entries=40)
        write(cluster, 100)
        follower = cluster.followers[0]
        follower.kill()
        follower.boot()
        assert not follower.replica.serves
        assert isinstance(outcome(follower.database.query(Get(b"key 1"), Level.STALE)), NoLeader)
        cluster.run_while(lambda: not follower.replica.serves)
        assert outcome(follower.database.query(Get(b"key 1"), Level.STALE)) is not None
        assert leader is cluster.leader

    @pytest.mark.parametrize("durable", [False, True])
    def test_catches_up_who_was_away_while_writes_go_on(self, durable: bool) -> None:
        """Past the compacted log, in one piece, and the leader stays the leader."""
        cluster, leader = started(durable=durable, snapshot_entries=40)
        away = cluster.followers[0]
        away.kill()
        for _ in range(4):
            write(cluster, 50)
        term = leader.replica.term
        assert leader.replica.status().raft.first_index > away_last(away)
        away.boot()
        count = 0
        while away.replica.applied < leader.replica.applied - 3:
            cluster.put(b"busy", b"%d" % count)
            count += 1
            assert count < 500
        assert away.machine.kv.get(b"key 49") is not None
        assert leader.replica.term == term

    def test_gives_up_the_own_one_that_is_being_taken(self) -> None:
        """A peer's is newer; the older one must not become the newest afterwards."""
        cluster, leader = started(snapshot_entries=40)
        behind = cluster.followers[0]
        write(cluster, 30)
        behind.host.save_min_s = behind.host.save_max_s = 0.3
        for _ in range(20):
            cluster.put(b"k", b"v")
        cluster.run_while(lambda: behind.replica.applied < 40)
        behind.host.save_min_s = behind.host.save_max_s = 5.0
        assert behind.replica.status().snapshot_index == 0
        cluster.network.isolate(behind.name)
        for _ in range(4):
            write(cluster, 50)
        cluster.network.mend()
        cluster.run_for(60.0)
        assert behind.failure is None
        assert behind.replica.applied == leader.replica.applied

    def test_keeps_the_old_state_readable_meanwhile(self) -> None:
        """Stale reads never go back, and never see half a state."""
        cluster, leader = started(snapshot_entries=40)
        behind = cluster.followers[0]
        cluster.put(b"old", b"v")
        cluster.converge()
        cluster.network.isolate(behind.name)
        for _ in range(4):
            write(cluster, 50, size=2_000)
        cluster.network.mend()
        revisions = []

        def apart() -> bool:
            assert behind.machine.kv.get(b"old") is not None
            revisions.append(behind.database.revision)
            return behind.replica.applied < leader.replica.applied

        cluster.run_while(apart)
        assert revisions == sorted(revisions)


def _behind(node: SimulatedNode, applied: int) -> Callable[[], bool]:
    return lambda: node.replica.applied < applied


def away_last(node: SimulatedNode) -> int:
    """Return the last index that a dead node's replica had."""
    return node.replica.status().raft.last.index
