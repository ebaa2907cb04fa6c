"""Nodes whose names lead to IPv6 addresses, to none at first, or to several."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
