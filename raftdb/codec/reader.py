"""How single values lie in bytes: numbers, flags, names; a cursor that reads nothing twice.

Knows the types of :mod:`raftdb.raft.types` that have no version of their own, and nothing of
entries or messages. All numbers are unsigned and big-endian.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812  (an exception class, whatever its case)
from typing import Final, TypeAlias

from raftdb.errors import LocalProtocolError, RemoteProtocolError
from raftdb.raft.types import TERM_MAX, EntryID, MemberID

INDEX_MAX: Final = 2**62
"""An index above this is refused, for the reason of ``TERM_MAX``."""

MEMBER_ID_BYTES_MAX: Final = 255
"""The longest member id, in bytes of UTF-8; the shortest is 1."""

INCARNATION_BYTES: Final = 16

Buffer: TypeAlias = bytes | memoryview
"""What ``decode_*`` accept."""

U16: Final = Struct(">H")
U32: Final = Struct(">I")
U64: Final = Struct(">Q")


def pack_numbers(layout: Struct, *values: int) -> bytes:
    """Return several terms, indexes and bytes in one call.

    :param layout: of ``Q`` for terms and indexes, and of ``B`` for what is known to be a byte or a flag
    :raises LocalProtocolError: where one of them is out of range
    """
    if not 0 <= min(values) <= max(values) <= INDEX_MAX:
        raise LocalProtocolError(f"one of {values} is no term or index in [0, 2**62]")
    return layout.pack(*values)


def pack_flag(value: bool) -> bytes:
    """Return one byte, 0 or 1."""
    return b"\x01" if value else b"\x00"


def pack_u16(value: int) -> bytes:
    """Return two bytes.

    :raises LocalProtocolError: where ``value`` is no count that fits
    """
    if not 0 <= value < 2**16:
        raise LocalProtocolError(f"{value} does not fit 16 bits")
    return U16.pack(value)


def pack_u64(value: int) -> bytes:
    """Return eight bytes.

    :raises LocalProtocolError: where ``value`` does not fit
    """
    if not 0 <= value < 2**64:
        raise LocalProtocolError(f"{value} does not fit 64 bits")
    return U64.pack(value)


def pack_index(value: int) -> bytes:
    """Return eight bytes for an index, or for anything else counted up to ``INDEX_MAX``."""
    if not 0 <= value <= INDEX_MAX:
        raise LocalProtocolError(f"{value} is no index in [0, 2**62]")
    return U64.pack(value)


def pack_term(value: int) -> bytes:
    """Return eight bytes for a term."""
    if not 0 <= value <= TERM_MAX:
        raise LocalProtocolError(f"{value} is no term in [0, 2**62]")
    return U64.pack(value)


def pack_entry_id(value: EntryID) -> bytes:
    """Return term and index."""
    return pack_term(value.term) + pack_index(value.index)


@lru_cache(maxsize=64)
def pack_member(member: MemberID) -> bytes:
    """Return the length of the id, the id in UTF-8, and 16 bytes of incarnation.

    The few members of a cluster stand in every message, so they are found in the cache.
    """
    try:
        name = member.id.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"member id {member.id!r} is no Unicode text") from error
    if not 1 <= len(name) <= MEMBER_ID_BYTES_MAX:
        raise LocalProtocolError(f"member id {member.id!r} is not 1 to 255 bytes long")
    if not 0 <= member.incarnation < 2**128:
        raise LocalProtocolError(f"incarnation {member.incarnation} does not fit 128 bits")
    return bytes((len(name),)) + name + member.incarnation.to_bytes(INCARNATION_BYTES, "big")


class Reader:
    """A cursor over received bytes; each method takes one value off the front.

    :param buffer: what was received
    :param what: what it should be, for messages of errors
    :param offset: where to begin
    """

    __slots__ = ("_bytes", "_offset", "_what")

    def __init__(self, buffer: Buffer, what: str, offset: int = 0) -> None:
        self._bytes = bytes(buffer)
        self._offset = offset
        self._what = what

    def wrong(self, what: str) -> RemoteProtocolError:
        """Return the error to raise."""
        return RemoteProtocolError(f"{self._what}: {what} before byte {self._offset}")

    def take(self, count: int) -> bytes:
        """Take ``count`` bytes."""
        end = self._offset + count
        if end > len(self._bytes):
            raise self.wrong(f"ends at {len(self._bytes)}, {count} bytes are due")
        taken = self._bytes[self._offset : end]
        self._offset = end
        return taken

    def rest(self) -> bytes:
        """Take everything that is left."""
        taken = self._bytes[self._offset :]
        self._offset = len(self._bytes)
        return taken

    def end(self) -> None:
        """Insist on the end."""
        if self._offset != len(self._bytes):
            raise self.wrong(f"{len(self._bytes) - self._offset} bytes too many")

    def version(self, *known: int) -> int:
        """Take the version byte."""
        version = self.u8()
        if version not in known:
            raise self.wrong(f"version {version} is unknown (known: {known})")
        return version

    def u8(self) -> int:
        """Take one byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Take two bytes."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Take four bytes."""
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        """Take eight bytes."""
        return int.from_bytes(self.take(8), "big")

    def index(self) -> int:
        """Take an index."""
        index = self.u64()
        if index > INDEX_MAX:
            raise self.wrong(f"index {index} is above 2**62")
        return index

    def term(self) -> int:
        """Take a term."""
        term = self.u64()
        if term > TERM_MAX:
            raise self.wrong(f"term {term} is above 2**62")
        return term

    def entry_id(self) -> EntryID:
        """Take a term and an index."""
        return EntryID(self.term(), self.index())

    def numbers(self, layout: Struct) -> tuple[int, ...]:
        """Take several terms, indexes and flags at once: one limit is enough, but for the flags.

        :param layout: of ``Q``, and of ``B`` for flags
        """
        try:
            numbers: tuple[int, ...] = layout.unpack_from(self._bytes, self._offset)
        except StructError:
            raise self.wrong(f"ends at {len(self._bytes)}, {layout.size} bytes are due") from None
        self._offset += layout.size
        if max(numbers) > INDEX_MAX:
            raise self.wrong(f"one of {numbers} is above 2**62")
        return numbers

    def as_flag(self, number: int) -> bool:
        """Return one of :meth:`numbers` as the flag it is."""
        if number > 1:
            raise self.wrong(f"flag {number} is neither 0 nor 1")
        return number == 1

    def flag(self) -> bool:
        """Take one byte that is 0 or 1."""
        return self.as_flag(self.u8())

    def member(self) -> MemberID:
        """Take a member's id and incarnation."""
        length = self.u8()
        if length == 0:
            raise self.wrong("empty member id")
        name, incarnation = self.take(length), self.take(INCARNATION_BYTES)
        try:
            return _member(name, incarnation)
        except UnicodeDecodeError as error:
            raise self.wrong("member id is no UTF-8") from error


@lru_cache(maxsize=64)
def _member(name: bytes, incarnation: bytes) -> MemberID:
    """Return the member; as with :func:`pack_member`, there are few."""
    return MemberID(name.decode(), int.from_bytes(incarnation, "big"))
