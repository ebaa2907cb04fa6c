"""The bytes of one batch in the log: framing, checksums and marks over an opaque payload; pure.

A batch is what one save makes durable. It is a whole number of 512-byte sectors::

    stream   = header (80 bytes) | payload | zeros up to the capacity
    sector   = 511 bytes of the stream | 0xA5                     all but the last sector
    sector   = 504 bytes of the stream | end mark (8 bytes)       the last sector

So no sector of a batch ever has fewer than two bits set, not even where values are all NULs: a
sector that reads as zeros was never written, and no single flipped bit can make it look that way.
The header ends with a checksum of its own, keyed by the segment's random salt, so that no value a
user stores can pass for a header. The body's digest covers the header's fields and all of the
stream after it, padding included, and is keyed by the digest of the batch before: a chain.
``docs/storage.md`` draws it.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from raftdb.disk.files import SECTOR_BYTES

DIGEST_BYTES = 16
SALT_BYTES = 16

MAGIC = b"rdbB"
FORMAT = 1

_FIELDS = Struct(">4sBBHIIQQQQQ")
"""Magic, format, kind, zero, sectors, payload bytes, segment, offset, sequence, first, last."""

_CHECKSUM_BYTES = 8
HEADER_BYTES = _FIELDS.size + DIGEST_BYTES + _CHECKSUM_BYTES
MARK = b"\xa5"
END_MARK_BYTES = 8
_STREAM_BYTES = SECTOR_BYTES - len(MARK)
_LAST_STREAM_BYTES = SECTOR_BYTES - END_MARK_BYTES
_TWO_BITS_PER_BYTE = 0x2424242424242424
_ONES = 2**64 - 1
_ODD = 0x9E3779B97F4A7C15
"""Any odd number spreads the sequences over 64 bits without two of them meeting."""


class Kind(IntEnum):
    """What a batch is there for."""

    SAVE = 1
    CLOSE = 2


class Place(NamedTuple):
    """Where a batch belongs: nowhere else is it valid.

    :param segment: the segment's number, from 1
    :param offset: of its first byte in the segment's file, a multiple of 512
    :param sequence: counts the batches of a data directory from 1
    """

    segment: int
    offset: int
    sequence: int


class Header(NamedTuple):
    """The readable part of a batch's header whose checksum is right.

    :param kind: one of :class:`Kind`, unless a newer version wrote it
    :param first: the index of the first entry in the payload, 0 for none
    :param last: the index of the last one, 0 for none
    """

    format: int
    kind: int
    sectors: int
    payload_bytes: int
    place: Place
    first: int
    last: int
    digest: bytes

    @property
    def extent(self) -> int:
        """How many bytes the batch takes in the file."""
        return self.sectors * SECTOR_BYTES


def sectors_for(payload_bytes: int) -> int:
    """Return how many sectors a batch with such a payload takes."""
    stream = HEADER_BYTES + payload_bytes
    return 1 + max(0, -(-(stream - _LAST_STREAM_BYTES) // _STREAM_BYTES))


def extent_for(payload_bytes: int) -> int:
    """Return how many bytes a batch with such a payload takes in the file."""
    return sectors_for(payload_bytes) * SECTOR_BYTES


def end_mark(salt: bytes, sequence: int) -> bytes:
    """Return the last 8 bytes of the batch with this sequence in the segment with this salt.

    Each of them has at least two bits set: neither a tear inside the mark nor a flipped bit in it
    can be taken for the other.
    """
    drawn = int.from_bytes(salt[:END_MARK_BYTES]) ^ (sequence * _ODD & _ONES)
    return (drawn | _TWO_BITS_PER_BYTE).to_bytes(END_MARK_BYTES)


def encode(
    payload: bytes, *, kind: Kind, place: Place, first: int, last: int, salt: bytes, chain: bytes
) -> tuple[bytes, bytes]:
    """Return a batch's bytes and its digest.

    :param chain: the digest of the batch before, or of the segment's header for the first one
    """
    sectors = sectors_for(len(payload))
    fields = _FIELDS.pack(
        MAGIC, FORMAT, kind, 0, sectors, len(payload), *place, first, last
    )  # fmt: skip
    room = (sectors - 1) * _STREAM_BYTES + _LAST_STREAM_BYTES - HEADER_BYTES
    body = payload.ljust(room, b"\0")
    digest = _digest(fields, body, chain)
    header = fields + digest
    stream = header + _checksum(header, salt) + body
    if sectors > 1:
        cut = (sectors - 1) * _STREAM_BYTES
        parts = [stream[at : at + _STREAM_BYTES] for at in range(0, cut, _STREAM_BYTES)]
        parts.append(stream[cut:])
        stream = MARK.join(parts)
    return stream + end_mark(salt, place.sequence), digest


def read_header(image: bytes, at: int, salt: bytes) -> Header | None:
    """Return the header at ``at`` if its checksum is right, wherever it belongs."""
    if not image.startswith(MAGIC, at):
        return None
    header = image[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES:
        return None
    checked = header[:-_CHECKSUM_BYTES]
    if _checksum(checked, salt) != header[-_CHECKSUM_BYTES:]:
        return None
    _, version, kind, _, sectors, payload_bytes, segment, offset, sequence, first, last = (
        _FIELDS.unpack_from(header)
    )
    place = Place(segment, offset, sequence)
    return Header(
        version, kind, sectors, payload_bytes, place, first, last, checked[_FIELDS.size :]
    )


def read_payload(image: bytes, header: Header, *, salt: bytes, chain: bytes) -> bytes | None:
    """Return the payload of the batch in its place, or None where any byte of it is wrong."""
    at = header.place.offset
    end = at + header.extent
    mark_at = end - END_MARK_BYTES
    if end > len(image) or image[mark_at:end] != end_mark(salt, header.place.sequence):
        return None
    if header.sectors == 1:
        stream = image[at:mark_at]
    else:
        if image[at + _STREAM_BYTES : mark_at : SECTOR_BYTES] != MARK * (header.sectors - 1):
            return None
        starts = range(at, end - SECTOR_BYTES, SECTOR_BYTES)
        parts = [image[start : start + _STREAM_BYTES] for start in starts]
        parts.append(image[end - SECTOR_BYTES : mark_at])
        stream = b"".join(parts)
    body = stream[HEADER_BYTES:]
    if _digest(stream[: _FIELDS.size], body, chain) != header.digest:
        return None
    return body[: header.payload_bytes]


def _digest(fields: bytes, body: bytes, chain: bytes) -> bytes:
    digest = blake2b(fields, digest_size=DIGEST_BYTES, key=chain)
    digest.update(body)
    return digest.digest()


def _checksum(header: bytes, salt: bytes) -> bytes:
    return blake2b(header, digest_size=_CHECKSUM_BYTES, key=salt).digest()
