"""What counts as evidence that a leader is gone, and how often a follower campaigns on it."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock

from raftdb.raft.types import Role
from raftdb.replica.failover import Failover
from raftdb.simulation.cores.network import Network, member

HEARTBEAT_S = 0.1
A, C = member("a"), member("c")


class Bench:
    """The follower b of the leader a, alone with its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.network = Network(3)
        self.network.elect("a")
        self.network.run(3)
        self.node = self.network["b"]
        self.campaigns = 0
        self.failover = Failover(
            self.clock,
            self.node,
            rng=Random(1),
            heartbeat_s=HEARTBEAT_S,
            campaign=self._campaign,
        )

    def _campaign(self) -> None:
        self.campaigns += 1

    @property
    def idle(self) -> bool:
        return self.node.leader == A and not self.clock.getDelayedCalls()


class TestEvidence:
    """The connection from the leader ended, and its address refuses a new one [R10]."""

    def test_a_redial_that_was_not_refused_proves_nothing(self) -> None:
        """A broken link, or a machine that does not answer: the leader may have a quorum."""
        bench = Bench()
        bench.failover.link_lost(A, refused=False)
        assert bench.idle

    def test_another_members_death_proves_nothing(self) -> None:
        """Only the leader's counts."""
        bench = Bench()
        bench.failover.link_lost(C, refused=True)
        assert bench.idle

    def test_the_leaders_counts_at_once(self) -> None:
        """The own lease ends with it, the campaign comes within a heartbeat."""
        bench = Bench()
        bench.failover.link_lost(A, refused=True)
        assert bench.node.leader is None
        bench.clock.advance(HEARTBEAT_S)
        assert bench.campaigns == 1


class TestCampaigns:
    """One after the other, while there is no leader."""

    def test_what_was_refused_begins_anew(self) -> None:
        """Every one to two heartbeats: the others may not have noticed yet."""
        bench = Bench()
        bench.failover.link_lost(A, refused=True)
        bench.clock.pump([0.005] * 400)
        assert 2.0 / (2 * HEARTBEAT_S) - 1 <= bench.campaigns <= 2.0 / HEARTBEAT_S + 1

    def test_a_leader_ends_them(self) -> None:
        """Whoever it is."""
        bench = Bench()
        bench.failover.link_lost(A, refused=True)
        bench.network.run(3)  # a lives after all
        assert bench.node.leader == A
        bench.clock.pump([0.05] * 20)
        assert (bench.campaigns, bench.idle) == (0, True)

    def test_one_under_way_is_left_alone(self) -> None:
        """To begin again would forget the answers under way."""
        bench = Bench()
        bench.failover.link_lost(A, refused=True)
        bench.network.isolate("b")
        bench.network.campaign("b")
        assert bench.node.role is Role.PRE_CANDIDATE
        bench.clock.pump([0.05] * 20)
        assert bench.campaigns == 0
        assert len(bench.clock.getDelayedCalls()) == 1

    def test_evidence_that_comes_twice_is_one(self) -> None:
        """Two chains of campaigns would be twice as many."""
        bench = Bench()
        bench.failover.link_lost(A, refused=True)
        bench.network.run(3)
        bench.failover.link_lost(A, refused=True)
        assert len(bench.clock.getDelayedCalls()) == 1

    def test_a_stop_ends_them(self) -> None:
        """Also twice, also after the last one."""
        bench = Bench()
        bench.failover.stop()
        bench.failover.link_lost(A, refused=True)
        bench.failover.stop()
        bench.failover.stop()
        assert bench.clock.getDelayedCalls() == []
