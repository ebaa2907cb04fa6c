"""Replicas that have come to differ are found out by each other, and people are told (promise 20)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from raftdb.errors import RemoteProtocolError
from raftdb.raft.types import MemberID
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import CHECKPOINT_INTERVAL
from raftdb.state.hash_check import (
    CHECKPOINTS_KEPT,
    COMMANDS,
    HashCheck,
    StateHash,
)
from raftdb.state.kv.commands import Put
from raftdb.state.part import Context

NOW = Context(1, 0)

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
            hash_check = node.machine.hash_check
            assert hash_check.agreed_index >= 3 * CHECKPOINT_INTERVAL
            assert hash_check.difference is None
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
        wrong.machine.kv.apply(NOW, Put(((b"odd", b"one"),)))
        monkeypatch.setattr(cluster, "check", lambda _: None)  # it would find it first
        write(cluster, 3 * CHECKPOINT_INTERVAL)
        assert cluster.leader is not None
        difference = wrong.machine.hash_check.difference
        assert difference is not None
        assert difference.index in range(0, 4 * CHECKPOINT_INTERVAL, CHECKPOINT_INTERVAL)
        assert difference.ours != difference.theirs
        assert difference.witness == cluster.leader.member
        assert len(told) == 1
        assert f"the state of {wrong.member} hashes to {difference.ours:032x}" in told[0]
        right = [node for node in cluster.nodes.values() if node is not wrong]
        assert [node.machine.hash_check.difference for node in right] == [None, None]

    def test_changes_nothing_that_is_replicated(self, cluster: Cluster) -> None:
        """Who finds a difference has the same state afterwards as who does not."""
        leader = cluster.leader
        assert leader is not None
        write(cluster, CHECKPOINT_INTERVAL)
        liar = StateHash.of(CHECKPOINT_INTERVAL, 1, ANNA)
        cluster.result(leader.database.execute(liar))
        write(cluster, 1)
        for node in cluster.nodes.values():
            assert node.machine.hash_check.difference is not None
        assert len({node.machine.state_hash for node in cluster.nodes.values()}) == 1


class TestComparison:
    """Its arithmetic."""

    def test_what_is_no_longer_kept_is_not_compared(self) -> None:
        """A node far ahead of a late attestation neither agrees nor differs."""
        hash_check = HashCheck(interval=1)
        for index in range(1, CHECKPOINTS_KEPT + 2):
            hash_check.keep(index, index)
        hash_check.compare(StateHash.of(1, 77, ANNA))
        assert hash_check.difference is None
        assert hash_check.agreed_index == 0
        hash_check.compare(StateHash.of(2, 77, ANNA))
        assert hash_check.difference is not None

    def test_the_first_difference_stays(self) -> None:
        """It is nearest to the cause."""
        hash_check = HashCheck(interval=1)
        hash_check.keep(1, 10)
        hash_check.keep(2, 20)
        hash_check.compare(StateHash.of(1, 11, ANNA))
        hash_check.compare(StateHash.of(2, 21, ANNA))
        assert hash_check.difference is not None
        assert hash_check.difference.index == 1

    def test_a_attestation_survives_its_bytes(self) -> None:
        """And a golden vector of format 1."""
        witnessed = StateHash.of(2_048, 2**128 - 1, ANNA)
        assert COMMANDS.decode(COMMANDS.encode(witnessed)) == witnessed
        assert COMMANDS.encode(witnessed).hex().startswith("9501cd0800c410" + "ff" * 16)

    @pytest.mark.parametrize("body", [b"", b"\x95", b"\x95\x02" + bytes(60), b"\x01" + bytes(24)])
    def test_a_attestation_that_cannot_be_read(self, body: bytes) -> None:
        """Is refused by name; the machine stops the node as for every unknown command."""
        with pytest.raises(RemoteProtocolError):
            COMMANDS.decode(body)
