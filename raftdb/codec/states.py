"""Bytes of who takes part and what must survive: member ids, hard states, configurations."""

from __future__ import annotations

from itertools import pairwise
from struct import Struct
from typing import Final

from raftdb.codec.reader import (
    Buffer,
    Reader,
    pack_entry_id,
    pack_flag,
    pack_member,
    pack_numbers,
    pack_u16,
)
from raftdb.errors import LocalProtocolError
from raftdb.raft.types import ConfState, HardState, MemberID, MemberIDs, SnapshotMetadata

VERSION: Final = 1
_VERSION_BYTE: Final = bytes((VERSION,))
_NUMBERS: Final = Struct(">BQQB")


def encode_member_id(member: MemberID) -> bytes:
    """Return version, id and incarnation."""
    return _VERSION_BYTE + pack_member(member)


def decode_member_id(buffer: Buffer) -> MemberID:
    """Return what :func:`encode_member_id` was given."""
    reader = Reader(buffer, "member id")
    reader.version(VERSION)
    member = reader.member()
    reader.end()
    return member


def encode_hard_state(hard_state: HardState) -> bytes:
    """Return version, term, commit, and the vote after a flag."""
    vote = hard_state.vote
    numbers = pack_numbers(_NUMBERS, VERSION, hard_state.term, hard_state.commit, vote is not None)
    return numbers if vote is None else numbers + pack_member(vote)


def decode_hard_state(buffer: Buffer) -> HardState:
    """Return what :func:`encode_hard_state` was given."""
    reader = Reader(buffer, "hard state")
    reader.version(VERSION)
    term, commit = reader.term(), reader.index()
    vote = reader.member() if reader.flag() else None
    reader.end()
    return HardState(term=term, vote=vote, commit=commit)


def encode_conf_state(conf_state: ConfState) -> bytes:
    """Return version, auto_leave, and the four sorted groups, each after its count."""
    return b"".join(
        (
            _VERSION_BYTE,
            pack_flag(conf_state.auto_leave),
            _pack_group(conf_state.voters),
            _pack_group(conf_state.voters_outgoing),
            _pack_group(conf_state.learners),
            _pack_group(conf_state.learners_next),
        )
    )


def decode_conf_state(buffer: Buffer) -> ConfState:
    """Return what :func:`encode_conf_state` was given."""
    reader = Reader(buffer, "configuration")
    conf_state = read_conf_state(reader)
    reader.end()
    return conf_state


def read_conf_state(reader: Reader) -> ConfState:
    """Take an encoded configuration off the front."""
    reader.version(VERSION)
    return ConfState(
        auto_leave=reader.flag(),
        voters=_read_group(reader),
        voters_outgoing=_read_group(reader),
        learners=_read_group(reader),
        learners_next=_read_group(reader),
    )


def encode_snapshot_metadata(metadata: SnapshotMetadata) -> bytes:
    """Return version, last entry, and the configuration with a version of its own."""
    return _VERSION_BYTE + pack_entry_id(metadata.last) + encode_conf_state(metadata.conf_state)


def decode_snapshot_metadata(buffer: Buffer) -> SnapshotMetadata:
    """Return what :func:`encode_snapshot_metadata` was given."""
    reader = Reader(buffer, "snapshot metadata")
    metadata = read_snapshot_metadata(reader)
    reader.end()
    return metadata


def read_snapshot_metadata(reader: Reader) -> SnapshotMetadata:
    """Take encoded snapshot metadata off the front."""
    reader.version(VERSION)
    return SnapshotMetadata(last=reader.entry_id(), conf_state=read_conf_state(reader))


def _pack_group(members: MemberIDs) -> bytes:
    """Return a count and the members, which must ascend, so that a group has one form."""
    if not _ascends(members):
        raise LocalProtocolError(f"members are not sorted and distinct: {members}")
    return pack_u16(len(members)) + b"".join(map(pack_member, members))


def _read_group(reader: Reader) -> MemberIDs:
    """Take a count and so many ascending members."""
    members = tuple([reader.member() for _ in range(reader.u16())])
    if not _ascends(members):
        raise reader.wrong("members are not sorted and distinct")
    return members


def _ascends(members: MemberIDs) -> bool:
    """Tell whether each member is greater than the one before it."""
    return all(earlier < later for earlier, later in pairwise(members))
