"""Bytes of Raft messages: ``version u8 | kind u8 | term u64 | sender | receiver | body``.

One pair of functions per kind of body, beside each other, and one table that holds them together.
What :func:`decode_message` returns keeps the promises of its class, so the core may assert them:
the entries of an AppendEntries follow one another and ``previous``, and no term exceeds the
message's.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from typing import Final, assert_never

from raftdb.codec.entries import decode_entries, encode_entries
from raftdb.codec.reader import (
    U32,
    Buffer,
    Reader,
    pack_entry_id,
    pack_flag,
    pack_index,
    pack_member,
    pack_term,
    pack_u64,
)
from raftdb.codec.states import encode_snapshot_metadata, read_snapshot_metadata
from raftdb.errors import LocalProtocolError
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdb.raft.types import EntryID, MemberID, ReadID

VERSION: Final = 1

_THREE: Final = Struct(">QQQ")
_FOUR: Final = Struct(">QQQQ")

KINDS: Final[dict[type[Message], int]] = {
    AppendEntries: 1,
    AppendEntriesResponse: 2,
    Heartbeat: 3,
    HeartbeatResponse: 4,
    PreVote: 5,
    PreVoteResponse: 6,
    RequestVote: 7,
    RequestVoteResponse: 8,
    InstallSnapshot: 9,
    TimeoutNow: 10,
    ReadIndex: 11,
    ReadIndexResponse: 12,
}
"""The kind byte of each message; a number is never used again for something else."""


def encode_messages(messages: Iterable[Message]) -> bytes:
    """Return the messages' bytes, each after its length as u32."""
    parts: list[bytes] = []
    for message in messages:
        encoded = encode_message(message)
        if len(encoded) >= 2**32:
            raise LocalProtocolError(f"a message of {len(encoded)} bytes")
        parts.append(U32.pack(len(encoded)))
        parts.append(encoded)
    return b"".join(parts)


def decode_messages(buffer: Buffer) -> list[Message]:
    """Return all messages in ``buffer``, or none if one of them is wrong."""
    reader = Reader(buffer, "messages")
    messages = []
    while not reader.at_end:
        messages.append(decode_message(reader.take(reader.u32())))
    return messages


def encode_message(message: Message) -> bytes:
    """Return one message's bytes.

    :raises LocalProtocolError: where a number or a name is out of range
    """
    envelope = _pack_envelope(KINDS[type(message)], message.term, message.sender, message.receiver)
    return envelope + _pack_body(message)


@lru_cache(maxsize=256)
def _pack_envelope(kind: int, term: int, sender: MemberID, receiver: MemberID) -> bytes:
    """Return what stands before the body: the same bytes again and again, within a term."""
    return b"".join(
        (bytes((VERSION, kind)), pack_term(term), pack_member(sender), pack_member(receiver))
    )


def decode_message(buffer: Buffer) -> Message:
    """Return exactly one message.

    :raises RemoteProtocolError: where the bytes are not the encoding of a message, or the message
        breaks a promise of its class
    """
    reader = Reader(buffer, "message")
    reader.version(VERSION)
    kind, term = reader.u8(), reader.term()
    message = _read_body(reader, kind, reader.member(), reader.member(), term)
    reader.end()
    return message


def _pack_body(message: Message) -> bytes:  # noqa: C901  (one flat table: a case per message)
    """Return what follows the envelope."""
    match message:
        case AppendEntries():
            return _pack_append(message)
        case AppendEntriesResponse(index=index, rejected=rejected, hint=hint):
            return pack_index(index) + pack_flag(rejected) + pack_entry_id(hint)
        case Heartbeat(commit=commit, match=match, round=number):
            return pack_index(commit) + pack_index(match) + pack_index(number)
        case HeartbeatResponse(round=number, full=full):
            return pack_index(number) + pack_flag(full)
        case PreVote() | RequestVote():
            return (
                pack_entry_id(message.last)
                + pack_flag(message.transfer)
                + pack_entry_id(message.commit)
            )
        case PreVoteResponse(granted=granted, commit=committed):
            return pack_flag(granted) + pack_entry_id(committed)
        case RequestVoteResponse(granted=granted, commit=committed):
            return pack_flag(granted) + pack_entry_id(committed)
        case InstallSnapshot(snapshot=snapshot):
            return encode_snapshot_metadata(snapshot)
        case TimeoutNow():
            return b""
        case ReadIndex(read=read):
            return _pack_read(read)
        case ReadIndexResponse(read=read, index=index):
            return _pack_read(read) + pack_index(index)
        case _:
            assert_never(message)


def _read_body(  # noqa: C901, PLR0912  (one flat table: a case per kind)
    reader: Reader, kind: int, sender: MemberID, receiver: MemberID, term: int
) -> Message:
    """Take what follows the envelope; the numbers are those of ``KINDS``."""
    match kind:
        case 1:
            return _read_append(reader, sender, receiver, term)
        case 2:
            return AppendEntriesResponse(
                sender, receiver, term, reader.index(), reader.flag(), reader.entry_id()
            )
        case 3:
            commit, match, number = reader.numbers(_THREE)
            return Heartbeat(sender, receiver, term, commit, match, number)
        case 4:
            return HeartbeatResponse(sender, receiver, term, reader.index(), reader.flag())
        case 5:
            last, transfer, committed = reader.entry_id(), reader.flag(), reader.entry_id()
            return PreVote(sender, receiver, term, last, transfer, committed)
        case 6:
            return PreVoteResponse(sender, receiver, term, reader.flag(), reader.entry_id())
        case 7:
            last, transfer, committed = reader.entry_id(), reader.flag(), reader.entry_id()
            return RequestVote(sender, receiver, term, last, transfer, committed)
        case 8:
            return RequestVoteResponse(sender, receiver, term, reader.flag(), reader.entry_id())
        case 9:
            return InstallSnapshot(sender, receiver, term, read_snapshot_metadata(reader))
        case 10:
            return TimeoutNow(sender, receiver, term)
        case 11:
            return ReadIndex(sender, receiver, term, _read_read(reader))
        case 12:
            return ReadIndexResponse(sender, receiver, term, _read_read(reader), reader.index())
        case _:
            raise reader.wrong(f"kind {kind} is unknown")


def _pack_append(append: AppendEntries) -> bytes:
    """Return previous, commit, match, and the entries to the end."""
    return b"".join(
        (
            pack_entry_id(append.previous),
            pack_index(append.commit),
            pack_index(append.match),
            encode_entries(append.entries),
        )
    )


def _read_append(reader: Reader, sender: MemberID, receiver: MemberID, term: int) -> AppendEntries:
    """Take an AppendEntries and check that its entries are one piece of one log."""
    previous_term, previous_index, commit, match = reader.numbers(_FOUR)
    previous = EntryID(previous_term, previous_index)
    entries = decode_entries(reader.rest())
    before_term, before_index = previous.term, previous.index
    for entry in entries:
        if entry.index != before_index + 1 or entry.term < before_term:
            raise reader.wrong(f"entry {entry.id} cannot follow {before_term}, {before_index}")
        before_term, before_index = entry.term, entry.index
    if before_term > term:
        raise reader.wrong(f"entry of term {before_term} in a message of term {term}")
    return AppendEntries(sender, receiver, term, previous, entries, commit, match)


def _pack_read(read: ReadID) -> bytes:
    """Return requester, boot and counter."""
    return pack_member(read.requester) + pack_u64(read.boot) + pack_u64(read.counter)


def _read_read(reader: Reader) -> ReadID:
    """Take the name of a read."""
    return ReadID(reader.member(), reader.u64(), reader.u64())
