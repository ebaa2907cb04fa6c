"""How a node ends: politely, by its own decision, or because its disk leaves it no choice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster

BOUND_S = 20.0
"""Ten times the promised two seconds: this machine may be busy."""


class TestSigterm:
    """What is in flight is answered, and twistd ends as it always ends."""

    def test_ends_soon_by_the_signal(self, cluster: Cluster) -> None:
        """A shell shows 143."""
        one = cluster.node().start()
        cluster.put("k", "v")
        assert one.stop() < BOUND_S
        assert "stopped" in one.log
        assert not (cluster.base / "node01.pid").exists()

    def test_interrupt_does_the_same(self, cluster: Cluster) -> None:
        """Ctrl-C in a terminal."""
        one = cluster.node().start()
        cluster.put("k", "v")
        one.signal(signal.SIGINT)
        assert one.wait() == -signal.SIGINT
        one.start()
        cluster.leader()
        assert one.get("k", "consistent") == "v"

    def test_before_the_node_is_part_of_a_cluster(self, cluster: Cluster) -> None:
        """While it listens, and while it asks in vain to be taken in."""
        founder, joiner = cluster.node().start(), cluster.node(join="127.0.0.1:1").start()
        cluster.wait_until("a listener", lambda: "listening 2.0 s" in founder.log)
        cluster.wait_until("a joiner", lambda: "has to wait" in joiner.log)
        assert founder.stop() < BOUND_S
        assert joiner.stop() < BOUND_S
        founder.start()
        cluster.put("k", "v")

    def test_the_leader_hands_over_first(self, cluster: Cluster) -> None:
        """Nobody waits for an election timeout."""
        cluster.three()
        leader = cluster.leader()
        leader.stop()
        assert "handing leadership over" in leader.log
        successor = cluster.leader()
        assert "the leader is gone" not in successor.log
        cluster.put("k", "v")


class TestRollingRestart:
    """One node after the other, under load."""

    def test_loses_no_write(self, cluster: Cluster) -> None:
        """And no outcome is unknown to a client that follows redirects."""
        trio = cluster.three()
        load = cluster.load()
        for one in trio:
            load.wait_for(30)
            one.stop()
            one.start()
            cluster.wait_for_voters(3)
        load.stop()
        load.verify()
        assert load.unknown() == []


class TestHangingDisk:
    """A disk that never answers."""

    def test_a_stop_does_not_wait_for_ever(self, cluster: Cluster) -> None:
        """It exits 1, and what was not answered was not acknowledged."""
        one = cluster.node()
        flag = cluster.base / "hang"
        one.on_failing_disk(hang_while=str(flag))
        one.start()
        cluster.put("k", "v")
        flag.touch()
        load = cluster.load(writers=1)
        cluster.wait_until("a write under way", lambda: "sent" in load.outcomes().values())
        one.signal(signal.SIGTERM)
        assert one.wait() == 1
        assert "nothing more is acknowledged" in one.log
        load.stop()
        assert load.acknowledged() == 0
        flag.unlink()
        one.start()
        cluster.leader()
        assert one.get("k", "consistent") == "v"

    def test_a_leader_gives_way(self, cluster: Cluster) -> None:
        """Otherwise heartbeats that never wait for a disk would let it reign for ever."""
        trio = cluster.three()
        leader = cluster.leader()
        flag = cluster.base / "hang"
        leader.stop()
        leader.on_failing_disk(hang_while=str(flag))
        leader.start()
        cluster.wait_for_voters(3)
        while cluster.leader() is not leader:
            cluster.leader().ask(
                "POST", "/api/cluster/transfer", b'{"to": "%s"}' % leader.name.encode()
            )
        cluster.put("k", "0")
        flag.touch()
        leader.ask("POST", "/key", b'{"x": "y"}')
        others = [one for one in trio if one is not leader]
        cluster.wait_until(
            "another leader", lambda: any(one.status().get("role") == "leader" for one in others)
        )
        flag.unlink()


class TestRefusingToStart:
    """Every refusal names what is wrong and what to do, and exits 1."""

    def refused(self, cluster: Cluster, *flags: str, id_flag: bool = True) -> str:
        one = cluster.nodes[0]
        one.start(*flags, id_flag=id_flag)
        assert one.wait() == 1, one.log
        return one.log.splitlines()[-1]

    def test_a_directory_of_somebody_else(self, cluster: Cluster) -> None:
        """--id never renames."""
        one = cluster.node().start()
        cluster.leader()
        one.stop()
        assert "belongs to node01" in self.refused(cluster, "--id", "node02")

    def test_an_empty_directory_without_a_name(self, cluster: Cluster) -> None:
        """There is nothing to remember yet."""
        cluster.node()
        assert "--id is needed" in self.refused(cluster, id_flag=False)

    def test_a_directory_in_use(self, cluster: Cluster) -> None:
        """Two processes cannot share one."""
        one = cluster.node().start()
        cluster.leader()
        twin = cluster.node()
        twin.directory = one.name
        twin.start()
        assert twin.wait() == 1
        assert "in use by another process" in twin.log
        assert one.runs

    def test_a_port_in_use(self, cluster: Cluster) -> None:
        """Before a cluster is founded: the directory stays empty."""
        one = cluster.node().start()
        cluster.leader()
        second = cluster.node()
        second.http_port = one.http_port
        second.start()
        assert second.wait() == 1
        assert "cannot listen for clients" in second.log
        assert not (second.data / "identity").exists()

    def test_a_damaged_log(self, cluster: Cluster) -> None:
        """File, offset and advice."""
        one = cluster.node().start()
        for number in range(5):
            cluster.put("k", str(number))
        one.stop()
        segment = min((one.data / "wal").glob("*.log"))
        content = bytearray(segment.read_bytes())
        content[content.index(b"\x01", 1024)] ^= 0xFF
        segment.write_bytes(content)
        message = self.refused(cluster)
        assert str(segment) in message
        assert "at byte" in message

    def test_nobody_to_join(self, cluster: Cluster) -> None:
        """After a while it says what each address answered."""
        cluster.node(join="127.0.0.1:1")
        message = self.refused(cluster, "--join-timeout", "1")
        assert "127.0.0.1:1" in message
        assert "refused" in message

    def test_only_itself_to_join(self, cluster: Cluster) -> None:
        """That can never work."""
        one = cluster.node()
        assert "nobody but this node itself" in self.refused(cluster, "--join", one.http)

    def test_under_optimisation(self, tmp_path: Path) -> None:
        """Its assertions guard data."""
        done = subprocess.run(
            [sys.executable, "-O", "-c", "import raftdb"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
        assert done.returncode == 1
        assert "Start it without -O" in done.stderr


class TestPermissions:
    """Nobody else reads the data."""

    def test_of_the_data_directory(self, cluster: Cluster) -> None:
        """0700 and 0600, whatever the umask."""
        one = cluster.node().start()
        cluster.leader()
        for path in [one.data, *one.data.rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path
