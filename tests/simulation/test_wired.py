"""Wired clusters: nodes come, go, move and are copied, over bytes, by production's own ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from raftdb.raft.types import MemberID
from raftdb.replica import ReplicaOptions
from raftdb.simulation.faults.operators import Operators
from raftdb.simulation.nodes.joiner import JoiningNode
from raftdb.simulation.nodes.wired import WiredCluster
from raftdb.simulation.nodes.wired_node import WiredNode
from raftdb.simulation.run import wired_disruption
from raftdb.simulation.run.plan import draw

ROOT = Path(wired_disruption.__file__).parents[3]


@pytest.fixture
def cluster() -> WiredCluster:
    """Three connected nodes, one of which leads."""
    cluster = WiredCluster(1, "abc", durable=True)
    cluster.boot()
    cluster.await_leader()
    cluster.put(b"key", b"value")
    cluster.run_for(0.5)
    return cluster


@pytest.fixture
def alarms() -> Iterator[list[LogEvent]]:
    """What is logged for somebody who has to act."""
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.critical:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def leader(cluster: WiredCluster) -> WiredNode:
    found = cluster.await_leader()
    assert isinstance(found, WiredNode)
    return found


def follower(cluster: WiredCluster) -> WiredNode:
    return next(node for node in cluster.nodes.values() if node is not cluster.leader)


def voters(cluster: WiredCluster) -> tuple[MemberID, ...]:
    return leader(cluster).replica.core.conf_state.voters


class TestComingAndGoing:
    """As an operator does it: start with ``--join``, remove, wipe, move."""

    def test_a_newcomer_learns_and_then_votes(self, cluster: WiredCluster) -> None:
        """From an empty disk to a vote, with all that was written before."""
        cluster.invite(MemberID("new", 7))
        cluster.run_for(2)
        node = cluster.nodes["new"]
        assert node.member in voters(cluster)
        kept = node.machine.kv.get(b"key")
        assert kept is not None
        assert kept.value == b"value"

    def test_a_snapshot_brings_it_what_the_log_has_lost(self) -> None:
        """Streamed in chunks by the production sender."""
        cluster = WiredCluster(2, "abc", durable=True, options=ReplicaOptions(snapshot_entries=5))
        cluster.boot()
        for number in range(30):
            cluster.put(b"key", b"%d" % number)
        assert leader(cluster).replica.core.state.log.first_index > 5
        cluster.invite(MemberID("new", 7))
        cluster.run_for(2)
        assert cluster.nodes["new"].machine.state_hash == leader(cluster).machine.state_hash

    def test_who_is_removed_is_told_and_ends(self, cluster: WiredCluster) -> None:
        """Also when it is started again with its old disk."""
        node = follower(cluster)
        cluster.result(leader(cluster).membership.remove(node.name))
        cluster.run_for(1)
        assert node.ended_removed
        node.is_lost = False
        node.boot()
        cluster.run_for(1)
        assert node.ended_removed
        assert node.boots == 2
        assert node.member not in voters(cluster)

    def test_who_was_away_is_told_when_it_comes_back(self, cluster: WiredCluster) -> None:
        """Its own table says that it is a member; its peers know better."""
        node = follower(cluster)
        node.kill()
        cluster.run_for(2)
        cluster.result(leader(cluster).membership.remove(node.name))
        node.boot()
        cluster.run_for(1)
        assert node.ended_removed

    def test_a_wiped_disk_comes_back_as_somebody_else(self, cluster: WiredCluster) -> None:
        """The new incarnation takes the old one's place, and its vote only when it has caught up."""
        old = follower(cluster)
        cluster.wipe(old.name)
        cluster.run_for(6)
        new = cluster.nodes[old.name]
        assert new.member.id == old.member.id
        assert new.member in voters(cluster)
        assert old.member not in voters(cluster)

    def test_a_node_that_moves_is_found_again(self, cluster: WiredCluster) -> None:
        """It says where it lives; everybody's table does soon."""
        node = follower(cluster)
        node.kill()
        node.port += 1
        node.boot()
        cluster.run_for(3)
        for other in cluster.nodes.values():
            assert other.machine.members.get(node.member) == node.record

    @pytest.mark.parametrize("seed", range(4))
    def test_two_that_move_one_after_the_other_find_each_other(self, seed: int) -> None:
        """The second forgets what it applied last: the first one's address stands in its log alone."""
        cluster = WiredCluster(seed, "ab", durable=True)
        cluster.boot()
        first = follower(cluster)
        cluster.put(b"key", b"value")
        first.kill()
        first.port += 1
        first.boot()
        second = leader(cluster)
        cluster.run_while(lambda: second.machine.members.get(first.member) != first.record)
        second.kill()
        second.port += 1
        second.boot()
        cluster.put(b"key", b"after")

    def test_a_newcomer_that_died_early_comes_as_somebody_else(self, cluster: WiredCluster) -> None:
        """It was taken in before its identity was written; the next start replaces it."""
        cluster.invite(MemberID("new", 7))
        cluster.run_while(
            lambda: MemberID("new", 7) not in leader(cluster).machine.members.conf_state.members
        )
        cluster.newcomers.pop("new").kill()
        cluster.invite(MemberID("new", 8))
        cluster.run_for(5)
        names = [member for member in voters(cluster) if member.id == "new"]
        assert names == [MemberID("new", 8)]


