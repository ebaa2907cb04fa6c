"""The table itself: members, the removed, invitations, cluster id and feature level.

A deterministic function of the log, like the keys beside it. It knows nothing of connections: who
is in contact is :mod:`raftdb.membership`'s question.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, assert_never

import msgspec

from raftdb.errors import (
    ConfChangeError,
    InvalidRequest,
    Overloaded,
    RaftDBError,
    RemoteProtocolError,
)
from raftdb.raft.types import ConfState, MemberID
from raftdb.state.frames import RecordStream, packed
from raftdb.state.members.commands import (
    InitCluster,
    Invite,
    MembersCommand,
    SetFeatureLevel,
    Uninvite,
    UpdateMember,
)
from raftdb.state.members.records import (
    Invitation,
    Member,
    WireConfState,
    WireID,
    WireMember,
    conf_state_from_wire,
    conf_state_to_wire,
    decode_context,
    from_wire,
    id_from_wire,
    id_to_wire,
    pack,
    to_wire,
    unpack,
)
from raftdb.state.part import Changes, Context

REMOVED_MAX = 1_000
"""How many removed incarnations are remembered; the oldest are forgotten first."""

INVITATIONS_MAX = 32

_Wire: TypeAlias = tuple[
    bytes,
    int,
    WireConfState,
    list[WireMember],
    list[WireID],
    list[tuple[str, str, str, int]],
]
_table: msgspec.msgpack.Decoder[_Wire] = msgspec.msgpack.Decoder(_Wire)


class MemberTable:
    """Who takes part, under which addresses, and who no longer does.

    Invariant: every member with a record is in ``conf_state``, and no removed incarnation is.

    :ivar cluster_id: 128 random bits, 0 until the first leader has applied InitCluster
    :ivar feature_level: what every member supports, at least 1
    :ivar conf_state: the configuration in force
    """

    def __init__(self) -> None:
        self.cluster_id = 0
        self.feature_level = 1
        self.conf_state = ConfState()
        self._members: dict[MemberID, Member] = {}
        self._removed: dict[MemberID, None] = {}
        self._invitations: dict[str, Invitation] = {}
        self._encoded: bytes | None = None
        """What :meth:`encode` returned last; None after every change."""

    # Reading

    @property
    def members(self) -> tuple[Member, ...]:
        """The records of all members, in the order of their ids."""
        return tuple(self._members[member] for member in sorted(self._members))

    @property
    def removed(self) -> tuple[MemberID, ...]:
        """The remembered removed incarnations, oldest first."""
        return tuple(self._removed)

    @property
    def invitations(self) -> tuple[Invitation, ...]:
        """Who is invited and has not come yet, oldest first."""
        return tuple(self._invitations.values())

    def get(self, member: MemberID) -> Member | None:
        """Return the record of this incarnation; None where it is no member or has none."""
        return self._members.get(member)

    def by_id(self, name: str) -> Member | None:
        """Return the record of the present incarnation of ``name``.

        While one incarnation replaces another in a joint change there may be two: the newcomer,
        which is no outgoing voter, is the present one.
        """
        outgoing = self.conf_state.voters_outgoing
        found = [member for member in self.members if member.id.id == name]
        return min(found, key=lambda member: member.id in outgoing, default=None)

    def invitation(self, name: str) -> Invitation | None:
        """Return the invitation of ``name``."""
        return self._invitations.get(name)

    def is_removed(self, member: MemberID) -> bool:
        """Whether this incarnation was a member once and is not to be heard any more."""
        return member in self._removed

    # Writing

    def apply_conf_change(self, context: bytes, conf_state: ConfState) -> None:
        """Note the configuration in force and the members that came with it.

        :raises RemoteProtocolError: where the context is no list of members
        """
        self._encoded = None
        before = self.conf_state.members
        present = conf_state.members
        self.conf_state = conf_state
        for member in decode_context(context):
            if member.id in present:
                self._members[member.id] = member
                self._invitations.pop(member.id.id, None)
        for member_id in present:
            self._removed.pop(member_id, None)
        for member_id in before:
            if member_id not in present:
                self._members.pop(member_id, None)
                self._removed[member_id] = None
        while len(self._removed) > REMOVED_MAX:
            del self._removed[next(iter(self._removed))]

    def apply(
        self, context: Context, command: MembersCommand
    ) -> tuple[RaftDBError | None, Changes]:
        """Apply one command; return None, or the refusal to be raised by whoever waits."""
        self._encoded = None
        return self._apply(command, context.time_ms), ()

    def _apply(self, command: MembersCommand, time_ms: int) -> RaftDBError | None:
        match command:
            case InitCluster(cluster_id=cluster_id):
                if self.cluster_id not in {0, cluster_id}:
                    return InvalidRequest(f"the cluster has an id already: {self.cluster_id:032x}")
                self.cluster_id = cluster_id
                return None
            case Invite():
                return self._invite(command, time_ms)
            case Uninvite(id=name):
                self._invitations.pop(name, None)
                return None
            case UpdateMember(member=member):
                if member.id not in self.conf_state.members:
                    return ConfChangeError(f"{member.id} is no member")
                self._members[member.id] = member
                return None
            case SetFeatureLevel(level=level):
                return self._set_feature_level(level)
            case _:
                assert_never(command)

    def _invite(self, command: Invite, time_ms: int) -> RaftDBError | None:
        name = command.id
        if name not in self._invitations and len(self._invitations) >= INVITATIONS_MAX:
            return Overloaded(f"{INVITATIONS_MAX} invitations wait for their members already")
        self._invitations[name] = Invitation(
            name, command.raft_address, command.http_address, time_ms
        )
        return None

    def _set_feature_level(self, level: int) -> RaftDBError | None:
        if level < self.feature_level:
            return InvalidRequest(f"the feature level is {self.feature_level} and never falls")
        for member_id in self.conf_state.members:
            member = self._members.get(member_id)
            if member is None or member.feature_max < level:
                return ConfChangeError(f"{member_id} does not support feature level {level}")
        self.feature_level = level
        return None

    # Bytes

    @property
    def digest(self) -> bytes:
        """All of it, its length in front."""
        encoded = self.encode()
        return len(encoded).to_bytes(4, "big") + encoded

    def pieces(self) -> Generator[bytes, None, None]:
        """Return the table as one record of a snapshot."""
        return packed(iter((self.encode(),)))

    def encode(self) -> bytes:
        """Return the whole table as bytes, the same on every replica."""
        if self._encoded is None:
            self._encoded = self._encode()
        return self._encoded

    def _encode(self) -> bytes:
        wire: _Wire = (
            self.cluster_id.to_bytes(16, "big"),
            self.feature_level,
            conf_state_to_wire(self.conf_state),
            [to_wire(member) for member in self.members],
            [id_to_wire(member) for member in self._removed],
            [(one.id, one.raft_address, one.http_address, one.time_ms) for one in self.invitations],
        )
        return pack(wire)

    @classmethod
    def decode(cls, data: bytes) -> MemberTable:
        """Return the table behind ``data``.

        :raises RemoteProtocolError: where the bytes are no table
        """
        cluster_id, level, conf_state, members, removed, invitations = unpack(data, _table)
        table = cls()
        table.cluster_id = int.from_bytes(cluster_id, "big")
        table.feature_level = level
        table.conf_state = conf_state_from_wire(conf_state)
        table._members = {member.id: member for member in map(from_wire, members)}
        table._removed = dict.fromkeys(map(id_from_wire, removed))
        table._invitations = {fields[0]: Invitation(*fields) for fields in invitations}
        return table


class MembersRestorer:
    """A table being read back."""

    def __init__(self) -> None:
        self._table: MemberTable | None = None
        self._stream = RecordStream(self._take)

    def _take(self, record: bytes) -> None:
        self._table = MemberTable.decode(record)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the section."""
        self._stream.feed(piece)

    def finish(self) -> MemberTable:
        """Return the table.

        :raises RemoteProtocolError: where the section is missing or cut off
        """
        self._stream.finish()
        if self._table is None:
            raise RemoteProtocolError("the section is missing")
        return self._table
