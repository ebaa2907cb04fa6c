"""Bytes of log entries, the same in the log and on the wire, and of configuration changes.

An entry is ``length u32 | tag u8 | term u64 | index u64 | body``, where ``length`` counts what
follows it. The tag is version and kind in one: 1 for a proposal, whose body is its bytes, 2 for a
configuration change, whose body is an encoded change. Several entries are simply concatenated.

The loops are flat and by hand because every write passes them three times or more. Nothing is kept
of what was encoded before: an entry costs a quarter of a microsecond, against a hundred for the
whole write, and bytes that are kept have to be found, bounded and thrown away again.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from struct import error as StructError  # noqa: N812  (an exception class, whatever its case)
from typing import Final

from raftdb.codec.reader import INDEX_MAX, Buffer, Reader, pack_member, pack_u16
from raftdb.errors import LocalProtocolError, RemoteProtocolError
from raftdb.raft.types import (
    TERM_MAX,
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    Entry,
    Transition,
)

VERSION: Final = 1
TAG_NORMAL: Final = 1
TAG_CONF_CHANGE: Final = 2

HEADER: Final = Struct(">IBQQ")
_LENGTH_BYTES: Final = 4
_HEADER_BYTES: Final = HEADER.size
_FIXED_BYTES: Final = _HEADER_BYTES - _LENGTH_BYTES

_KINDS: Final = {kind.value: kind for kind in ConfChangeKind}
_TRANSITIONS: Final = {transition.value: transition for transition in Transition}


def encode_entry(entry: Entry) -> bytes:
    """Return one entry's bytes; see the module for the layout."""
    return encode_entries((entry,))


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """Return the entries' bytes, one after the other.

    :raises LocalProtocolError: for an entry with both data and change, or a number out of range
    """
    parts: list[bytes] = []
    add, pack = parts.append, HEADER.pack
    for entry in entries:
        tag, body = TAG_NORMAL, entry.data
        if entry.change is not None:
            if body:
                raise LocalProtocolError(f"entry {entry.id} has both data and a change")
            tag, body = TAG_CONF_CHANGE, encode_conf_change(entry.change)
        if not (0 < entry.term <= TERM_MAX and 0 < entry.index <= INDEX_MAX):
            raise LocalProtocolError(f"{entry.id} is no name of an entry")
        try:
            add(pack(_FIXED_BYTES + len(body), tag, entry.term, entry.index))
        except StructError as error:
            raise LocalProtocolError(f"entry {entry.id} has {len(body)} bytes") from error
        add(body)
    return b"".join(parts)


def decode_entry(buffer: Buffer) -> Entry:
    """Return exactly one entry."""
    entries = decode_entries(buffer)
    if len(entries) != 1:
        raise RemoteProtocolError(f"entry: {len(entries)} entries where one is due")
    return entries[0]


def decode_entries(buffer: Buffer) -> tuple[Entry, ...]:
    """Return all entries in ``buffer``; their order is not judged here.

    :raises RemoteProtocolError: where the bytes are not the encoding of entries
    """
    source = bytes(buffer)
    entries: list[Entry] = []
    add, unpack_from = entries.append, HEADER.unpack_from
    offset, end = 0, len(source)
    last_begin = end - _HEADER_BYTES
    length: int
    tag: int
    term: int
    index: int
    while offset < end:
        if offset > last_begin:
            raise _wrong("cut off in a header", offset)
        length, tag, term, index = unpack_from(source, offset)
        body_begin = offset + _HEADER_BYTES
        body_end = offset + _LENGTH_BYTES + length
        if not body_begin <= body_end <= end:
            raise _wrong(f"length {length} does not fit", offset)
        if not (0 < term <= TERM_MAX and 0 < index <= INDEX_MAX):
            raise _wrong(f"term {term} or index {index} is out of range", offset)
        if tag == TAG_NORMAL:
            add(Entry(term, index, source[body_begin:body_end]))
        elif tag == TAG_CONF_CHANGE:
            change = decode_conf_change(source[body_begin:body_end])
            add(Entry(term, index, b"", change))
        else:
            raise _wrong(f"tag {tag} is unknown", offset)
        offset = body_end
    return tuple(entries)


def encode_conf_change(change: ConfChange) -> bytes:
    """Return version, transition, the counted single changes, and the context to the end."""
    return b"".join(
        (
            bytes((VERSION, change.transition.value)),
            pack_u16(len(change.changes)),
            *(
                bytes((single.kind.value,)) + pack_member(single.member)
                for single in change.changes
            ),
            change.context,
        )
    )


def decode_conf_change(buffer: Buffer) -> ConfChange:
    """Return what :func:`encode_conf_change` was given."""
    reader = Reader(buffer, "configuration change")
    reader.version(VERSION)
    transition = _TRANSITIONS.get(reader.u8())
    if transition is None:
        raise reader.wrong("unknown transition")
    changes = tuple([_read_single(reader) for _ in range(reader.u16())])
    return ConfChange(changes=changes, transition=transition, context=reader.rest())


def _read_single(reader: Reader) -> ConfChangeSingle:
    """Take one member's part of a change."""
    kind = _KINDS.get(reader.u8())
    if kind is None:
        raise reader.wrong("unknown kind of change")
    return ConfChangeSingle(kind, reader.member())


def _wrong(what: str, offset: int) -> RemoteProtocolError:
    """Return the error to raise."""
    return RemoteProtocolError(f"entries: {what} at byte {offset}")
