"""kill -9 of anybody, at any moment, under load: what was acknowledged is there afterwards."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster

ROUNDS = int(os.environ.get("RAFTDB_KILL_ROUNDS", "4"))
"""The issue's full form has 20."""


class TestKillNine:
    """No acknowledged write is lost, no restart refused, replicas are equal."""

    def test_of_the_leader_of_a_follower_of_all(self, cluster: Cluster) -> None:
        """Round after round on the same directories, with snapshots in between."""
        trio = cluster.three("--snapshot-entries", "150")
        load = cluster.load()
        for number in range(ROUNDS):
            load.wait_for(40)
            leader = cluster.leader()
            followers = [one for one in trio if one is not leader]
            victims = [[leader], [followers[number % 2]], trio, [leader]][number % 4]
            for victim in victims:
                victim.kill()
            if len(victims) < 3:
                load.wait_for(10)
            for victim in victims:
                victim.start()
            cluster.wait_for_voters(3)
        load.stop()
        load.verify()


class TestFailover:
    """The other two serve again soon, whichever node it was."""

    @pytest.mark.parametrize("victim", ["leader", "follower"])
    def test_writes_go_on(self, cluster: Cluster, victim: str) -> None:
        """A second is promised; ten times that fails the test. The one that returns elects nobody."""
        trio = cluster.three()
        cluster.put("k", "0")
        leader = cluster.leader()
        dead = leader if victim == "leader" else next(one for one in trio if one is not leader)
        dead.kill()
        begun_s = time.monotonic()
        cluster.put("k", "1")
        taken_s = time.monotonic() - begun_s
        assert taken_s < 10, f"{taken_s:.2f} s until the next write"
        term = cluster.leader().status()["term"]
        dead.start()
        cluster.wait_for_voters(3)
        cluster.wait_until_equal()
        assert cluster.leader().status()["term"] == term


class TestEveryDurableStep:
    """A crash right before or after any step that changes the disk."""

    @pytest.mark.slow
    def test_keeps_what_was_acknowledged(self, cluster: Cluster) -> None:
        """One node, one directory, started again and killed at the next step, each in turn."""
        flags = ("--snapshot-entries", "40", "--segment-bytes", "262144", "--body-bytes", "32768")
        one = cluster.node(*flags).start()
        cluster.leader()
        one.kill()
        path = cluster.base / "steps"
        one.on_failing_disk(steps=str(path))
        one.start()
        cluster.leader()
        load = cluster.load(writers=2)
        load.wait_for(200)
        one.kill()
        reached = Counter(path.read_text().splitlines())
        assert {"after rename part", "before write log", "after unlink snapshot"} <= {*reached}
        killed = []
        for step, count in sorted(reached.items()):
            one.on_failing_disk(kill_at=f"{step}:{min(count, 3)}")
            one.start()
            try:
                cluster.wait_until(step, lambda: not one.runs, patience_s=10)
                killed.append(step)
            except AssertionError:
                one.kill()  # a step that does not come at every start
        assert len(killed) > 15, killed
        one.environ = {}
        one.start()
        cluster.leader()
        load.stop()
        load.verify()


class TestCatchingUp:
    """A node that was away past compaction comes back through a snapshot."""

    @pytest.mark.slow
    def test_with_100_000_keys_while_writes_go_on(self, cluster: Cluster) -> None:
        """The log of the others has not waited for it."""
        trio = cluster.three("--snapshot-entries", "100")
        leader = cluster.leader()
        for first in range(0, 100_000, 5_000):
            pairs = {f"k{number}": "v" * 100 for number in range(first, first + 5_000)}
            assert leader.ask("POST", "/key", json.dumps(pairs).encode()).status == 200
        away = next(one for one in trio if one is not leader)
        away.kill()
        load = cluster.load()
        cluster.wait_until("a compacted log", lambda: leader.status()["first_index"] > 100)
        away.start()
        cluster.wait_for_voters(3)
        cluster.wait_until(
            "the snapshot there", lambda: away.status().get("snapshot_index", 0) > 100
        )
        assert "installing a snapshot" in away.log
        load.stop()
        load.verify()
        assert [away.get(f"k{number}") for number in (0, 99_999)] == ["v" * 100] * 2
