"""Replicas that have come to differ are found out by each other, and people are told (promise 20)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from raftdb.errors import RemoteProtocolError
from raftdb.kv.commands import Put
from raftdb.machine import Attestation, Machine, encode_attestation
from raftdb.machine.comparison import CHECKPOINTS_KEPT, Comparison, decode_attestation
from raftdb.raft.types import MemberID
from raftdb.simulation.cluster import Cluster
from raftdb.simulation.node import CHECKPOINT_INTERVAL

ANNA = MemberID("anna", 7)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the log tells as critical."""
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        if event["log_level"].name == "critical":
            lines.append(formatEvent(event))

    observer = cast("ILogObserver", note)
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


@pytest.fixture
def cluster() -> Cluster:
    """Three nodes with a leader."""
    cluster = Cluster(20)
    cluster.boot()
    cluster.await_leader()
    return cluster


def write(cluster: Cluster, count: int) -> None:
    """Bring all nodes past some checkpoints and the comparisons that follow."""
    for n in range(count):
        cluster.put(b"%d" % n, b"v")
    cluster.run_for(1.0)
    cluster.converge()


class TestReplicasThatAreTheSame:
    """They find so, and go on."""

    def test_agree_at_the_newest_checkpoint(self, cluster: Cluster, told: list[str]) -> None:
        """Every node says up to where it was compared."""
        write(cluster, 3 * CHECKPOINT_INTERVAL)
        for node in cluster.nodes.values():
            comparison = node.machine.comparison
            assert comparison.agreed_index >= 3 * CHECKPOINT_INTERVAL
            assert comparison.difference is None
        assert told == []

    def test_are_compared_once(self, cluster: Cluster) -> None:
        """A cluster without writes compares nothing more: its log stands still."""
        write(cluster, CHECKPOINT_INTERVAL)
        assert cluster.leader is not None
        before = cluster.leader.replica.applied
        cluster.run_for(10.0)
        assert cluster.leader.replica.applied == before


class TestAReplicaThatDiffers:
    """One that applied something else is found at the next checkpoint."""

    def test_is_told_of_itself(
        self, cluster: Cluster, told: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With both hashes, the index, and whose word stands against its own; once."""
        wrong = cluster.followers[0]
        # As a bug that depends on the machine would: this replica alone has one more key.
        wrong.machine.kv.apply(Put(((b"odd", b"one"),)))
        monkeypatch.setattr(cluster, "check", lambda _: None)  # it would find it first
        write(cluster, 3 * CHECKPOINT_INTERVAL)
        assert cluster.leader is not None
        difference = wrong.machine.comparison.difference
        assert difference is not None
        assert difference.index in range(0, 4 * CHECKPOINT_INTERVAL, CHECKPOINT_INTERVAL)
        assert difference.ours != difference.theirs
        assert difference.witness == cluster.leader.member
        assert len(told) == 1
        assert f"the state of {wrong.member} hashes to {difference.ours:032x}" in told[0]
        right = [node for node in cluster.nodes.values() if node is not wrong]
        assert [node.machine.comparison.difference for node in right] == [None, None]

    def test_changes_nothing_that_is_replicated(self, cluster: Cluster) -> None:
        """Who finds a difference has the same state afterwards as who does not."""
        leader = cluster.leader
        assert leader is not None
        write(cluster, CHECKPOINT_INTERVAL)
        body = encode_attestation(Attestation(CHECKPOINT_INTERVAL, 1, ANNA))
        cluster.result(leader.database._propose(Machine.COMPARISON, body, None, 5.0))  # a liar
        write(cluster, 1)
        for node in cluster.nodes.values():
            assert node.machine.comparison.difference is not None
        assert len({node.machine.state_hash for node in cluster.nodes.values()}) == 1


class TestComparison:
    """Its arithmetic."""

    def test_what_is_no_longer_kept_is_not_compared(self) -> None:
        """A node far ahead of a late attestation neither agrees nor differs."""
        comparison = Comparison(interval=1)
        for index in range(1, CHECKPOINTS_KEPT + 2):
            comparison.keep(index, index)
        comparison.hear(Attestation(1, 77, ANNA))
        assert comparison.difference is None
        assert comparison.agreed_index == 0
        comparison.hear(Attestation(2, 77, ANNA))
        assert comparison.difference is not None

    def test_the_first_difference_stays(self) -> None:
        """It is nearest to the cause."""
        comparison = Comparison(interval=1)
        comparison.keep(1, 10)
        comparison.keep(2, 20)
        comparison.hear(Attestation(1, 11, ANNA))
        comparison.hear(Attestation(2, 21, ANNA))
        assert comparison.difference is not None
        assert comparison.difference.index == 1

    def test_a_attestation_survives_its_bytes(self) -> None:
        """And a golden vector of format 1."""
        attestation = Attestation(2_048, 2**128 - 1, ANNA)
        assert decode_attestation(encode_attestation(attestation)) == attestation
        assert encode_attestation(attestation).hex().startswith("010000000000000800" + "ff" * 16)

    @pytest.mark.parametrize("body", [b"", b"\x01" * 24, b"\x02" + bytes(60), b"\x01" + bytes(24)])
    def test_a_attestation_that_cannot_be_read(self, body: bytes) -> None:
        """Is refused by name; the machine stops the node as for every unknown command."""
        with pytest.raises(RemoteProtocolError):
            decode_attestation(body)
