"""The header of a log segment, its bytes and its name; pure.

A segment is a file of fixed length: a header of 4,096 bytes, then batches, then zeros. The header
names whose log it is, continues the chain of digests of the segment before, and repeats the hard
state: without it the term and the vote would vanish with the segments that compaction deletes [R3].
"""

from __future__ import annotations

import re
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from raftdb.codec import (
    decode_hard_state,
    decode_member_id,
    encode_hard_state,
    encode_member_id,
)
from raftdb.errors import Corrupt, RemoteProtocolError, StorageError
from raftdb.raft.types import EntryID, HardState, MemberID
from raftdb.storage.batch import DIGEST_BYTES, SALT_BYTES

HEADER_BYTES = 4096
"""A page, so that batches begin at a multiple of every sector size in use."""

FORMAT = 1
_MAGIC = b"raftdbW\n"
_FIELDS = Struct(f">8sHI16sQQQ{SALT_BYTES}s{DIGEST_BYTES}sQQHH")
_NAME_DIGITS = 16
_SUFFIX = ".log"
_SPARE_SUFFIX = ".spare"
_COPY_SUFFIX = ".copy"
_MARK_SUFFIX = ".begun"
_DIGITS = re.compile(r"[0-9]{16}")
_LEFTOVER = re.compile(r"[0-9]{16}(\.spare|\.new\.spare|\.copy)")

ADVICE = (
    "nothing was changed. Move the data directory away and let the node join again; if this was a"
    " cluster of one, restore the whole directory from a backup (docs/operations.md)"
)
"""What a person can do about damage: another member's copy is the data's only honest source."""


class Owner(NamedTuple):
    """Whose files these are; a file of another owner is refused.

    :param cluster_id: ``0 <= cluster_id < 2**128``
    :param group: always 0 today; room for several Raft groups in one process
    """

    member: MemberID
    cluster_id: int
    group: int = 0


class SegmentHeader(NamedTuple):
    """What stands in front of a segment's batches.

    :param size: of the whole file, in bytes
    :param sequence: of its first batch
    :param salt: random; keys the checksums of the segment's batches
    :param chain: the digest of the last batch before this segment, zeros for none
    :param previous: the last entry of the log when the segment began
    :param hard_state: in force when the segment began
    """

    owner: Owner
    number: int
    size: int
    sequence: int
    salt: bytes
    chain: bytes
    previous: EntryID
    hard_state: HardState


def segment_name(number: int) -> str:
    """Return the file name of a segment that is in use."""
    return f"{number:0{_NAME_DIGITS}d}{_SUFFIX}"


def spare_name(number: int) -> str:
    """Return the file name of the ``number``-th file zero-filled ahead of need."""
    return f"{number:0{_NAME_DIGITS}d}{_SPARE_SUFFIX}"


def unfinished_spare_name(number: int) -> str:
    """Return the file name of a spare until all of it is durable."""
    return f"{number:0{_NAME_DIGITS}d}.new{_SPARE_SUFFIX}"


def copy_name(number: int) -> str:
    """Return the file name under which recovery rewrites a segment."""
    return f"{number:0{_NAME_DIGITS}d}{_COPY_SUFFIX}"


def mark_name(number: int) -> str:
    """Return the name of the empty file that says which segment was begun last."""
    return f"{number:0{_NAME_DIGITS}d}{_MARK_SUFFIX}"


def segment_number(name: str) -> int | None:
    """Return the number in a segment's file name, or None for any other name."""
    return _number(name, _SUFFIX)


def spare_number(name: str) -> int | None:
    """Return the number in a spare's file name, or None for any other name."""
    return _number(name, _SPARE_SUFFIX)


def mark_number(name: str) -> int | None:
    """Return the number in the name of a mark, or None for any other name."""
    return _number(name, _MARK_SUFFIX)


def _number(name: str, suffix: str) -> int | None:
    digits = name.removesuffix(suffix)
    return int(digits) if digits != name and _DIGITS.fullmatch(digits) else None


def is_leftover(name: str) -> bool:
    """Tell whether a file of ours never belonged to the log: a spare, or a copy never finished."""
    return _LEFTOVER.fullmatch(name) is not None


def may_be_segment(content: bytes) -> bool:
    """Tell whether a file may have been begun by us: with zeros, or with some of a header.

    :param content: all of the file, or what it begins with
    """
    return _MAGIC.startswith(content[: len(_MAGIC)].rstrip(b"\0"))


def encode_header(header: SegmentHeader) -> tuple[bytes, bytes]:
    """Return the header's 4,096 bytes and the digest that begins the segment's chain."""
    owner = header.owner
    member = encode_member_id(owner.member)
    hard_state = encode_hard_state(header.hard_state)
    fields = _FIELDS.pack(
        _MAGIC,
        FORMAT,
        owner.group,
        owner.cluster_id.to_bytes(16),
        header.number,
        header.size,
        header.sequence,
        header.salt,
        header.chain,
        header.previous.term,
        header.previous.index,
        len(member),
        len(hard_state),
    )
    body = (fields + member + hard_state).ljust(HEADER_BYTES - DIGEST_BYTES, b"\0")
    assert len(body) == HEADER_BYTES - DIGEST_BYTES, "ids are limited so that this cannot happen"
    digest = _digest(body)
    return body + digest, digest


def decode_header(block: bytes, path: str) -> tuple[SegmentHeader, bytes]:
    """Return a header and its digest.

    :raises Corrupt: where it is not what was written: it was durable before it got its name
    :raises StorageError: where a newer version wrote it
    """
    body, digest = block[:-DIGEST_BYTES], block[-DIGEST_BYTES:]
    if len(block) != HEADER_BYTES or _digest(body) != digest or not body.startswith(_MAGIC):
        raise Corrupt(path, 0, f"the segment's header is damaged; {ADVICE}")
    (
        _, version, group, cluster, number, size, sequence, salt, chain, term, index, *lengths
    ) = _FIELDS.unpack_from(body)  # fmt: skip
    if version != FORMAT:
        raise StorageError(
            f"{path} has format {version}, this program knows {FORMAT}: start the newer program"
        )
    member_end = _FIELDS.size + lengths[0]
    try:
        member = decode_member_id(body[_FIELDS.size : member_end])
        hard_state = decode_hard_state(body[member_end : member_end + lengths[1]])
    except RemoteProtocolError as error:
        raise Corrupt(path, _FIELDS.size, f"{error}; {ADVICE}") from error
    header = SegmentHeader(
        owner=Owner(member, int.from_bytes(cluster), group),
        number=number,
        size=size,
        sequence=sequence,
        salt=salt,
        chain=chain,
        previous=EntryID(term, index),
        hard_state=hard_state,
    )
    return header, digest


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=DIGEST_BYTES).digest()
