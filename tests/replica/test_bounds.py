from __future__ import annotations

import errno

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from raftdb.errors import Overloaded, RaftDBError
from raftdb.raft.types import ConfState, EntryID, MemberID, SnapshotMetadata
from raftdb.replica import ReplicaOptions
from raftdb.replica.snapshots import Snapshots
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.state import ReplicatedState, encode_entry
from raftdb.state.kv.commands import Put, SetRetention
from raftdb.state.kv.values import Retention

KiB = 1024
VALUE_BYTES = 30 * KiB
SNAPSHOT_BYTES = 20 * VALUE_BYTES


class TestUnderAnyLoad:
    """Memory and log stay bounded, snapshots are completed, and writes go on."""

    @pytest.mark.parametrize("save_s", [0.002, 0.02])
    def test_log_is_bounded_while_writers_write_all_they_can(self, save_s: float) -> None:
        """Large values on few keys, as fast as they are answered, on disks of either speed."""
        options = ReplicaOptions(snapshot_bytes=SNAPSHOT_BYTES, pinned_bytes_max=3 * VALUE_BYTES)
        cluster = Cluster(1, "abc", options=options)
        cluster.boot()
        leader = cluster.await_leader()
        small = SetRetention(Retention(bytes=SNAPSHOT_BYTES))
        cluster.result(leader.replica.propose(_envelope(small), 5.0))
        for node in cluster.nodes.values():
            node.host.save_max_s = save_s
        answers: list[object] = []
        for n in range(6):
            _write_on(cluster, b"k%d" % n, answers)
        taken = set()
        while len(answers) < 600:
            cluster.run_for(0.1)
            assert cluster.clock.seconds() < 60, "writes go on"
            for node in cluster.nodes.values():
                status = node.replica.status()
                assert status.log_bytes <= (2 * 4 + 2) * SNAPSHOT_BYTES
                taken.add((node.name, status.snapshot_index))
                assert node.machine.pinned_bytes <= 6 * (VALUE_BYTES + 100)
                history = node.machine.kv._history
                assert history._garbage_bytes <= 2 * SNAPSHOT_BYTES
        assert len(taken) >= 3 * 3, "each node took several"

    def test_one_that_fails_for_room_is_tried_again_without_another_entry(self) -> None:
        """Where writes wait for it, nothing else would ever ask for the next."""
        cluster = Cluster(1, "a", durable=True, options=ReplicaOptions(snapshot_entries=10))
        cluster.boot()
        leader = cluster.await_leader()
        vars(leader.replica._storage)["create_snapshot"] = lambda _: _NoRoom()
        outcomes: list[object] = []
        for n in range(100):
            written = leader.database.execute(Put(((b"k%d" % n, b"v"),)))
            written.addBoth(outcomes.append)
            cluster.run_for(0.02)
        assert isinstance(_error(outcomes[-1]), Overloaded)
        assert "no room for a snapshot" in (leader.replica.short_of_room or "")
        assert leader.replica.applied < 60
        del vars(leader.replica._storage)["create_snapshot"]
        cluster.run_for(1.5)
        assert leader.replica.status().snapshot_index >= 40
        assert leader.replica.short_of_room is None
        cluster.put(b"again", b"v")


class TestCounting:
    """What a snapshot stands for is counted towards no other."""

    def setup_method(self) -> None:
        self.clock = Clock()
        cluster = Cluster(1, "a")
        cluster.boot()
        self.disk = cluster.await_leader().replica._storage
        self.machine = ReplicatedState()
        options = ReplicaOptions(snapshot_entries=50, snapshot_bytes=1_000)
        self.snapshots = Snapshots(self.clock, self.disk, self.machine, options, crash=_crash)

    def test_an_installed_one_counts(self) -> None:
        """Neither its entries nor the bytes before it bring the next one forward."""
        self.snapshots.applied(10, 900)
        self.snapshots.installed(100)
        self.snapshots.applied(149, 900)
        assert not self.snapshots.due
        self.snapshots.applied(150, 1)
        assert self.snapshots.due

    def test_what_is_applied_while_one_is_taken_counts_for_the_next(self) -> None:
        """It is log that stays, whatever becomes of the one being taken."""
        self.snapshots.applied(10, 1_000)
        self.snapshots.take(SnapshotMetadata(EntryID(1, 10), ConfState((MemberID("a", 1),))))
        assert self.snapshots.under_way
        self.snapshots.applied(40, 3_000)
        assert self.snapshots.lags
        assert not self.snapshots.due, "one at a time"


def _write_on(cluster: Cluster, key: bytes, answers: list[object]) -> None:
    """Write ``key`` again as soon as the last write is answered, a little later if refused."""

    def again() -> None:
        leader = cluster.leader
        if leader is None:
            cluster.clock.callLater(0.05, again)
            return
        leader.database.execute(Put(((key, bytes(VALUE_BYTES)),))).addCallbacks(done, refused)

    def done(result: object) -> None:
        answers.append(result)
        again()

    def refused(failure: Failure) -> None:
        assert isinstance(failure.value, RaftDBError)
        cluster.clock.callLater(0.01, again)

    again()


def _envelope(command: SetRetention | Put) -> bytes:
    return encode_entry(command, wall_ms=0)


class _NoRoom:
    def write(self, section: str, chunk: bytes) -> Deferred[None]:
        del section, chunk
        return fail(OSError(errno.ENOSPC, "No space left on device"))

    def abort(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


def _error(outcome: object) -> object:
    return outcome.value if isinstance(outcome, Failure) else outcome


def _crash(failure: Failure) -> None:
    failure.raiseException()
