"""The one judgement of recovery: is a bad batch a torn write, which is cut, or damage, which is not?

A save writes one batch into zeros and syncs it before the next batch is begun. So at a crash

- all batches but the last one written are durable, and were perhaps acknowledged;
- of the last one any set of sectors may be missing, and a missing sector still reads as the zeros
  it was filled with. (Where a write is cut inside a sector, what is there is a prefix.)

To cut a durable batch is to lose acknowledged data in silence; to refuse a torn one is to make an
operator wipe a healthy node. Hence the rule [R5]: a bad batch is a torn tail only if **nothing was
written after it and missing writes explain it**; everything else refuses to start.

*Nothing was written after it*: batch N + 1 is begun only after N is durable, so any genuine header
of a higher sequence, whether the rest of that batch is whole or not, proves that N was durable.
The same holds for the next segment, which is begun after N: only the last segment has a tail, and
this function is asked about no other. A genuine header of sequence N in a place that is not its own
is a misdirected write. (One of a lower sequence proves nothing: it may lie inside a stored value,
if somebody keeps a copy of a log in the database.)

*Missing writes explain it* if, within the batch's extent,

- A: a whole sector is zero. A valid batch has no such sector, and as each of its sectors has more
  than one bit set, no single flip makes one; or
- B: its last byte is zero, and so is everything after it: the write ended before its end mark,
  every byte of which has more than one bit set.

The extent is what the header says. Where the header itself is bad it ends with the end mark of
batch N, which is known without the header; and where that is missing too, with the sector of the
segment's last byte that is not zero. A flip in the header alone leaves the end mark, hence an
extent without a zero sector and with a last byte that is not zero: refused. Bytes that are not zero
behind the extent are not of this batch, so no missing write of it explains them: refused.

After a closing batch nothing is written before recovery has made a new file, so nothing is a tail.

What this cannot see: a durable, acknowledged last batch of which the disk returns whole sectors as
zeros. One node alone cannot tell that from a torn write; the cluster does, because the leader
tells each follower how much it has acknowledged [R1].
"""

from __future__ import annotations

from typing import NamedTuple

from raftdb.disk.files import SECTOR_BYTES
from raftdb.storage.batch import END_MARK_BYTES, MAGIC, Header, Place, end_mark, read_header

_ZERO_SECTOR = bytes(SECTOR_BYTES)
_ZERO_BLOCK = bytes(64 * 1024)


class Objection(NamedTuple):
    """Why a bad batch must not be cut.

    :param offset: what in the file proves it
    """

    offset: int
    what: str


def used_bytes(image: bytes) -> int:
    """Return the end of the last byte that is not zero."""
    end = len(image)
    for zeros in (_ZERO_BLOCK, _ZERO_SECTOR):
        while image.endswith(zeros, 0, end):
            end -= len(zeros)
    begin = max(0, end - SECTOR_BYTES)
    return begin + len(image[begin:end].rstrip(b"\0"))


def objection(image: bytes, place: Place, *, salt: bytes, closed: bool) -> Objection | None:
    """Say why what follows the last valid batch is no torn write, or return None: cut it.

    :param image: the whole last segment
    :param place: where the next batch would be; what is there is not a valid batch
    :param salt: the segment's
    :param closed: whether the last valid batch closed the log
    """
    at = place.offset
    used = used_bytes(image)
    if closed:
        return Objection(at, "there are bytes after the batch that closed the log")
    stray = later_batch(image, place, salt)
    if stray is not None:
        return Objection(
            at,
            f"batch {place.sequence} is damaged: batch {stray.place.sequence}, written after it"
            " or meant for another place, proves that it was durable",
        )
    header = read_header(image, at, salt)
    if header is not None and header.place != place:
        return Objection(
            at, f"batch {header.place.sequence} stands where batch {place.sequence} belongs"
        )
    end = _extent_end(image, place, salt, header, used)
    if used > end:
        return Objection(end, f"there are bytes beyond the end of batch {place.sequence}")
    if _has_zero_sector(image, at, end) or image[end - 1] == 0:
        return None
    return Objection(
        at, f"batch {place.sequence} is damaged: its checksum is wrong and no write is missing"
    )


def later_batch(image: bytes, place: Place, salt: bytes) -> Header | None:
    """Return a genuine header behind ``place`` of its sequence or a higher one, or None."""
    at = image.find(MAGIC, place.offset + 1)
    while at >= 0:
        if at % SECTOR_BYTES == 0:
            header = read_header(image, at, salt)
            if header is not None and header.place.sequence >= place.sequence:
                return header
        at = image.find(MAGIC, at + 1)
    return None


def _extent_end(image: bytes, place: Place, salt: bytes, header: Header | None, used: int) -> int:
    """Return the end of the bad batch: by its header, its end mark, or the last byte there is."""
    if header is not None:
        return min(place.offset + header.extent, len(image))
    mark = end_mark(salt, place.sequence)
    at = image.find(mark, place.offset)
    while at >= 0:
        if (at + END_MARK_BYTES) % SECTOR_BYTES == 0:
            return at + END_MARK_BYTES
        at = image.find(mark, at + 1)
    return -(-used // SECTOR_BYTES) * SECTOR_BYTES


def _has_zero_sector(image: bytes, at: int, end: int) -> bool:
    return any(image.startswith(_ZERO_SECTOR, sector) for sector in range(at, end, SECTOR_BYTES))
