from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest
from twisted.internet.defer import Deferred

from raftdb.database import Level
from raftdb.errors import NoLeader, NotLeader
from raftdb.raft.messages import Heartbeat, Message, ReadIndex
from raftdb.raft.types import Role
from raftdb.simulation.network.datagrams import Datagrams
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.state.kv.commands import Put
from raftdb.state.kv.reads import Get

Outcome: TypeAlias = Callable[[Deferred[Any]], object]
ELECTION_S = 0.4


def started(names: str = "abc", seed: int = 1) -> tuple[Cluster, SimulatedNode]:
    cluster = Cluster(seed, names)
    cluster.boot()
    return cluster, cluster.await_leader()


def value(found: Any) -> bytes | None:
    return None if found is None else found.value


class TestAConsistentRead:
    """It shows everything that was acknowledged before it was asked for, on every node."""

    @pytest.mark.parametrize("place", [0, 1])
    def test_on_a_follower_shows_the_newest(self, place: int) -> None:
        """The follower asks for the index and answers from its own store."""
        cluster, _ = started()
        follower = cluster.followers[place]
        for number in range(20):
            cluster.put(b"k", b"%d" % number)
            read = cluster.result(follower.database.query(Get(b"k"), Level.CONSISTENT))
            assert value(read) == b"%d" % number

    def test_waits_for_the_own_state_to_catch_up(self, outcome: Outcome) -> None:
        """A confirmed index that is not applied here shows nothing."""
        cluster, leader = started()
        follower = cluster.followers[0]
        follower.host.hangs = True
        cluster.put(b"k", b"new")
        read = follower.database.query(Get(b"k"), Level.CONSISTENT)
        cluster.run_for(0.1)
        assert outcome(read) == "pending"
        follower.host.hangs = False
        assert value(cluster.result(read)) == b"new"
        assert leader is cluster.leader

    def test_shares_its_round_with_all_reads_of_the_turn(self) -> None:
        """A hundred readers cost what one costs."""
        cluster, _ = started()
        follower = cluster.followers[0]
        asked: list[Message] = []

        def note(message: Message) -> None:
            if isinstance(message, ReadIndex):
                asked.append(message)

        cluster.network.watch = note
        reads = [follower.database.query(Get(b"k"), Level.CONSISTENT) for _ in range(100)]
        for read in reads:
            cluster.result(read)
        assert len(asked) == 1

    def test_is_asked_again_when_it_got_lost(self) -> None:
        """A lost message costs an election timeout, not the request."""
        cluster, leader = started()
        follower = cluster.followers[0]
        cluster.network.cut(follower.name, leader.name)
        read = follower.database.query(Get(b"k"), Level.CONSISTENT)
        cluster.run_for(0.1)
        cluster.network.mend()
        cluster.result(read, limit_s=ELECTION_S + 0.05)

    def test_goes_to_the_next_leader_when_its_own_dies(self) -> None:
        """As soon as there is one, not only after the patience."""
        cluster, leader = started(seed=3)
        cluster.run_for(1.0)  # until the voters' quarantine after their start is over
        follower = cluster.followers[0]
        cluster.network.cut(leader.name, follower.name)
        read = follower.database.query(Get(b"k"), Level.CONSISTENT)
        cluster.run_for(0.02)
        cluster.network.mend()
        leader.kill()
        cluster.result(read, limit_s=ELECTION_S - 0.05)

    def test_is_never_answered_by_a_leader_that_is_cut_off(self, outcome: Outcome) -> None:
        """It may have a successor whose writes it does not know."""
        cluster, old = started()
        cluster.network.isolate(old.name)
        read = old.database.query(Get(b"k"), Level.CONSISTENT, timeout_s=10.0)
        cluster.run_for(ELECTION_S / 2)
        assert outcome(read) == "pending"
        cluster.run_while(lambda: old.replica.role is Role.LEADER)
        assert isinstance(outcome(read), NoLeader), "refused when it leads no more"

    def test_on_a_follower_that_is_cut_off_is_refused_after_two_election_timeouts(
        self, outcome: Outcome
    ) -> None:
        """One may pass until somebody is elected; to wait for the deadline helps nobody."""
        cluster, _ = started()
        follower = cluster.followers[0]
        cluster.network.isolate(follower.name)
        read = follower.database.query(Get(b"k"), Level.CONSISTENT, timeout_s=10.0)
        cluster.run_while(lambda: follower.replica.leader is not None)
        cluster.run_for(2 * ELECTION_S - 0.05)
        assert outcome(read) == "pending"
        cluster.run_for(0.15)
        assert isinstance(outcome(read), NoLeader)

    def test_outlives_an_orderly_change_of_leaders(self) -> None:
        """Whoever hands over knows of no leader for a moment, and asks the next one."""
        cluster, old = started()
        cluster.run_for(1.0)
        reads: list[object] = []

        def ask() -> None:
            read = old.database.query(Get(b"k"), Level.CONSISTENT)
            read.addBoth(reads.append)

        old.replica.transfer_leadership(None, 1.0).addErrback(lambda _: None)
        old.clock.callLater(0.0005, ask)
        cluster.run_while(lambda: not reads)
        assert reads == [None]

    def test_without_a_leader_is_refused(self, outcome: Outcome) -> None:
        """At once."""
        cluster, leader = started("ab")
        leader.kill()
        cluster.run_for(2.0)
        (other,) = cluster.followers
        read = other.database.query(Get(b"k"), Level.CONSISTENT)
        cluster.run_for(0.001)
        assert isinstance(outcome(read), NoLeader)


