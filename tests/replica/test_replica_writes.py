from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import pytest
from twisted.internet.defer import Deferred

from raftdb.database import Level
from raftdb.errors import (
    LeadershipLost,
    NotLeader,
    Overloaded,
    ProposalDropped,
    ShuttingDown,
    Timeout,
)
from raftdb.raft.messages import AppendEntries, Message
from raftdb.raft.types import Role
from raftdb.replica import Replica, ReplicaOptions
from raftdb.simulation.nodes import node
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.state import UnknownCommand
from raftdb.state.kv.commands import Put
from raftdb.state.kv.reads import Get
from raftdb.state.kv.values import KeyValue, PutResult

Outcome: TypeAlias = Callable[[Deferred[Any]], object]


def started(names: str = "abc", seed: int = 1, **options: Any) -> tuple[Cluster, SimulatedNode]:
    cluster = Cluster(seed, names, options=ReplicaOptions(**options))
    cluster.boot()
    return cluster, cluster.await_leader()


class TestAWrite:
    """A write is answered when it is applied here and durable on a quorum, not before."""

    def test_is_acknowledged_with_its_revision(self) -> None:
        """The state machine's result comes back."""
        cluster, leader = started()
        result = cluster.result(leader.database.execute(Put(((b"k", b"v"),))))
        assert result == PutResult(2)

    def test_is_visible_on_followers_at_once(self) -> None:
        """The commit index does not wait for the next heartbeat."""
        cluster, leader = started()
        cluster.result(leader.database.execute(Put(((b"k", b"v"),))))
        follower = cluster.followers[0]
        waited_s = cluster.run_while(lambda: follower.machine.kv.get(b"k") is None)
        assert waited_s < 0.01

    def test_one_after_the_other_tells_of_the_commit_with_the_next(self) -> None:
        """Each write is one append per follower, and the last one's news come by themselves."""
        cluster, leader = started()
        core = leader.replica.core
        sent: list[AppendEntries] = []
        take = core.take_messages

        def spy(*, news: bool = True) -> list[Message]:
            taken = take(news=news)
            sent.extend(each for each in taken if isinstance(each, AppendEntries))
            return taken

        core.take_messages = spy  # type: ignore[method-assign]  # listened to
        for number in range(5):
            cluster.result(leader.database.execute(Put(((b"k", b"%d" % number),))))
        news = [each for each in sent if not each.entries]
        assert (len(sent), len(news)) == (10, 0)
        cluster.run_for(0.01)
        assert [each.commit for each in sent[10:]] == [core.commit] * 2

    def test_is_saved_while_the_one_before_is_applied(self) -> None:
        """An append brings the news of the commit before it: the disk does not wait for that."""
        cluster, leader = started()
        follower = cluster.followers[0]
        core, apply = follower.replica.core, follower.machine.apply
        saving: list[bool] = []

        def spy(index: int, envelope: bytes) -> object:
            saving.append(core.state.outstanding is not None)
            return apply(index, envelope)

        follower.machine.apply = spy  # type: ignore[method-assign]  # listened to
        for number in range(5):
            cluster.result(leader.database.execute(Put(((b"k", b"%d" % number),))))
        assert saving == [True] * 4

    def test_waits_for_the_turn_that_was_asked_for(
        self, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
    ) -> None:
        """All turns come by the way that a Replica is given for them."""
        asked: list[Callable[[], None]] = []
        monkeypatch.setattr(node, "Replica", partial(Replica, soon=asked.append))
        cluster = Cluster(1, "a")
        cluster.boot()

        def take_turns() -> None:
            turns, asked[:] = asked[:], []
            for turn in turns:
                turn()

        leader = cluster.nodes["a"]
        for _ in range(100):
            cluster.run_for(0.05)
            take_turns()
        assert leader.replica.role is Role.LEADER
        written = leader.database.execute(Put(((b"k", b"v"),)))
        cluster.run_for(1.0)
        assert outcome(written) == "pending"
        for _ in range(3):
            take_turns()
            cluster.run_for(0.05)
        assert outcome(written) == PutResult(2)

    def test_is_refused_on_a_follower_with_the_way_to_the_leader(self, outcome: Outcome) -> None:
        """The error names the leader and where clients reach it."""
        cluster, leader = started()
        error = outcome(cluster.followers[0].database.execute(Put(((b"k", b"v"),))))
        assert isinstance(error, NotLeader)
        assert (error.leader, error.http_address) == (leader.name, f"{leader.name}.http:1")

    def test_does_not_wait_for_the_next_tick_behind_a_full_page(self) -> None:
        """A page that remains schedules its own turn [R14]."""
        cluster = Cluster(1, "a", configure=lambda config: replace(config, apply_bytes_max=1))
        cluster.boot()
        leader = cluster.await_leader()
        written = [leader.database.execute(Put(((b"k", b"%d" % number),))) for number in range(20)]
        waited_s = cluster.run_while(lambda: not all(each.called for each in written))
        assert waited_s < 0.1, "twenty pages, one a tick, would take a second"

    def test_waits_for_the_fsync_also_alone(self, outcome: Outcome) -> None:
        """One node promises no more than its disk holds."""
        cluster, leader = started("a")
        leader.host.hangs = True
        written = leader.database.execute(Put(((b"k", b"v"),)))
        cluster.run_for(0.3)
        assert outcome(written) == "pending"
        leader.host.hangs = False
        cluster.run_for(0.1)
        assert outcome(written) == PutResult(2)

    def test_needs_no_fast_leader_disk(self, outcome: Outcome) -> None:
        """The leader's disk works beside its followers': two of them are a quorum without it."""
        cluster, leader = started()
        leader.host.hangs = True
        leader.database.execute(Put(((b"k", b"v"),))).addErrback(lambda _: None)
        cluster.run_for(0.05)
        commits = [node.replica.core.state.log.durable for node in cluster.followers]
        assert min(commits) == max(commits) > leader.replica.core.state.log.durable
        assert outcome(leader.database.query(Get(b"k"), Level.STALE)) is None

    def test_needs_the_fsync_of_a_quorum(self, outcome: Outcome) -> None:
        """No follower says yes before its own disk does."""
        cluster, leader = started()
        for follower in cluster.followers:
            follower.host.hangs = True
        written = leader.database.execute(Put(((b"k", b"v"),)))
        cluster.run_for(0.1)
        assert outcome(written) == "pending"
        cluster.followers[0].host.hangs = False
        cluster.run_for(0.1)
        assert outcome(written) == PutResult(2)

    def test_is_never_acknowledged_after_a_failed_fsync(self, outcome: Outcome) -> None:
        """The node ends by the injected crash, and nobody hears a yes."""
        cluster, leader = started("a")
        leader.host.fail()
        written = leader.database.execute(Put(((b"k", b"v"),)))
        cluster.run_for(0.1)
        assert leader.failure is not None
        assert isinstance(outcome(written), LeadershipLost)
        assert isinstance(outcome(leader.database.execute(Put(((b"k", b"v"),)))), ShuttingDown)

    def test_that_cannot_be_applied_stops_the_node(self, outcome: Outcome) -> None:
        """What is unknown is not guessed; the failure does not vanish in the reactor's log."""
        cluster, leader = started("a")
        written = leader.replica.propose(b"\xff of a later version", 1.0)
        cluster.run_for(0.1)
        assert leader.failure is not None
        assert isinstance(leader.failure.value, UnknownCommand)
        assert isinstance(outcome(written), LeadershipLost)

    def test_finds_its_whole_page_applied_when_answered(self) -> None:
        """A callback that reads under the lease must not see a state older than its index says."""
        cluster, leader = started()
        seen: list[object] = []

        def read(_: object) -> None:
            found = leader.database.query(Get(b"second"), Level.DEFAULT)
            found.addCallback(lambda kv: seen.append(kv and kv.value))

        first = leader.database.execute(Put(((b"first", b"1"),))).addCallback(read)
        second = leader.database.execute(Put(((b"second", b"2"),)))
        cluster.result(first)
        cluster.result(second)
        assert seen == [b"2"]


