"""Clocks of simulated nodes: each has a rate and an origin of its own, and stands still in a pause."""

from __future__ import annotations

import pytest
from twisted.internet.error import AlreadyCancelled

from raftdb.simulation.clock import NodeClock, SimulationClock, UnwatchedClock
from raftdb.simulation.nodes.cluster import Cluster


def _clocks(rate: float) -> tuple[SimulationClock, NodeClock]:
    clock = SimulationClock()
    return clock, NodeClock(clock, rate=rate)


class TestRates:
    """What a node schedules comes when its own clock says so."""

    def test_a_fast_clock_calls_early(self) -> None:
        """1.1 of its seconds pass in one."""
        clock, node = _clocks(1.1)
        called: list[float] = []
        node.callLater(1.1, lambda: called.append(clock.seconds()))
        clock.run_for(2.0)
        assert called == [1.0]

    def test_what_is_put_off_comes_by_the_same_clock(self) -> None:
        """A slow one."""
        clock, node = _clocks(0.5)
        called: list[float] = []
        call = node.callLater(0.1, lambda: called.append(clock.seconds()))
        call.reset(1.0)
        call.delay(0.5)
        clock.run_for(4.0)
        assert called == [3.0]

    def test_a_pause_is_as_long_for_all(self) -> None:
        """It is the world that goes on."""
        clock, node = _clocks(0.5)
        called: list[float] = []
        node.callLater(0.1, lambda: called.append(clock.seconds()))
        node.pause(1.0)
        clock.run_for(2.0)
        assert called == [1.0]

    def test_nodes_of_a_cluster_differ(self) -> None:
        """And a restarted node's clock begins anywhere."""
        cluster = Cluster(1, drift=0.1)
        cluster.boot()
        nodes = list(cluster.nodes.values())
        rates = [node.clock.rate for node in nodes]
        assert len(set(rates)) == len(rates)
        assert all(0.9 <= rate <= 1.1 for rate in rates)
        before = [node.clock.seconds() for node in nodes]
        cluster.run_for(1.0)
        for node, then, rate in zip(nodes, before, rates, strict=True):
            assert abs(node.clock.seconds() - then - rate) < 1e-6
        node = nodes[0]
        node.kill()
        node.boot()
        assert abs(node.clock.seconds() - before[0]) > 100

    def test_without_drift_all_show_the_same(self) -> None:
        """As tests of other things expect."""
        cluster = Cluster(1)
        cluster.boot()
        cluster.run_for(1.0)
        assert {node.clock.seconds() for node in cluster.nodes.values()} == {1.0}


class TestAPause:
    """What would have come in it comes after it."""

    def test_what_it_puts_off_can_still_be_cancelled(self) -> None:
        """A connection's timer that came in the pause of its node has not come for the connection."""
        clock, node = _clocks(1.0)
        called: list[float] = []
        unwatched = UnwatchedClock(clock, node)
        calls = [unwatched.callLater(0.1, lambda: called.append(clock.seconds())) for _ in "ab"]
        node.pause(1.0)
        clock.run_for(0.5)
        assert [call.active() for call in calls] == [True, True]
        calls[0].cancel()
        clock.run_for(1.0)
        assert called == [1.0]


class TestADeadNode:
    """Nothing happens on it ever again, and its own code need not know."""

    def test_may_cancel_what_ended_with_it(self) -> None:
        """A core that crashed is still halted, by code that holds the node's timers."""
        clock, node = _clocks(1.0)
        called: list[float] = []
        call = node.callLater(0.1, lambda: called.append(clock.seconds()))
        node.kill()
        call.cancel()
        clock.run_for(1.0)
        assert called == []

    def test_a_living_one_may_not_cancel_twice(self) -> None:
        """As on the reactor: who does that has lost count."""
        _, node = _clocks(1.0)
        call = node.callLater(0.1, lambda: None)
        call.cancel()
        with pytest.raises(AlreadyCancelled):
            call.cancel()
