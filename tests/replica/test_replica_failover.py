from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from twisted.internet.defer import Deferred

from raftdb.errors import InvalidRequest, NotLeader, ProposalDropped
from raftdb.raft.types import MemberID, Role
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.state.kv.commands import Put

Outcome: TypeAlias = Callable[[Deferred[Any]], object]
ELECTION_S = 0.4


def started(names: str = "abc", seed: int = 1, **more: Any) -> tuple[Cluster, SimulatedNode]:
    cluster = Cluster(seed, names, **more)
    cluster.boot()
    leader = cluster.await_leader()
    cluster.run_for(1.0)  # past the time in which voters remember nothing of a lease
    return cluster, leader


class TestALostLeader:
    """Writes go on within a second, and in milliseconds where the evidence is good [R10]."""

    @pytest.mark.parametrize("seed", range(30))
    def test_whose_port_is_closed_is_replaced_at_once(self, seed: int) -> None:
        """A refused redial is proof: no election timeout is waited for."""
        cluster, leader = started(seed=seed)
        leader.kill()
        start_s = cluster.clock.seconds()
        cluster.put(b"k", b"v", limit_s=0.3)
        assert cluster.clock.seconds() - start_s <= 0.3

    @pytest.mark.parametrize("seed", range(10))
    def test_of_five_is_replaced_at_once(self, seed: int) -> None:
        """Also where three have to notice."""
        cluster, leader = started("abcde", seed=seed)
        leader.kill()
        # Two of the four may campaign in the same instant, and one of them has to try again.
        cluster.put(b"k", b"v", limit_s=0.6)

    @pytest.mark.parametrize("seed", range(10))
    def test_that_just_falls_silent_is_replaced_within_a_second(self, seed: int) -> None:
        """Without evidence the election timeout decides."""
        cluster, leader = started(seed=seed, fast_failover=False)
        leader.kill()
        cluster.put(b"k", b"v", limit_s=1.0)

    def test_is_not_given_up_for_a_broken_link(self) -> None:
        """A lost connection whose address still answers, or times out, proves nothing."""
        cluster, leader = started()
        term = leader.replica.term
        for follower in cluster.followers:
            follower.replica.link_lost(leader.member, refused=False)
        cluster.run_for(2.0)
        assert cluster.leader is leader
        assert leader.replica.term == term

    def test_is_not_given_up_for_another_members_death(self) -> None:
        """Only the leader's port counts."""
        cluster, leader = started("abcde")
        term = leader.replica.term
        cluster.followers[0].kill()
        cluster.run_for(2.0)
        assert cluster.leader is leader
        assert leader.replica.term == term

    def test_is_not_deposed_by_one_who_wrongly_believes_it_dead(self) -> None:
        """The others still hear it and do not vote; its next message ends the campaign."""
        cluster, leader = started()
        term = leader.replica.term
        cluster.followers[0].replica.link_lost(leader.member, refused=True)
        cluster.run_for(2.0)
        assert cluster.leader is leader
        assert leader.replica.term == term

    def test_that_returns_causes_no_election(self) -> None:
        """It finds the new leader and follows."""
        cluster, old = started()
        old.kill()
        cluster.put(b"k", b"v")
        new = cluster.leader
        assert new is not None
        term = new.replica.term
        old.boot()
        cluster.run_for(3.0)
        assert cluster.leader is new
        assert new.replica.term == term


class TestASlowDisk:
    """A leader whose disk hangs gives way [R6]."""

    @pytest.mark.parametrize("seed", range(5))
    def test_gives_leadership_away(self, seed: int) -> None:
        """Heartbeats that never wait for a disk would let it reign for ever."""
        cluster, leader = started(seed=seed)
        leader.host.hangs = True
        leader.database.execute(Put(((b"k", b"v"),))).addErrback(lambda _: None)
        cluster.run_while(lambda: cluster.leader in {leader, None}, limit_s=4 * ELECTION_S)
        cluster.put(b"k", b"v", limit_s=1.0)


class TestATransfer:
    """Leadership goes where it is sent, or stays."""

    def test_goes_to_the_named_member(self) -> None:
        """And writes go on there."""
        cluster, leader = started()
        to = cluster.followers[1]
        cluster.result(leader.replica.transfer_leadership(to.member, 1.0), limit_s=0.2)
        assert cluster.leader is to
        cluster.put(b"k", b"v", limit_s=0.1)

    def test_finds_a_successor_by_itself(self) -> None:
        """The voter in contact with the longest log."""
        cluster, leader = started()
        laggard, other = cluster.followers
        cluster.network.isolate(laggard.name)
        cluster.put(b"k", b"v")
        cluster.network.mend()
        cluster.result(leader.replica.transfer_leadership(None, 1.0), limit_s=0.3)
        assert cluster.leader in {laggard, other}

    def test_to_a_dead_member_is_given_up(self) -> None:
        """The leader leads on, and says so."""
        cluster, leader = started(fast_failover=False)
        dead = cluster.followers[0]
        dead.kill()
        with pytest.raises(ProposalDropped, match="still leads"):
            cluster.result(leader.replica.transfer_leadership(dead.member, 5.0), limit_s=1.0)
        cluster.put(b"k", b"v", limit_s=0.2)

    def test_alone_has_nowhere_to_go(self) -> None:
        """A cluster of one is told at once."""
        cluster, leader = started("a")
        with pytest.raises(ProposalDropped, match="no other voter"):
            cluster.result(leader.replica.transfer_leadership(None, 1.0))

    def test_by_a_follower_is_refused(self) -> None:
        """It has nothing to hand over."""
        cluster, leader = started()
        follower = cluster.followers[0]
        with pytest.raises(NotLeader):
            cluster.result(follower.replica.transfer_leadership(leader.member, 1.0))

    def test_to_a_stranger_is_refused(self) -> None:
        """Who does not vote cannot lead."""
        cluster, leader = started()
        with pytest.raises(InvalidRequest):
            cluster.result(leader.replica.transfer_leadership(MemberID("nobody", 1), 1.0))


class TestATimeStep:
    """The wall clock decides nothing."""

    def test_of_a_day_changes_nothing(self) -> None:
        """It may step back and forth; the replicated time never goes back."""
        cluster, leader = started()
        term = leader.replica.term
        times = []
        for step_ms in (0, 86_400_000, -86_400_000, 3_600_000, -3_600_000):
            cluster.wall_steps_ms[leader.name] = step_ms
            cluster.put(b"k", b"v", limit_s=0.1)
            times.append(leader.machine.time_ms)
            cluster.run_for(0.5)
        assert leader.replica.role is Role.LEADER
        assert leader.replica.term == term
        assert times == sorted(times)


class TestAPartition:
    """What is cut off gives way, what is whole goes on, what heals is one again."""

    def test_deposes_a_leader_without_a_quorum_within_two_timeouts(self) -> None:
        """CheckQuorum; until then nothing it says is wrong."""
        cluster, leader = started()
        cluster.network.isolate(leader.name)
        waited_s = cluster.run_while(lambda: leader.replica.role is Role.LEADER, limit_s=2.0)
        assert waited_s <= 2 * ELECTION_S

    @pytest.mark.parametrize("seed", range(5))
    def test_that_heals_lets_all_write_again_within_a_second(self, seed: int) -> None:
        """Nobody's majority, then everybody's."""
        cluster, _ = started(seed=seed)
        cluster.network.isolate("a")
        cluster.network.isolate("b")
        cluster.run_for(3.0)
        cluster.network.mend()
        cluster.put(b"k", b"v", limit_s=1.0)

    def test_one_way_cannot_stop_a_connected_quorum(self) -> None:
        """A follower that the leader cannot hear, and one that cannot hear the leader."""
        cluster, leader = started("abcde")
        deaf, mute = cluster.followers[:2]
        cluster.network.cut(leader.name, deaf.name)
        cluster.network.cut(mute.name, leader.name)
        cluster.run_for(3.0)
        cluster.put(b"k", b"v", limit_s=1.0)