class TestAnUndecidedWrite:
    """Only its index decides a write, or the end of patience [R28]."""

    def test_is_not_applied_when_another_entry_took_its_place(self, outcome: Outcome) -> None:
        """A leader that was cut off learns it when it comes back, not when it steps down."""
        cluster, old = started()
        cluster.network.isolate(old.name)
        written = old.database.execute(Put(((b"k", b"lost"),)), timeout_s=60)
        cluster.run_while(lambda: old.replica.role is Role.LEADER)
        cluster.run_for(1.0)
        assert outcome(written) == "pending"
        cluster.put(b"k", b"kept")
        cluster.network.mend()
        cluster.converge()
        assert isinstance(outcome(written), ProposalDropped)

    def test_succeeds_when_another_leader_commits_it(self, outcome: Outcome) -> None:
        """Its entry was taken over: a deposed leader that said no would have lied."""
        cluster, old = started()
        for follower in cluster.followers:
            cluster.network.cut(follower.name, old.name)
        written = old.database.execute(Put(((b"k", b"v"),)), timeout_s=60)
        cluster.run_while(lambda: cluster.leader is old or cluster.leader is None)
        cluster.network.mend()
        cluster.put(b"other", b"v")
        cluster.converge()
        assert isinstance(outcome(written), PutResult)
        assert old.machine.kv.get(b"k") is not None

    def test_is_unknown_at_its_deadline(self, outcome: Outcome) -> None:
        """A client is not left without an answer, and not given a wrong one."""
        cluster, leader = started()
        cluster.network.isolate(leader.name)
        written = leader.database.execute(Put(((b"k", b"v"),)), timeout_s=0.3)
        cluster.run_for(0.36)
        assert isinstance(outcome(written), Timeout)

    def test_is_unknown_where_a_snapshot_jumps_over_it(self, outcome: Outcome) -> None:
        """The snapshot's state says nothing of whose entry stood at the index."""
        cluster, old = started(snapshot_entries=10)
        cluster.network.isolate(old.name)
        written = old.database.execute(Put(((b"k", b"lost"),)), timeout_s=60)
        cluster.run_while(lambda: cluster.leader is old or cluster.leader is None)
        for number in range(60):
            cluster.put(b"k", b"%d" % number)
        cluster.network.mend()
        cluster.converge()
        assert isinstance(outcome(written), LeadershipLost)

    def test_goes_on_when_its_client_hangs_up(self) -> None:
        """Cancelling ends the waiting, never the write."""
        cluster, leader = started()
        written = leader.database.execute(Put(((b"k", b"v"),)))
        written.addErrback(lambda _: None)
        written.cancel()
        cluster.run_for(0.1)
        assert isinstance(leader.machine.kv.get(b"k"), KeyValue)


