"""What a simulated node needs of the cluster around it, as protocols.

A cluster makes its nodes, so it knows their classes; a node knows these protocols alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

from twisted.python.failure import Failure

from raftdb.membership import KnownMember
from raftdb.raft.config import Config
from raftdb.raft.node import RawNode
from raftdb.raft.storage import LogReader
from raftdb.raft.types import MemberID
from raftdb.replica import ReplicaOptions
from raftdb.simulation.checks.safety import Safety
from raftdb.simulation.clock import SimulationClock
from raftdb.simulation.network.links import Links
from raftdb.simulation.network.lossy_streams import LossyStreams
from raftdb.simulation.nodes.event_log import EventLog

__all__ = ["StreamSurroundings", "Surroundings"]


class Surroundings(Protocol):
    """What every node needs: time, chance, a network, checks, and somebody who writes it down.

    Nodes are ``Any`` here: their class stands above this module.
    """

    seed: int
    cluster_id: int
    options: ReplicaOptions
    core: Callable[[Config, LogReader], RawNode]
    clock: SimulationClock
    event_log: EventLog
    safety: Safety
    network: Links
    lost_a_node: bool
    failures: list[Failure]
    watch: Callable[[Any], None]
    crash: Callable[[Any], None]

    @property
    def nodes(self) -> Mapping[str, Any]:
        """All nodes, by name."""

    def config(self, member: MemberID, rng: Random) -> Config:
        """Return the core's configuration of one boot."""

    def rate(self, name: str) -> float:
        """Return how fast a node's monotonic clock goes."""

    def monotonic_s(self, node: Any) -> float:
        """Return what a node's monotonic clock shows."""

    def reactor_s(self, node: Any) -> float:
        """Return what a node's reactor takes for the time."""

    def wall_ms(self, name: str) -> int:
        """Return what a node's wall clock shows."""

    def check(self, node: Any) -> None:
        """Check what must be true after each event on a node."""

    def tell_refused(self, member: MemberID) -> None:
        """Let the others find out that a dead node's port refuses connections."""


class StreamSurroundings(Surroundings, Protocol):
    """What a node needs besides that is connected by streams of bytes."""

    lossy_streams: LossyStreams

    def alive(self, members: Sequence[MemberID]) -> Sequence[Any]:
        """Return the nodes of ``members`` that run, or will."""

    def was_removed(self, member: MemberID) -> bool:
        """Return whether a change that removes this incarnation was ever committed."""

    def took_in(self, newcomer: Any, known: Sequence[KnownMember]) -> None:
        """Give a process that was taken in an identity, and start it."""

    def gave_up(self, newcomer: Any) -> None:
        """Forget a process that was refused for good."""
