"""A process with an empty disk on its way into a cluster: what ``--join`` does before there is a member."""

from __future__ import annotations

from collections.abc import Sequence

from raftdb.membership import (
    Joiner,
    JoinRequest,
)
from raftdb.raft.types import MemberID
from raftdb.simulation.clock import NodeClock
from raftdb.simulation.nodes.directory import SimulatedDirectory
from raftdb.simulation.nodes.surroundings import StreamSurroundings


class JoiningNode:
    """A process with an empty disk that asks to be taken in, until it is or dies.

    :param cluster: that it wants to belong to
    :param member: its name, and the incarnation it has drawn
    :param join: HTTP addresses to ask at
    """

    def __init__(self, cluster: StreamSurroundings, member: MemberID, join: Sequence[str]) -> None:
        self.member = member
        self.join = join
        self._cluster = cluster
        self._clock = NodeClock(cluster.clock)

    def start(self) -> None:
        """Begin to ask."""
        cluster, name = self._cluster, self.member.id
        cluster.event_log.note("wants to join", name)
        cluster.lossy_streams.attach(name, self._clock)
        directory = SimulatedDirectory(cluster, name, self._clock)
        raft_address, http_address = f"{name}.raft:1", f"{name}.http:1"
        joiner = Joiner(
            self._clock, directory, addresses=self.join, own_address=http_address, timeout_s=1e6
        )
        joiner.join(JoinRequest(self.member, raft_address, http_address)).addCallbacks(
            lambda answer: cluster.took_in(self, answer.members), lambda _: cluster.gave_up(self)
        )

    def can_ask(self, members: Sequence[MemberID]) -> bool:
        """Whether one of ``members`` answers where it asks: all that it was told of may be gone."""
        return any(one.record.http_address in self.join for one in self._cluster.alive(members))

    def kill(self) -> None:
        """End; nothing of it is left, for the identity is written last."""
        self._clock.kill()
