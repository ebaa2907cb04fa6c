"""Damage to synced data: a start notices each of it, and the simulator notices where one does not."""

from __future__ import annotations

import pytest

from raftdb.simulation.disk.damage import LogDamage
from raftdb.simulation.disk.host import DurableHost
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.storage import recovery

DAMAGES = (LogDamage.flip, LogDamage.misdirect, LogDamage.behead)


def _damaged(seed: int, act: object) -> SimulatedNode:
    """Return a node that was killed with a log of some length, and damaged."""
    assert callable(act)
    cluster = Cluster(seed, durable=True, events_kept=None)
    cluster.boot()
    node = cluster.await_leader()
    for number in range(5):
        cluster.put(b"key", b"%d" % number * 300)
    node.kill()
    assert isinstance(node.host, DurableHost)
    node.rotten = act(node.host.damage) is not None
    assert node.rotten
    return node


class TestDamage:
    """Every one is a reason not to start, found before a byte is changed."""

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("act", DAMAGES)
    def test_is_noticed(self, act: object, seed: int) -> None:
        """The node says where, and waits for somebody to look after it."""
        node = _damaged(seed, act)
        assert isinstance(node.host, DurableHost)
        before = node.host.disk.list("/data/wal")
        node.boot()
        assert node.is_lost
        assert not node.is_up
        assert node.host.disk.list("/data/wal") == before

    def test_a_start_all_the_same_is_a_broken_promise(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where every bad batch is taken for a torn write."""
        monkeypatch.setattr(recovery, "objection", lambda *_, **__: None)
        node = _damaged(1, LogDamage.misdirect)
        with pytest.raises(AssertionError, match="starts on a damaged log"):
            node.boot()

    def test_an_empty_log_has_nothing_to_misdirect(self) -> None:
        """The last batch is left alone: its loss looks like a torn write."""
        cluster = Cluster(1, durable=True)
        host = cluster.nodes["a"].host
        assert isinstance(host, DurableHost)
        assert host.damage.misdirect() is None

    def test_a_segment_that_nothing_tells_of_is_left_alone(self) -> None:
        """Its batches are the last ones; the loss of all of it looks like one that never was."""
        node = _damaged(1, LogDamage.flip)
        assert isinstance(node.host, DurableHost)
        assert node.host.damage.behead() is None
        cluster = Cluster(1, durable=True)
        host = cluster.nodes["a"].host
        assert isinstance(host, DurableHost)
        host.disk.rename("/data/wal/0000000000000001.begun", "/data/wal/elsewhere")
        assert host.damage.behead() is None
