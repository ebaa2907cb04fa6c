"""The nouns of Raft: members, entries, states and configurations, as plain values.

They own their own consistency and nothing else: no behaviour of the algorithm lives here, and no
encoding (that is :mod:`raftdb.codec`). All are immutable.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

import msgspec

TERM_MAX = 2**62
"""A term above this is refused: nobody reaches it honestly, and it must not overflow 8 bytes."""


class MemberID(NamedTuple):
    """Who takes part: a name and the incarnation of the data directory behind it.

    Two incarnations of one id are two members and never count for each other: a wiped disk has
    forgotten its votes and acknowledgements, so it must not vote in its predecessor's name.

    :param id: the node's name, as given by ``--id``
    :param incarnation: 128 random bits made with the data directory, ``0 <= incarnation < 2**128``
    """

    id: str
    incarnation: int

    def __str__(self) -> str:
        return f"{self.id}#{self.incarnation:032x}"[: len(self.id) + 9]


class EntryID(msgspec.Struct, frozen=True, order=True, gc=False):
    """The name of a log entry. Ordered as section 5.4.1 orders logs: by term, then by index."""

    term: int
    index: int


ZERO = EntryID(0, 0)
"""What stands before the first entry of every log."""


class ConfChangeKind(Enum):
    """What happens to one member."""

    ADD_VOTER = 1
    ADD_LEARNER = 2
    REMOVE = 3


class ConfChangeSingle(NamedTuple):
    """One member's part of a configuration change."""

    kind: ConfChangeKind
    member: MemberID


class Transition(Enum):
    """How a change with more than one voter moves through the joint configuration.

    AUTO uses a joint configuration only where a single step would not be safe.
    """

    AUTO = 1
    JOINT_IMPLICIT = 2
    JOINT_EXPLICIT = 3


class ConfChange(msgspec.Struct, frozen=True):
    """A proposed change of the configuration (thesis 4.1 and 4.3).

    :param changes: what happens to whom; empty together with AUTO means: leave the joint
        configuration
    :param transition: how the joint configuration is entered and left
    :param context: bytes that the layers above attach to the change; the core never reads them
    """

    changes: tuple[ConfChangeSingle, ...] = ()
    transition: Transition = Transition.AUTO
    context: bytes = b""

    @property
    def leaves_joint(self) -> bool:
        """Whether this is the second half of a joint change."""
        return not self.changes and self.transition is Transition.AUTO


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One slot of the log.

    :param term: the leader's term when it took the entry in
    :param index: its place, ``1 <= index``
    :param data: the proposal's bytes, opaque to the core; empty for the entry that opens a term
    :param change: set for a configuration change, whose ``data`` is empty
    """

    term: int
    index: int
    data: bytes = b""
    change: ConfChange | None = None

    @property
    def id(self) -> EntryID:
        """The entry's name."""
        return EntryID(self.term, self.index)

    @property
    def size(self) -> int:
        """What the entry counts against limits in bytes."""
        payload = len(self.data)
        if self.change is not None:
            payload += len(self.change.context) + 64 * len(self.change.changes)
        return payload + ENTRY_OVERHEAD_BYTES


ENTRY_OVERHEAD_BYTES = 32
"""What an empty entry counts against limits; no smaller than its encoding's fixed part."""


class HardState(msgspec.Struct, frozen=True, gc=False):
    """What must be durable before anything is promised (Fig. 2, persistent state).

    ``commit`` may be lost without harm to safety, but never runs ahead of the durable log.
    """

    term: int = 0
    vote: MemberID | None = None
    commit: int = 0


class Role(Enum):
    """The states of Figure 4, with the pre-candidate of thesis 9.6."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class ConfState(msgspec.Struct, frozen=True):
    """A configuration as it stands in a snapshot; each tuple is sorted and free of duplicates.

    :param voters: the (incoming) majority
    :param voters_outgoing: the outgoing majority, empty unless joint
    :param learners: receive entries, do not count
    :param learners_next: voters of the outgoing majority that become learners on leaving it
    :param auto_leave: whether the leader leaves the joint configuration by itself
    """

    voters: tuple[MemberID, ...] = ()
    voters_outgoing: tuple[MemberID, ...] = ()
    learners: tuple[MemberID, ...] = ()
    learners_next: tuple[MemberID, ...] = ()
    auto_leave: bool = False

    @property
    def members(self) -> tuple[MemberID, ...]:
        """Everybody who takes part in any way, sorted."""
        everyone = {*self.voters, *self.voters_outgoing, *self.learners, *self.learners_next}
        return tuple(sorted(everyone))

    @property
    def is_joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.voters_outgoing)


class SnapshotMetadata(msgspec.Struct, frozen=True):
    """What a snapshot stands for: everything up to ``last`` and the configuration there."""

    last: EntryID = ZERO
    conf_state: ConfState = ConfState()


class ReadID(NamedTuple):
    """The name of one linearizable read request; it never repeats, not even after a restart [R12].

    :param requester: who asked
    :param boot: the requester's boot nonce, ``0 <= boot < 2**64``
    :param counter: counts the requester's requests of this boot
    """

    requester: MemberID
    boot: int
    counter: int


class ReadState(msgspec.Struct, frozen=True):
    """A confirmed read: it may be answered once the applied index has reached ``index``."""

    id: ReadID
    index: int


MemberIDs: TypeAlias = tuple[MemberID, ...]
