"""A cluster whose nodes are connected by bytes: production's peer transport and membership over cables.

Hello, AMP boxes and snapshot streams are bytes on the simulated network; nodes come in as ``--join``
does and leave as the operator's removal does. Single messages are never lost, repeated or reordered
here, for a stream does not do that to them: this is what runs on the
:class:`~raftdb.simulation.network.datagrams.Datagrams` are for, and a seed stands for one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from raftdb.membership import (
    KnownMember,
)
from raftdb.raft.types import ConfChangeKind, MemberID
from raftdb.simulation.network.lossy_streams import LossyStreams
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.joiner import JoiningNode
from raftdb.simulation.nodes.node import Machinery, SimulatedNode
from raftdb.simulation.nodes.wired_node import WiredNode

SILENT_DEATHS = 0.2
"""The share of deaths that take the machine along, where a dead process refuses connections."""


class WiredCluster(Cluster):
    """Nodes connected by cables; see :class:`~raftdb.simulation.nodes.cluster.Cluster` for the rest."""

    promotes = True
    lossy_streams: LossyStreams
    nodes: dict[str, WiredNode]  # type: ignore[assignment]  # nothing else is ever put in

    def make_network(self, rng: Random) -> LossyStreams:
        """Return the byte network."""
        self.newcomers: dict[str, JoiningNode] = {}
        silent = SILENT_DEATHS if self.fast_failover else 1.0
        self.lossy_streams = LossyStreams(self.clock, rng, silent_deaths=silent)
        return self.lossy_streams

    def make_node(self, member: MemberID, host: Machinery) -> SimulatedNode:
        """Return a founder."""
        return WiredNode(self, member, host)

    def wipe(self, name: str) -> None:
        """Let a node lose its disk; an empty one asks to be taken in, as somebody new."""
        old = self.nodes[name]
        old.kill()
        old.is_lost = self.lost_a_node = True
        self.event_log.note("is wiped", name)
        self.invite(self.reborn(old.member))

    def invite(self, member: MemberID) -> None:
        """Start a process with an empty disk, whose ``--join`` names everybody."""
        join = [node.record.http_address for node in self.nodes.values()]
        newcomer = self.newcomers[member.id] = JoiningNode(self, member, join)
        newcomer.start()

    def took_in(self, newcomer: JoiningNode, known: Sequence[KnownMember]) -> None:
        """Give who was taken in an identity, and start it."""
        member = newcomer.member
        newcomer.kill()
        del self.newcomers[member.id]
        old = self.nodes.get(member.id)
        node = WiredNode(self, member, self._host(member, ()), known=known, join=newcomer.join)
        node.boots = old.boots if old is not None else 0
        self.nodes[member.id] = node
        node.boot()

    def gave_up(self, newcomer: JoiningNode) -> None:
        """Forget a newcomer that was refused for good."""
        self.event_log.note("is not taken in", newcomer.member.id)
        newcomer.kill()
        del self.newcomers[newcomer.member.id]

    def alive(self, members: Sequence[MemberID]) -> list[WiredNode]:
        """Return those of ``members`` that run, or will: who lost its disk stays a member and answers nobody."""
        return [one for one in self.nodes.values() if one.member in members and not one.is_lost]

    def was_removed(self, member: MemberID) -> bool:
        """Whether a change that removes this incarnation was ever committed."""
        changes = [entry.change for entry in self.safety.committed.values() if entry.change]
        return any(
            single.kind is ConfChangeKind.REMOVE and single.member == member
            for change in changes
            for single in change.changes
        )
