"""A leader whose followers stand still: what it was asked is answered when it steps down."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster


class TestALeaderWithoutAQuorum:
    """It leads no more after an election timeout or two, and says so."""

    def test_refuses_the_consistent_reads_that_it_was_asked(self, cluster: Cluster) -> None:
        """With a reason, long before the ten seconds after which a request is given up."""
        trio = cluster.three()
        cluster.put("k", "0")
        leader = cluster.leader()
        followers = [one for one in trio if one is not leader]
        for one in followers:
            one.signal(signal.SIGSTOP)
        begun_s = time.monotonic()
        reply = leader.ask("GET", "/api/kv?key=k&level=consistent")
        taken_s = time.monotonic() - begun_s
        for one in followers:
            one.signal(signal.SIGCONT)
        assert (reply.status, reply.refused) == (503, True)
        assert taken_s < 6, f"{taken_s:.2f} s until the read was refused"
        cluster.put("k", "1")
        missing = ", ".join(sorted(one.name for one in followers))
        assert f"stepped down: no quorum, for nothing came from {missing}" in leader.log
