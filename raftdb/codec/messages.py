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
    INCARNATION_BYTES,
    U32,
    Buffer,
    Reader,
    pack_entry_id,
    pack_flag,
    pack_index,
    pack_member,
    pack_numbers,
    pack_term,
    pack_u64,
)
from raftdb.codec.states import encode_snapshot_metadata, read_snapshot_metadata
from raftdb.errors import LocalProtocolError, RemoteProtocolError
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
_ANSWER: Final = Struct(">QBQQ")
_BEAT: Final = Struct(">QB")
_SENDER_AT: Final = 10
"""Where the sender stands, after version, kind and term."""

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
    source, begin, messages = bytes(buffer), 0, []
    end = len(source)
    while begin < end:
        length = int.from_bytes(source[begin : begin + U32.size], "big")
        begin += U32.size
        if begin + length > end:
            raise RemoteProtocolError(f"messages: end at {end}, {length} bytes are due at {begin}")
        messages.append(decode_message(source[begin : begin + length]))
        begin += length
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
    source = bytes(buffer)
    try:
        receiver_at = _SENDER_AT + 1 + source[_SENDER_AT] + INCARNATION_BYTES
        end = receiver_at + 1 + source[receiver_at] + INCARNATION_BYTES
    except IndexError:
        end = len(source)  # it is cut off, and whoever reads it says where
    kind, term, sender, receiver = _read_envelope(source[:end])
    reader = Reader(source, "message", end)
    message = _read_body(reader, kind, sender, receiver, term)
    reader.end()
    return message


@lru_cache(maxsize=256)
def _read_envelope(envelope: bytes) -> tuple[int, int, MemberID, MemberID]:
    """Return kind, term, sender and receiver; as with :func:`_pack_envelope`, there are few."""
    reader = Reader(envelope, "message")
    reader.version(VERSION)
    return reader.u8(), reader.term(), reader.member(), reader.member()


def _pack_body(message: Message) -> bytes:  # noqa: C901  (one flat table: a case per message)
    """Return what follows the envelope."""
    match message:
        case AppendEntries():
            return _pack_append(message)
        case AppendEntriesResponse(index=index, rejected=rejected, hint=hint):
            return pack_numbers(_ANSWER, index, rejected, hint.term, hint.index)
        case Heartbeat(commit=commit, match=match, round=number):
            return pack_numbers(_THREE, commit, match, number)
        case HeartbeatResponse(round=number, full=full):
            return pack_numbers(_BEAT, number, full)
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
            index, rejected, hint_term, hint_index = reader.numbers(_ANSWER)
            hint = EntryID(hint_term, hint_index)
            return AppendEntriesResponse(
                sender, receiver, term, index, reader.as_flag(rejected), hint
            )
        case 3:
            commit, match, number = reader.numbers(_THREE)
            return Heartbeat(sender, receiver, term, commit, match, number)
        case 4:
            number, full = reader.numbers(_BEAT)
            return HeartbeatResponse(sender, receiver, term, number, reader.as_flag(full))
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
    previous = append.previous
    numbers = pack_numbers(_FOUR, previous.term, previous.index, append.commit, append.match)
    return numbers + encode_entries(append.entries)


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
