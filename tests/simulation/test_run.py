from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from raftdb.raft.config import Config
from raftdb.replica import ReplicaOptions
from raftdb.simulation.run import single


class TestAStorm:
    """Under crashes, cuts, pauses, loss and bad disks every promise is kept, and it heals."""

    @pytest.mark.parametrize("seed", range(20))
    def test_three_nodes(self, seed: int) -> None:
        """The usual cluster."""
        outcome = single.run(seed)
        assert outcome.acknowledged > 0

    @pytest.mark.parametrize("seed", range(100, 106))
    def test_five_nodes(self, seed: int) -> None:
        """Two may be lost."""
        outcome = single.run(seed, "abcde")
        assert outcome.acknowledged > 0

    @pytest.mark.parametrize("seed", range(200, 204))
    def test_one_node(self, seed: int) -> None:
        """Alone, durability is all there is."""
        outcome = single.run(seed, "a", durable=True)
        assert outcome.acknowledged > 0

    @pytest.mark.parametrize("seed", range(300, 310))
    def test_with_many_snapshots(self, seed: int) -> None:
        """Whoever was away for a moment finds the log compacted and needs a snapshot."""

        def small(config: Config) -> Config:
            return replace(config, apply_bytes_max=300, append_bytes_max=500)

        single.run(seed, options=ReplicaOptions(snapshot_entries=15), configure=small)

    @pytest.mark.parametrize("seed", range(400, 412))
    def test_on_the_production_storage(self, seed: int) -> None:
        """Torn batches, lost names, failing syncs and full disks below, members above."""
        options = ReplicaOptions(snapshot_entries=20)
        single.run(seed, durable=True, reconfigure=True, options=options)

    @pytest.mark.parametrize("seed", range(500, 508))
    def test_while_members_come_and_go(self, seed: int) -> None:
        """Learners, promotions, removals and swaps, of the leader too."""
        single.run(seed, "abcde", reconfigure=True)


class TestAReplay:
    """One seed is one history, in every process."""

    def test_is_the_same_in_every_process(self) -> None:
        """String hashes differ per process; nothing that happens may depend on them [R26]."""
        runs = [_run(hash_seed) for hash_seed in ("1", "2")]
        assert runs[0] == runs[1]
        assert "digest" in runs[0]


def _run(hash_seed: str) -> str:
    code = (
        "from raftdb.simulation.run.single import run;"
        "print(run(7, 'abcde', storm_s=4.0, durable=True, reconfigure=True))"
    )
    root = Path(single.__file__).parents[3]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout
