"""What leaves the core: three outputs, separated by what they wait for.

Messages that may leave at once come as a plain list; :class:`Applicable` is what may be applied;
:class:`Ready` is what must become durable, with the messages that wait for it. :class:`Status` is a
picture for people and for the layers above.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from raftdb.raft.messages import Message
from raftdb.raft.types import (
    ConfState,
    Entry,
    EntryID,
    HardState,
    MemberID,
    ReadState,
    Role,
    SnapshotMetadata,
)


class Ready(msgspec.Struct, frozen=True):
    """One batch for the disk, all or nothing, and what may be said once it is durable.

    At most one is outstanding. ``hard_state`` is set whenever ``entries`` or ``snapshot`` is, so
    that a batch with entries carries the commit index with it [R2].

    :param hard_state: to be made durable, or None where nothing but messages waits
    :param entries: to be stored; the first may lie at or below the last index of the log, which is
        then cut back to make room for it
    :param snapshot: already durable as a file: the log is to be replaced by it, before ``entries``
    :param persisted_messages: to be sent only after the save
    """

    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    snapshot: SnapshotMetadata | None = None
    persisted_messages: tuple[Message, ...] = ()

    @property
    def must_save(self) -> bool:
        """Whether the disk has to be visited at all."""
        return self.hard_state is not None or bool(self.entries) or self.snapshot is not None


class Applicable(msgspec.Struct, frozen=True):
    """One page of what may be applied now, in this order: snapshot, entries, reads.

    While ``snapshot`` is set there are no entries, and none will be handed out before
    ``RawNode.restored`` says that the state machine stands at the snapshot.

    :param snapshot: the state machine must be replaced by this durable snapshot
    :param entries: committed and locally durable, to be applied in order, now, without suspension;
        each configuration change is answered by one call of ``RawNode.apply_conf_change``
    :param reads: confirmed reads; answer each once the applied index has reached its index
    """

    snapshot: SnapshotMetadata | None = None
    entries: tuple[Entry, ...] = ()
    reads: tuple[ReadState, ...] = ()


class PeerStatus(NamedTuple):
    """How the leader sees one member.

    :param state: ``probe``, ``replicate`` or ``snapshot``
    :param match: the highest index known to be durable there
    :param next: the next index to send
    :param recent_active: whether it was heard from within the last election timeout
    :param full: whether it said that it has no room for entries
    """

    state: str
    match: int
    next: int
    recent_active: bool
    full: bool = False


class Status(msgspec.Struct, frozen=True):
    """A picture of one node at one instant.

    :param peers: the leader's view of every member, itself included; empty on other roles
    :param round: the latest heartbeat round begun by this leader in its term, 0 for none
    :param round_acknowledged: the latest round that a quorum has acknowledged, 0 for none
    :param transferee: where leadership is being handed to
    """

    id: MemberID
    role: Role
    leader: MemberID | None
    hard_state: HardState
    conf_state: ConfState
    applied: int
    first_index: int
    last: EntryID
    peers: dict[MemberID, PeerStatus]
    round: int
    round_acknowledged: int
    transferee: MemberID | None
