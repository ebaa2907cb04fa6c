"""The records of members and invitations, and their bytes; they know no table.

All bytes begin with a version; what follows is MessagePack, decoded strictly by type. Incarnations
and cluster ids are 128-bit numbers inside and 16 bytes outside.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import msgspec

from raftdb.errors import RemoteProtocolError
from raftdb.raft.types import ConfState, MemberID

RECORDS_VERSION = 1

T = TypeVar("T")

WireID: TypeAlias = tuple[str, bytes]
WireMember: TypeAlias = tuple[str, bytes, str, str, int, int, int]
WireConfState: TypeAlias = tuple[
    tuple[WireID, ...], tuple[WireID, ...], tuple[WireID, ...], tuple[WireID, ...], bool
]

_context: msgspec.msgpack.Decoder[list[WireMember]] = msgspec.msgpack.Decoder(list[WireMember])


class Member(msgspec.Struct, frozen=True):
    """One member, as the whole cluster knows it.

    :param id: name and incarnation
    :param raft_address: ``host:port`` at which its peers reach it
    :param http_address: ``host:port`` at which clients reach it
    :param protocol_min: the oldest peer protocol it speaks
    :param protocol_max: the newest peer protocol it speaks
    :param feature_max: the highest feature level it supports [R25]
    """

    id: MemberID
    raft_address: str
    http_address: str
    protocol_min: int = 1
    protocol_max: int = 1
    feature_max: int = 1


class Invitation(msgspec.Struct, frozen=True):
    """A member to be whose incarnation nobody knows yet: its first Hello will tell.

    :param id: the name it was invited under
    :param raft_address: ``host:port`` at which it is expected
    :param http_address: ``host:port`` it will advertise to clients
    :param time_ms: the replicated time of the invitation, in ms since 1970
    """

    id: str
    raft_address: str
    http_address: str
    time_ms: int


def encode_context(members: tuple[Member, ...]) -> bytes:
    """Return what a configuration change carries in ``ConfChange.context``: the new members."""
    return pack([to_wire(member) for member in members])


def decode_context(data: bytes) -> tuple[Member, ...]:
    """Return the members in a configuration change's context; none for an empty one.

    :raises RemoteProtocolError: where the bytes are no members
    """
    if not data:
        return ()
    return tuple(from_wire(wire) for wire in unpack(data, _context))


def to_wire(member: Member) -> WireMember:
    """Return ``member`` in the shape it has in bytes."""
    return (
        *id_to_wire(member.id),
        member.raft_address,
        member.http_address,
        member.protocol_min,
        member.protocol_max,
        member.feature_max,
    )


def from_wire(wire: WireMember) -> Member:
    """Return the member in ``wire``."""
    name, incarnation, raft_address, http_address, protocol_min, protocol_max, feature_max = wire
    return Member(
        id_from_wire((name, incarnation)),
        raft_address,
        http_address,
        protocol_min,
        protocol_max,
        feature_max,
    )


def id_to_wire(member: MemberID) -> WireID:
    """Return a member's id in the shape it has in bytes."""
    return member.id, member.incarnation.to_bytes(16, "big")


def id_from_wire(wire: WireID) -> MemberID:
    """Return the member's id in ``wire``.

    :raises RemoteProtocolError: where the incarnation has not 16 bytes
    """
    name, incarnation = wire
    if len(incarnation) != 16:
        raise RemoteProtocolError(f"an incarnation has 16 bytes, not {len(incarnation)}")
    return MemberID(name, int.from_bytes(incarnation, "big"))


def conf_state_to_wire(state: ConfState) -> WireConfState:
    """Return a configuration in the shape it has in bytes."""
    return (
        tuple(map(id_to_wire, state.voters)),
        tuple(map(id_to_wire, state.voters_outgoing)),
        tuple(map(id_to_wire, state.learners)),
        tuple(map(id_to_wire, state.learners_next)),
        state.auto_leave,
    )


def conf_state_from_wire(wire: WireConfState) -> ConfState:
    """Return the configuration in ``wire``."""
    voters, outgoing, learners, learners_next, auto_leave = wire
    return ConfState(
        voters=tuple(map(id_from_wire, voters)),
        voters_outgoing=tuple(map(id_from_wire, outgoing)),
        learners=tuple(map(id_from_wire, learners)),
        learners_next=tuple(map(id_from_wire, learners_next)),
        auto_leave=auto_leave,
    )


def pack(value: object) -> bytes:
    """Return ``value``, made of plain types, with the version in front."""
    return bytes([RECORDS_VERSION]) + msgspec.msgpack.encode(value)


def unpack(data: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """Return what :func:`pack` was given.

    :raises RemoteProtocolError: where the version is unknown or the bytes are of another type
    """
    if not data or data[0] != RECORDS_VERSION:
        raise RemoteProtocolError(
            f"member records of version {data[:1].hex() or 'none'};"
            f" this raftdb knows {RECORDS_VERSION:02x}"
        )
    try:
        return decoder.decode(memoryview(data)[1:])
    except msgspec.DecodeError as error:
        raise RemoteProtocolError(f"not the bytes of member records: {error}") from error
