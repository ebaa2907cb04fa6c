from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from raftdb.database import Level
from raftdb.errors import (
    Compacted,
    IdempotencyMismatch,
    InvalidRequest,
    NoLeader,
    NotLeader,
)
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.state import KeyedRequest
from raftdb.state.kv.commands import (
    Absent,
    CompareAndSwap,
    Delete,
    DeleteRange,
    ModRevisionIs,
    Put,
    SetRetention,
)
from raftdb.state.kv.reads import Get, Range
from raftdb.state.kv.values import CompareAndSwapResult, DeleteResult, PutResult, Retention
from raftdb.state.members import Invite


def error_of(deferred: Deferred[Any]) -> BaseException:
    """Return the error that a Deferred has failed with."""
    found: list[Failure] = []
    deferred.addErrback(found.append)
    assert found, "it did not fail at once"
    assert found[0].value is not None
    return found[0].value


@pytest.fixture
def cluster() -> Cluster:
    """Three nodes with a leader."""
    cluster = Cluster(5)
    cluster.boot()
    cluster.await_leader()
    return cluster


@pytest.fixture
def leader(cluster: Cluster) -> SimulatedNode:
    """The leader."""
    assert cluster.leader is not None
    return cluster.leader


class TestWriting:
    """Each operation is one command in one entry, and its result tells what it did."""

    def test_a_put_of_many_keys_is_one_revision(
        self, cluster: Cluster, leader: SimulatedNode
    ) -> None:
        """All of them or none."""
        result = cluster.result(leader.database.execute(Put(((b"a", b"1"), (b"b", b"2")))))
        assert result == PutResult(2)
        page = cluster.result(leader.database.query(Range(b"a"), Level.CONSISTENT))
        assert [(kv.key, kv.mod_revision) for kv in page.pairs] == [(b"a", 2), (b"b", 2)]

    def test_deletes_count_what_there_was(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """Keys or ranges; what does not exist is passed over."""
        cluster.result(leader.database.execute(Put(((b"a", b"1"), (b"b", b"2"), (b"c", b"3")))))
        deleted = cluster.result(leader.database.execute(Delete((b"a", b"x"))))
        assert deleted == DeleteResult(3, 1)
        assert cluster.result(leader.database.execute(DeleteRange(b"b"))) == DeleteResult(4, 2)
        assert cluster.result(leader.database.execute(Delete((b"a",)))) == DeleteResult(4, 0)

    def test_a_swap_says_what_it_found(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """The expectation is checked where everybody applies it."""

        def swap(*command: Any) -> Any:
            return leader.database.execute(CompareAndSwap(*command))

        first = cluster.result(swap(b"k", Absent(), b"1"))
        assert isinstance(first, CompareAndSwapResult)
        assert first.swapped
        second = cluster.result(swap(b"k", Absent(), b"2"))
        assert not second.swapped
        assert second.current.value == b"1"
        assert cluster.result(swap(b"k", ModRevisionIs(2), None)).swapped
        assert cluster.result(leader.database.query(Get(b"k"))) is None

    def test_a_repeat_happens_once(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """The second time only the result is told again; another request needs another name."""
        name = KeyedRequest(b"order 7")
        database = leader.database
        first = cluster.result(database.execute(Put(((b"k", b"1"),)), request=name))
        cluster.result(database.execute(Put(((b"k", b"2"),))))
        assert cluster.result(database.execute(Put(((b"k", b"1"),)), request=name)) == first
        found = cluster.result(database.query(Get(b"k")))
        assert found is not None
        assert found.value == b"2"
        with pytest.raises(IdempotencyMismatch):
            cluster.result(database.execute(Put(((b"k", b"3"),)), request=name))

    def test_members_commands_share_the_way(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """Cluster metadata is replicated beside the keys, never among them."""
        cluster.result(leader.database.execute(Invite("n9", "h:1", "h:2")))
        cluster.converge()
        for node in cluster.nodes.values():
            assert node.machine.members.invitation("n9") is not None
            assert len(node.machine.kv) == 0

    def test_is_stamped_with_the_leaders_wall_clock(
        self, cluster: Cluster, leader: SimulatedNode
    ) -> None:
        """And everybody has the same time."""
        cluster.wall_steps_ms[leader.name] = 5_000_000
        cluster.put(b"k", b"v")
        cluster.converge()
        times = {node.machine.time_ms for node in cluster.nodes.values()}
        assert len(times) == 1
        assert abs(times.pop() - cluster.wall_ms(leader.name)) < 1000


class TestReading:
    """From the state as it is, or as it was at a revision."""

    def test_an_old_revision(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """History is kept for a while."""
        cluster.put(b"k", b"1")
        cluster.put(b"k", b"2")
        assert cluster.result(leader.database.query(Get(b"k", 2))).value == b"1"

    def test_a_revision_to_come_is_refused(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """At every level alike: as a failure, not as an exception."""
        for level in Level:
            with pytest.raises(InvalidRequest):
                cluster.result(leader.database.query(Get(b"k", 100), level))

    def test_a_revision_no_longer_kept_is_refused(
        self, cluster: Cluster, leader: SimulatedNode
    ) -> None:
        """At every level alike, too."""
        cluster.put(b"k", b"1")
        shorter = SetRetention(Retention(revisions=0, bytes=0))
        cluster.result(leader.database.execute(shorter))
        cluster.put(b"k", b"2")
        for level in Level:
            with pytest.raises(Compacted):
                cluster.result(leader.database.query(Get(b"k", 2), level))

    def test_goes_on_page_by_page_at_one_revision(
        self, cluster: Cluster, leader: SimulatedNode
    ) -> None:
        """What is written in between is not seen."""
        cluster.result(leader.database.execute(Put(tuple((b"%d" % n, b"old") for n in range(5)))))
        first = cluster.result(leader.database.query(Range(b"", limit=3)))
        cluster.put(b"4", b"new")
        rest = cluster.result(leader.database.query(Range(first.next, revision=first.revision)))
        assert [kv.value for kv in rest.pairs] == [b"old", b"old"]


class TestTheWayToTheLeader:
    """Who cannot help says who can."""

    def test_require_leader(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """Silent on the leader, telling on a follower."""
        leader.database.require_leader()
        follower = cluster.followers[0]
        with pytest.raises(NotLeader) as caught:
            follower.database.require_leader()
        assert caught.value.http_address == f"{leader.name}.http:1"

    def test_without_a_leader(self, cluster: Cluster, leader: SimulatedNode) -> None:
        """Neither a write nor a confirmed read has anywhere to go."""
        survivor = cluster.followers[0]
        for node in cluster.nodes.values():
            if node is not survivor:
                node.kill()
        cluster.run_for(3.0)
        database = survivor.database
        assert isinstance(error_of(database.execute(Put(((b"k", b"v"),)))), NoLeader)
        assert isinstance(error_of(database.query(Get(b"k"), leader_only=True)), NoLeader)
        assert database.position().leader_id is None
        assert database.leader_http_address == ""
        assert leader.member != survivor.member

    def test_replicas_can_be_compared(self, cluster: Cluster) -> None:
        """Equal applied index, equal hash and revision."""
        cluster.put(b"k", b"v")
        cluster.converge()
        states = {
            (
                node.database.position().applied_index,
                node.database.revision,
                node.database.state_hash,
            )
            for node in cluster.nodes.values()
        }
        assert len(states) == 1