class TestLimits:
    """Beyond a named limit there is a quick refusal."""

    def test_waiting_requests_are_capped(self, outcome: Outcome) -> None:
        """Writes and reads count together [R30]."""
        cluster, leader = started(waiting_max=3)
        cluster.network.isolate(leader.name)
        for _ in range(2):
            leader.database.execute(Put(((b"k", b"v"),))).addErrback(lambda _: None)
        leader.replica.read_barrier(5.0).addErrback(lambda _: None)
        assert isinstance(outcome(leader.database.execute(Put(((b"k", b"v"),)))), Overloaded)
        assert isinstance(outcome(leader.replica.read_barrier(5.0)), Overloaded)

    def test_who_waits_no_more_does_not_count(self, outcome: Outcome) -> None:
        """Writes that timed out, or whose clients have gone, are undecided, and refuse nobody."""
        cluster, leader = started("abc", waiting_max=3)
        for follower in cluster.followers:
            follower.host.fill(full=True)
        writes = [leader.replica.propose(b"?", 0.5) for _ in range(2)]
        gone = leader.replica.propose(b"?", 60.0)
        assert isinstance(outcome(leader.replica.read_barrier(5.0)), Overloaded)
        gone.addErrback(lambda _: None)
        gone.cancel()
        cluster.run_for(0.8)
        assert all(isinstance(outcome(write), Timeout) for write in writes)
        assert leader.replica.status().proposals_waiting == 0
        reads = [leader.replica.read_barrier(5.0) for _ in range(3)]
        assert isinstance(outcome(leader.replica.read_barrier(5.0)), Overloaded)
        for read in reads:
            assert cluster.result(read) is None
        assert leader.replica.status().reads_waiting == 0

    def test_without_log_space_a_write_gets_no_index(self, outcome: Outcome) -> None:
        """It is refused definitely, reads go on, and with space so do writes [R18]."""
        cluster, leader = started("a")
        last = leader.replica.status().raft.last
        leader.host.fill(full=True)
        assert isinstance(outcome(leader.database.execute(Put(((b"k", b"v"),)))), Overloaded)
        assert leader.replica.status().raft.last == last
        assert cluster.result(leader.database.query(Get(b"k"), Level.CONSISTENT)) is None
        leader.host.fill(full=False)
        assert isinstance(cluster.result(leader.database.execute(Put(((b"k", b"v"),)))), PutResult)

    def test_without_log_space_leadership_moves_on(self, outcome: Outcome) -> None:
        """Somebody else may have room; the full node goes on voting."""
        cluster, full = started()
        full.host.fill(full=True)
        assert isinstance(outcome(full.database.execute(Put(((b"k", b"v"),)))), Overloaded)
        cluster.run_while(lambda: cluster.leader in {full, None}, limit_s=1.0)
        cluster.put(b"k", b"v", limit_s=0.5)
        cluster.run_for(1.0)
        assert full.replica.applied < cluster.leader.replica.applied  # type: ignore[union-attr]  # there is one
        full.host.fill(full=False)
        cluster.converge(limit_s=1.0)

    def test_a_follower_without_log_space_says_so(self) -> None:
        """Only while it lasts, and the leader knows of it with the next heartbeat [R6]."""
        cluster, leader = started()
        poor, good = (node for node in cluster.nodes.values() if node is not leader)
        poor.host.fill(full=True)
        cluster.put(b"k", b"v")
        known = leader.replica.status
        assert not known().raft.peers[poor.member].full
        cluster.run_for(1.0)
        assert known().raft.peers[poor.member].full
        assert not known().raft.peers[good.member].full
        poor.host.fill(full=False)
        cluster.run_for(0.5)
        assert not known().raft.peers[poor.member].full


