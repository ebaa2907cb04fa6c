from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from raftdb.simulation.nodes.cluster import Cluster


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    told: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        told.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield told
    globalLogPublisher.removeObserver(observe)


class TestWithoutALeader:
    """Whoever reads the log hears that nobody leads, and whose answers are missing."""

    def test_it_says_so_every_30_seconds(self, lines: list[str]) -> None:
        """From each node that knows of none, until there is one."""
        cluster = Cluster(1, "abc")
        cluster.boot()
        leader = cluster.await_leader()
        a, b = (node for node in cluster.nodes.values() if node is not leader)
        leader.kill()
        cluster.run_for(3.0)
        a.kill()
        cluster.run_for(65.0)
        missing = ", ".join(sorted([leader.name, a.name]))
        told = [line for line in lines if "nobody leads" in line]
        assert told == [
            f"nobody leads for {seconds} s now; no answer from {missing}" for seconds in (30, 60)
        ]
        a.boot()
        cluster.await_leader()
        cluster.run_for(65.0)
        assert len([line for line in lines if "nobody leads" in line]) == 2
        assert b.is_up
