"""Faults that wait for their moment: each moment comes, and what was to happen then happens."""

from __future__ import annotations

from random import Random

import pytest

from raftdb.replica import ReplicaOptions
from raftdb.simulation.faults.random_reconfiguration import RandomReconfiguration
from raftdb.simulation.faults.triggered import MOMENTS, TriggeredFault
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.simulation.run.workload import Client, Record


class TestMoments:
    """A cluster at work comes to each of them."""

    @pytest.mark.parametrize("moment", MOMENTS)
    def test_it_comes(self, moment: str) -> None:
        """Within two seconds, in which a leader is killed once; and then the node is dead."""
        cluster = Cluster(7, options=ReplicaOptions(snapshot_entries=10))
        killed: list[str] = []

        def kill(node: SimulatedNode) -> None:
            killed.append(node.name)
            node.kill()

        cluster.boot()
        leader = cluster.await_leader()
        TriggeredFault(cluster, Random(0)).wait(moment, "die", kill)
        for number in range(3):
            Client(cluster, number, Random(number), Record()).start()
        RandomReconfiguration(cluster, Random(0)).start()
        cluster.run_for(1.0)
        if not killed:
            leader.kill()
        cluster.run_for(1.0)
        assert len(killed) == 1

    def test_it_is_given_up(self) -> None:
        """Nobody dies of an ambush that was left."""
        cluster = Cluster(7)
        ambush = TriggeredFault(cluster, Random(0))
        ambush.lie("die", SimulatedNode.kill)
        ambush.leave()
        cluster.boot()
        cluster.await_leader()
        cluster.put(b"key", b"value")
        assert all(node.is_up for node in cluster.nodes.values())