class TestStopping:
    """A stop answers what is in flight and leaves the storage alone afterwards."""

    def test_takes_nothing_new(self, outcome: Outcome) -> None:
        """Refused, so that the client may go elsewhere."""
        _, leader = started()
        leader.replica.stop()
        assert isinstance(outcome(leader.database.execute(Put(((b"k", b"v"),)))), ShuttingDown)
        assert isinstance(outcome(leader.replica.read_barrier(1.0)), ShuttingDown)

    def test_answers_what_is_in_flight(self, outcome: Outcome) -> None:
        """Within the grace an accepted write gets its result."""
        cluster, leader = started()
        written = leader.database.execute(Put(((b"k", b"v"),)))
        stopped = leader.replica.stop(grace_s=1.0)
        cluster.result(stopped, limit_s=0.5)
        assert isinstance(outcome(written), PutResult)

    def test_ends_the_rest_as_unknown(self, outcome: Outcome) -> None:
        """What a quorum has not answered by then may still happen."""
        cluster, leader = started()
        cluster.network.isolate(leader.name)
        written = leader.database.execute(Put(((b"k", b"v"),)))
        cluster.result(leader.replica.stop(grace_s=0.2), limit_s=0.3)
        assert isinstance(outcome(written), LeadershipLost)

    def test_waits_for_the_save_in_hand(self, outcome: Outcome) -> None:
        """The storage is not closed under a write; and nothing is acknowledged after the end."""
        cluster, leader = started("a")
        leader.host.hangs = True
        written = leader.database.execute(Put(((b"k", b"v"),)))
        cluster.run_for(0.01)
        stopped = leader.replica.stop()
        cluster.run_for(1.0)
        assert outcome(stopped) == "pending"
        leader.host.hangs = False
        cluster.result(stopped)
        assert isinstance(outcome(written), LeadershipLost)
        leader.hash_check_duty.stop()  # it is the node's
        assert cluster.clock.calls() == []
