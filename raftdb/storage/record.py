"""What a batch in the log says: hard state, an installed snapshot, entries; and its bytes.

::

    format u8 | hard state: length u32, bytes | snapshot: length u32, bytes | entries to the end

A length of 0 means that there is none. Entries are encoded as on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812  (an exception class, whatever its case)
from typing import NamedTuple

from raftdb.codec import (
    decode_entries,
    decode_hard_state,
    decode_snapshot_metadata,
    encode_entries,
    encode_hard_state,
    encode_snapshot_metadata,
)
from raftdb.errors import RemoteProtocolError
from raftdb.raft.types import Entry, EntryID, HardState, SnapshotMetadata

FORMAT = 1
_LENGTH = Struct(">I")


class Record(NamedTuple):
    """The content of one batch, in the order in which it takes effect at recovery.

    :param hard_state: in force from here on
    :param snapshot: is durable as a file and replaces the log up to its last entry
    :param entries: follow one another; the first cuts away what lay at its index or after it
    """

    hard_state: HardState | None
    snapshot: SnapshotMetadata | None = None
    entries: Sequence[Entry] = ()

    @property
    def last(self) -> EntryID | None:
        """The end of the log after this record, or None where it stays as it was."""
        if self.entries:
            return self.entries[-1].id
        return self.snapshot.last if self.snapshot is not None else None

    @property
    def index_range(self) -> tuple[int, int]:
        """The first and the last index of the entries, (0, 0) for none."""
        return (self.entries[0].index, self.entries[-1].index) if self.entries else (0, 0)


def encode_record(record: Record) -> bytes:
    """Return the payload of a batch."""
    hard_state = b"" if record.hard_state is None else encode_hard_state(record.hard_state)
    snapshot = b"" if record.snapshot is None else encode_snapshot_metadata(record.snapshot)
    return b"".join(
        (
            bytes((FORMAT,)),
            _LENGTH.pack(len(hard_state)),
            hard_state,
            _LENGTH.pack(len(snapshot)),
            snapshot,
            encode_entries(record.entries),
        )
    )


class RecordParts(NamedTuple):
    """The encoded parts of a record, each empty where there is none."""

    hard_state: bytes
    snapshot: bytes
    entries: bytes


def split_record(payload: bytes) -> RecordParts:
    """Return the parts of a record as they are.

    :raises RemoteProtocolError: where the payload is not a record; its checksum was right, so
        another version of the program wrote it
    """
    if payload[:1] != bytes((FORMAT,)):
        raise RemoteProtocolError(f"a record of format {payload[:1].hex()} is unknown")
    try:
        at = 1
        (length,) = _LENGTH.unpack_from(payload, at)
        hard_state = payload[at + 4 : at + 4 + length]
        at += 4 + length
        (length,) = _LENGTH.unpack_from(payload, at)
        snapshot = payload[at + 4 : at + 4 + length]
        at += 4 + length
    except StructError as error:
        raise RemoteProtocolError("a record is cut off") from error
    return RecordParts(hard_state, snapshot, payload[at:])


def decode_record(payload: bytes) -> Record:
    """Return what :func:`encode_record` was given.

    :raises RemoteProtocolError: where the payload is not a record
    """
    hard_state, snapshot, entries = split_record(payload)
    return Record(
        hard_state=decode_hard_state(hard_state) if hard_state else None,
        snapshot=decode_snapshot_metadata(snapshot) if snapshot else None,
        entries=decode_entries(entries),
    )
