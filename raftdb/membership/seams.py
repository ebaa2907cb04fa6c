"""What Membership needs from below: a group of nodes that agree, and the table they agree on.

:class:`raftdb.replica.Replica` and :class:`raftdb.state.members.MemberTable` fit by shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from raftdb.raft.ready import Status
from raftdb.raft.types import ConfChange, ConfState, MemberID
from raftdb.state.members import Member, MembersCommand


class Picture(Protocol):
    """How a node stands."""

    @property
    def raft(self) -> Status:
        """The core's own picture."""


class Group(Protocol):
    """The nodes that agree, as one of them sees them."""

    @property
    def leader(self) -> MemberID | None:
        """Who leads, as far as this node knows."""

    def status(self) -> Picture:
        """Picture the node at this instant."""

    def propose(self, envelope: bytes, timeout_s: float) -> Deferred[object]:
        """Replicate one command."""

    def propose_conf_change(self, change: ConfChange, timeout_s: float) -> Deferred[object]:
        """Replicate one change of the membership."""

    def transfer_leadership(self, to: MemberID | None, timeout_s: float) -> Deferred[None]:
        """Hand leadership over; fires when ``to`` leads."""


class Table(Protocol):
    """Who takes part, as far as this node has applied; read only here."""

    @property
    def cluster_id(self) -> int:
        """128 random bits."""

    @property
    def feature_level(self) -> int:
        """What every member supports."""

    @property
    def conf_state(self) -> ConfState:
        """The configuration in force."""

    @property
    def members(self) -> tuple[Member, ...]:
        """The records of all members."""

    def get(self, member: MemberID) -> Member | None:
        """Return the record of this incarnation."""

    def by_id(self, name: str) -> Member | None:
        """Return the record of the present incarnation of ``name``."""

    def is_removed(self, member: MemberID) -> bool:
        """Whether this incarnation was a member once."""

    def invitation(self, name: str) -> object | None:
        """Return something where ``name`` is expected and its incarnation not known yet."""


Envelope = Callable[[MembersCommand], bytes]
"""Makes a command of the member table an entry's data, stamped with the time."""