class TestADefaultRead:
    """It comes from the leader's own store, and is at most T old [R13]."""

    def test_is_answered_at_once_under_the_lease(self, outcome: Outcome) -> None:
        """No round trip."""
        cluster, leader = started()
        cluster.put(b"k", b"v")
        assert value(outcome(leader.database.query(Get(b"k")))) == b"v"

    def test_is_not_answered_from_a_lease_older_than_its_bound(self, outcome: Outcome) -> None:
        """A leader that was cut off for T asks before it answers, though it leads on."""
        cluster, old = started()
        cluster.network.isolate(old.name)
        cluster.run_for(ELECTION_S - 0.2)
        assert old.replica.lease_fresh()
        cluster.run_for(0.21)
        assert not old.replica.lease_fresh()
        assert outcome(old.database.query(Get(b"k"))) == "pending"

    def test_after_a_pause_is_judged_by_the_time_of_answering(self) -> None:
        """A process that stood still must not answer by what the clock said before."""
        cluster, leader = started()
        assert leader.replica.lease_fresh()
        leader.pause(5.0)
        cluster.clock.run_for(4.999)
        assert not leader.replica.lease_fresh()

    def test_is_not_answered_from_a_lease_that_ended_while_the_machine_slept(self) -> None:
        """CLOCK_MONOTONIC stands still in a suspended machine; leases go by one that does not."""
        cluster, leader = started()
        assert leader.replica.lease_fresh()
        before_s = cluster.monotonic_s(leader)
        leader.suspend(30.0)
        cluster.clock.run_for(29.999)
        assert cluster.monotonic_s(leader) == pytest.approx(before_s)
        assert not leader.replica.lease_fresh()

    def test_is_not_answered_after_the_wall_clock_jumped_ahead(self) -> None:
        """A hypervisor may hide a pause from every other clock; back again means nothing."""
        cluster, leader = started()
        cluster.wall_steps_ms[leader.name] = -3_600_000
        assert leader.replica.lease_fresh()
        cluster.run_for(0.2)
        cluster.wall_steps_ms[leader.name] += 401
        assert not leader.replica.lease_fresh()
        cluster.run_for(0.15)
        assert leader.replica.lease_fresh()
        cluster.wall_steps_ms[leader.name] -= 10_000
        assert leader.replica.lease_fresh()
        cluster.network.isolate(leader.name)
        cluster.run_for(ELECTION_S + 0.05)
        assert not leader.replica.lease_fresh()

    def test_counts_the_time_that_sending_took(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A round is stamped before it is sent: whoever answers it may have done so meanwhile."""
        cluster, leader = started()
        cluster.run_for(1.025)  # into the middle of a tick: no round is under way
        spent_s = dict.fromkeys(cluster.nodes, 0.0)
        monkeypatch.setattr(
            cluster, "reactor_s", lambda node: cluster.boottime_s(node) + spent_s[node.name]
        )
        datagrams = cluster.network
        assert isinstance(datagrams, Datagrams)
        send = datagrams.send

        def slowly(messages: Sequence[Message]) -> None:
            send(messages)
            if isinstance(messages[0], Heartbeat):
                spent_s[leader.name] += 0.15

        monkeypatch.setattr(datagrams, "send", slowly)
        core = leader.replica.core
        for _ in range(3):
            before = core.round_acknowledged
            cluster.run_while(lambda before=before: core.round_acknowledged == before)  # type: ignore[misc]  # its default is its memory
            age_s = leader.replica.leader_contact_age_s
            assert age_s is not None
            assert age_s >= 0.15

    def test_waits_for_an_entry_of_the_own_term(self) -> None:
        """A new leader does not know yet what its predecessor acknowledged."""
        cluster, old = started(seed=4)
        old.kill()
        cluster.run_while(lambda: cluster.leader is None)
        new = cluster.leader
        assert new is not None
        for node in cluster.nodes.values():
            node.host.hangs = True
        cluster.run_for(0.2)
        assert new.replica.core.round_acknowledged > 0
        assert not new.replica.lease_fresh()

    def test_on_a_follower_is_refused_or_asks(self, outcome: Outcome) -> None:
        """With ``leader_only`` it names the leader, without it asks for the index."""
        cluster, _ = started()
        cluster.put(b"k", b"v")
        follower = cluster.followers[0]
        assert isinstance(outcome(follower.database.query(Get(b"k"), leader_only=True)), NotLeader)
        assert value(cluster.result(follower.database.query(Get(b"k")))) == b"v"


class TestAStaleRead:
    """It needs nobody."""

    def test_is_answered_without_a_leader(self, outcome: Outcome) -> None:
        """From what was applied here."""
        cluster, _ = started()
        cluster.put(b"k", b"v")
        cluster.converge()
        survivor = cluster.followers[0]
        for node in cluster.nodes.values():
            if node is not survivor:
                node.kill()
        cluster.run_for(3.0)
        assert value(outcome(survivor.database.query(Get(b"k"), Level.STALE))) == b"v"

    def test_shows_nothing_uncommitted(self, outcome: Outcome) -> None:
        """What only the leader has is not shown by it either."""
        cluster, leader = started()
        cluster.network.isolate(leader.name)
        leader.database.execute(Put(((b"k", b"v"),))).addErrback(lambda _: None)
        cluster.run_for(0.1)
        assert outcome(leader.database.query(Get(b"k"), Level.STALE)) is None


class TestWhereANodeStands:
    """Every answer can say how old it may be."""

    def test_a_follower_counts_from_its_leaders_last_message(self) -> None:
        """A heartbeat's interval at most, and growing while it is cut off."""
        cluster, leader = started()
        cluster.run_for(1.0)
        follower = cluster.followers[0]
        position = follower.database.position()
        assert position.leader_id == leader.name
        assert follower.database.leader_http_address == f"{leader.name}.http:1"
        assert position.applied_index == leader.replica.applied
        assert position.leader_contact_age_s is not None
        assert position.leader_contact_age_s <= 0.11
        cluster.network.isolate(follower.name)
        cluster.run_for(3.0)
        age_s = follower.database.position().leader_contact_age_s
        assert age_s is not None
        assert age_s > 2.8

    def test_a_leader_counts_from_its_last_acknowledged_round(self) -> None:
        """One that is cut off does not look fresh."""
        cluster, leader = started()
        cluster.network.isolate(leader.name)
        cluster.run_for(0.35)
        age_s = leader.database.position().leader_contact_age_s
        assert age_s is not None
        assert age_s > 0.3

    def test_a_leader_that_lost_its_quorum_counts_from_its_own_last_round(self) -> None:
        """Not from the leader before it, which it heard long ago."""
        cluster, first = started()
        cluster.run_for(1.0)
        first.replica.transfer_leadership(None, 1.0).addErrback(lambda _: None)
        cluster.run_while(lambda: cluster.leader in {None, first})
        cluster.run_for(20.0)
        second = cluster.leader
        assert second is not None
        cluster.network.isolate(second.name)
        cluster.run_for(2.0)
        assert second.replica.role is not Role.LEADER
        age_s = second.database.position().leader_contact_age_s
        assert age_s is not None
        assert 1.8 < age_s < 2.2

    def test_the_largest_stall_is_kept(self) -> None:
        """What the event loop did not get round to shows in the status."""
        cluster, leader = started()
        leader.pause(0.2)
        cluster.run_for(1.0)
        assert 0.1 < leader.replica.status().stall_max_s <= 0.2
