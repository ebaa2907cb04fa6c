"""What the store holds and answers: one version of a key, its bytes and digest, and the results.

Knows nothing of how versions are kept. The bytes of a version are the same in a snapshot and under
the state hash, so a restored version that hashes alike is alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple, TypeAlias

import msgspec

from raftdb.errors import RemoteProtocolError
from raftdb.state.digest import digest
from raftdb.state.wire import Codec

FIRST_REVISION = 1
"""Of an empty store; 0 is no revision, so that it may stand for none."""

VERSION_HEADER = Struct(">HQQQQ")
"""Length of the key, create_revision, mod_revision, version, lease; key and value follow."""

LINEAGE = Struct(">2xQQQ8x")
"""What :func:`revisions_of` returns, for loops that cannot pay for a call."""

_MOD_REVISION = Struct(">10xQ")
_AT_VERSION = slice(18, 26)
_NO_VERSION = bytes(8)

VERSION_HEADER_BYTES = VERSION_HEADER.size
"""What the encoding of a version takes besides its key and value."""


class KeyValue(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One version of one key.

    A deletion is a version too, the tombstone: ``version`` 0, ``create_revision`` 0, no value.

    :param key: 1 to 4,096 bytes
    :param value: any bytes
    :param create_revision: the store revision at which the key last came into being
    :param mod_revision: the store revision that wrote this version
    :param version: counts the writes since the creation, from 1
    :param lease: the lease it lives by, 0 for none
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Retention(NamedTuple):
    """How much history is kept; replicated, because compaction must be the same everywhere.

    :param revisions: how many revisions behind the newest can be read, at least 0
    :param bytes: what superseded versions may count together, at least 0
    """

    revisions: int = 10_000
    bytes: int = 64 * 1024 * 1024


class RangePage(msgspec.Struct, frozen=True):
    """One page of a range, all of it read at ``revision``.

    :param pairs: live keys in bytewise order
    :param revision: what to pass to read the following pages from the same state
    :param next: where the next page starts, None where the range is exhausted; a page may be
        short, even empty, and still have a next one
    """

    pairs: tuple[KeyValue, ...]
    revision: int
    next: bytes | None


class PutResult(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """What became of a put.

    :param revision: the store revision after it
    """

    revision: int


class DeleteResult(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """What became of a deletion.

    :param revision: the store revision after it, unchanged where nothing was deleted
    :param deleted: how many keys it removed
    """

    revision: int
    deleted: int


class CompareAndSwapResult(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """What became of a compare-and-swap.

    :param revision: the store revision after it, unchanged where nothing was swapped
    :param swapped: whether the expectation held
    :param current: the key as it stands now, after the swap or instead of it; None for absent
    """

    revision: int
    swapped: bool
    current: KeyValue | None


class RetentionResult(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    """What became of a change of the retention.

    :param compact_revision: the oldest revision that can still be read
    """

    compact_revision: int


Result: TypeAlias = PutResult | DeleteResult | CompareAndSwapResult | RetentionResult

RESULTS: Codec[Result] = Codec(Result, "the result of a key-value command")
"""Their bytes, as the requests part remembers them."""


def encode_version(kv: KeyValue) -> bytes:
    """Return the bytes of one version; the value takes what the header leaves."""
    return version_bytes(
        kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease
    )


def version_bytes(
    key: bytes, value: bytes, created: int, modified: int, version: int, lease: int = 0
) -> bytes:
    """Return what :func:`encode_version` returns for a version of these parts."""
    return VERSION_HEADER.pack(len(key), created, modified, version, lease) + key + value


def decode_version(data: bytes) -> KeyValue:
    """Return the version behind ``data``.

    :raises RemoteProtocolError: where the bytes end inside the header or the key
    """
    key = key_of(data)
    _, created, modified, version, lease = VERSION_HEADER.unpack_from(data)
    return KeyValue(key, data[VERSION_HEADER.size + len(key) :], created, modified, version, lease)


def key_of(record: bytes) -> bytes:
    """Return the key of an encoded version.

    :raises RemoteProtocolError: where the bytes end inside the header or the key
    """
    if len(record) < VERSION_HEADER.size:
        raise RemoteProtocolError(f"{len(record)} bytes are too few for a version's header")
    length = record[0] << 8 | record[1]
    end = VERSION_HEADER.size + length
    if not length or end > len(record):
        raise RemoteProtocolError(f"a key of {length} bytes in a version of {len(record)} bytes")
    return record[VERSION_HEADER.size : end]


def revisions_of(record: bytes) -> tuple[int, int, int]:
    """Return create_revision, mod_revision and version of an encoded version."""
    parts: tuple[int, int, int] = LINEAGE.unpack_from(record)
    return parts


def is_tombstone(record: bytes) -> bool:
    """Return whether an encoded version is a deletion."""
    return record[_AT_VERSION] == _NO_VERSION


def mod_revision(record: bytes) -> int:
    """Return the revision that wrote an encoded version."""
    modified: int = _MOD_REVISION.unpack_from(record)[0]
    return modified


def digest_sum(records: Iterable[bytes]) -> int:
    """Return the sum of the hashes of ``records``, not reduced."""
    return sum(map(digest, records))
