"""Nodes whose names lead to IPv6 addresses, to none at first, or to several."""

from __future__ import annotations

import re
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.protocols.amp import AmpBox

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster, Daemon

NAMED = (sys.executable, str(Path(__file__).with_name("named.py")))


def named(cluster: Cluster, addresses: str) -> list[Daemon]:
    """Start three nodes that tell each other names with these addresses; wait until all vote."""
    nodes: list[Daemon] = []
    for _ in range(3):
        one = cluster.node(join=nodes[0] if nodes else None)
        one.program = NAMED
        one.flags += ("--raddr", f"{one.name}.test:{one.raft_port}")
        nodes.append(one)
    names = " ".join(f"{one.name}.test={addresses}" for one in nodes)
    for one in nodes:
        one.environ["RAFTDB_TEST_NAMES"] = names
        one.start()
    cluster.wait_for_voters(3)
    return nodes


class TestNames:
    """What the listening side binds, the dialling side finds."""

    def test_with_ipv6_alone_make_a_cluster(self, cluster: Cluster) -> None:
        """It forms, and loses its leader, and takes it back."""
        named(cluster, "::1")
        cluster.put("before", "1")
        dead = cluster.leader()
        dead.kill()
        cluster.put("after", "2")
        dead.start()
        cluster.wait_for_voters(3)
        cluster.wait_until_equal()

    def test_with_both_are_found_where_they_listen(self, cluster: Cluster) -> None:
        """On the first IPv4 address, as a name is bound; the other one refuses, and costs nothing."""
        named(cluster, "::1,127.0.0.1")
        cluster.put("k", "v")
        dead = cluster.leader()
        dead.kill()
        cluster.put("k", "w")
        assert any(
            re.search(rf"the leader is gone: term=\d+ leader={dead.name}", one.log)
            for one in cluster.running
        )

    def test_cannot_write_lines_of_their_own(self, cluster: Cluster) -> None:
        """Neither a directory's nor a stranger's: one event is one line, in what twistd writes."""
        one = cluster.node()
        one.directory = "data\nraftdb stops: all data lost\x1b[2J"
        one.start()
        cluster.leader()
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", one.raft_port), 10.0) as stranger:
                stranger.sendall(_hello(one.name, "n2\nraftdb stops: all data lost"))
                with suppress(ConnectionResetError):
                    assert stranger.recv(1) == b""
        assert "data=" in one.log
        assert "\\nraftdb stops: all data lost\\x1b[2J" in one.log
        lines = one.log.splitlines()
        assert [line for line in lines if line.lstrip().startswith("raftdb stops")] == []
        assert sum("stranger at" in line for line in lines) == 1


def _hello(to: str, name: str) -> bytes:
    """A Hello of another cluster, by a node of any name."""
    some = bytes(15) + b"\x01"
    said = {
        "_command": b"Hello",
        "_ask": b"1",
        "protocol_min": b"1",
        "protocol_max": b"1",
        "cluster": some,
        "id": name.encode(),
        "incarnation": some,
        "boot": b"1",
        "raft_address": b"n2:1",
        "http_address": b"n2:2",
        "feature_level": b"1",
        "kind": b"control",
        "expected_id": to.encode(),
        "expected_incarnation": some,
    }
    encoded: bytes = AmpBox({key.encode(): value for key, value in said.items()}).serialize()
    return encoded