class TestWhoIsWaitedFor:
    """Whoever can find a living member is to be told or taken in; who knows the dead alone cannot be."""

    @staticmethod
    def _removed_while_away() -> tuple[WiredCluster, WiredNode, WiredNode]:
        """Return five nodes, one that was removed and is down, and a member that lives where it knows.

        All other members have moved.
        """
        cluster = WiredCluster(1, "abcde", durable=True)
        cluster.boot()
        gone = follower(cluster)
        gone.kill()
        cluster.run_for(2)
        cluster.result(leader(cluster).membership.remove(gone.name))
        stays = next(one for one in cluster.nodes.values() if one not in {cluster.leader, gone})
        for node in cluster.nodes.values():
            if node not in {gone, stays}:
                node.kill()
                node.port += 1
                node.boot()
                cluster.run_for(3)
        return cluster, gone, stays

    @staticmethod
    def _is_waited_for_and_told(cluster: WiredCluster, gone: WiredNode) -> None:
        """Start who was removed: that is unsettled until it has heard of it."""
        operators = Operators(cluster, Random(1))
        gone.boot()
        cluster.run_while(lambda: gone.is_up and operators.unsettled() is None)
        assert operators.unsettled() == f"{gone.name} was removed and not told"
        cluster.run_for(1)
        assert gone.ended_removed
        assert operators.unsettled() is None

    def test_the_removed_where_it_knows_one_that_lives(self) -> None:
        """And it is told."""
        cluster, gone, _ = self._removed_while_away()
        self._is_waited_for_and_told(cluster, gone)

    def test_not_where_that_one_is_lost(self) -> None:
        """It is a member until it is removed, and tells nobody anything (seed 9000623)."""
        cluster, gone, stays = self._removed_while_away()
        stays.kill()
        stays.is_lost = True
        gone.boot()
        cluster.run_for(3)
        assert gone.is_up
        assert stays.member in voters(cluster)
        assert Operators(cluster, Random(1)).unsettled() is None

    def test_the_removed_where_somebody_new_lives_at_an_address_that_it_knows(self) -> None:
        """It dials whose disk was wiped, and the next incarnation tells it."""
        cluster, gone, stays = self._removed_while_away()
        cluster.wipe(stays.name)
        cluster.run_for(6)
        self._is_waited_for_and_told(cluster, gone)

    def test_a_newcomer_where_it_asks_one_that_lives(self, cluster: WiredCluster) -> None:
        """The same of members that are lost."""
        lost, lives = follower(cluster), leader(cluster)
        lost.kill()
        lost.is_lost = True
        asks = [node.record.http_address for node in (lost, lives)]
        assert JoiningNode(cluster, MemberID("new", 7), asks).can_ask(voters(cluster))
        assert not JoiningNode(cluster, MemberID("new", 7), asks[:1]).can_ask(voters(cluster))


class TestACopiedDisk:
    """One identity, two processes: never two votes [R29]."""

    def test_beside_the_living_it_is_refused(
        self, cluster: WiredCluster, alarms: list[LogEvent]
    ) -> None:
        """By everybody, through an election, and somebody is called."""
        wired_disruption.check_copy_of_the_living(cluster, follower(cluster))
        assert any("a data directory was copied" in str(event["what"]) for event in alarms)

    def test_the_leaders_too(self, cluster: WiredCluster) -> None:
        """It leads on beside its copy."""
        wired_disruption.check_copy_of_the_living(cluster, leader(cluster))

    def test_in_place_of_the_dead_it_goes_on(
        self, cluster: WiredCluster, alarms: list[LogEvent]
    ) -> None:
        """And then the first process is the one that is refused."""
        moved = wired_disruption.check_copy_of_the_dead(cluster, follower(cluster))
        cluster.put(b"key", b"afterwards")
        cluster.run_for(0.5)
        kept = moved.machine.kv.get(b"key")
        assert kept is not None
        assert kept.value == b"afterwards"
        assert alarms


class TestASeed:
    """Wired seeds are replayed as exactly as the others."""

    def test_is_the_same_in_every_process(self) -> None:
        """All events, byte for byte, whatever the string hashes are [R26]."""
        plans = map(draw, count())
        plan = next(plan for plan in plans if plan.copied and plan.reconfigure)
        assert plan.wired
        told = [_run(hash_seed, plan.seed) for hash_seed in ("1", "2")]
        assert told[0] == told[1]
        assert "all promises kept" in told[0]


def _run(hash_seed: str, seed: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "raftdb.simulation", "--seed", str(seed), "--events"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout
