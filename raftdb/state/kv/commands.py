"""The commands of the key-value store: values that validate themselves, and their bytes.

A command is decoded by every replica, so its layout is versioned and never guessed: an unknown
version or kind raises. Integers are big-endian. All that mutates is one command in one log entry,
and one command is bounded in keys, so that applying it never stalls the reactor.

Layout: version (1 byte), kind (1 byte), then by kind

=====================  =============================================================
1 Put                  count (4), then per pair: key length (2), value length (4),
                       key, value
2 Delete               count (4), then per key: key length (2), key
3 DeleteRange          start length (2), start, end length (2), end
4 CompareAndSwap       key length (2), key, expectation (1: 0 absent, 1 revision,
                       2 value), its revision (8) or its value (4 + bytes),
                       1 and the new value (4 + bytes), or 0 to delete
5 SetRetention         revisions (8), bytes (8)
=====================  =============================================================
"""

from __future__ import annotations

from struct import Struct, error
from typing import TypeAlias, assert_never

import msgspec

from raftdb.errors import InvalidRequest, RemoteProtocolError, TooLarge
from raftdb.state.kv.values import Retention

COMMAND_VERSION = 1
KEY_BYTES_MAX = 4_096  # bytes of any kind: that a key is UTF-8 is the rule of /key alone [24]
VALUE_BYTES_MAX = 1_572_864  # 1.5 MiB, the largest body that HTTP takes
COMMAND_KEYS_MAX = 5_000  # about 40 ms to apply

_U16 = Struct(">H")
_U32 = Struct(">I")
_U64 = Struct(">Q")
_HEAD = Struct(">BB")
_PAIR = Struct(">HI")
_TWO = Struct(">QQ")

_PUT, _DELETE, _DELETE_RANGE, _COMPARE_AND_SWAP, _SET_RETENTION = range(1, 6)
_ABSENT, _MOD_REVISION, _VALUE = range(3)


def check_key(key: bytes) -> None:
    """Refuse a key that the store does not take.

    :raises InvalidRequest: where it is empty
    :raises TooLarge: where it is longer than 4,096 bytes
    """
    if not key:
        raise InvalidRequest("a key must have at least one byte")
    if len(key) > KEY_BYTES_MAX:
        raise TooLarge(f"a key has at most {KEY_BYTES_MAX} bytes, this one {len(key)}")


def _check_value(value: bytes) -> None:
    if len(value) > VALUE_BYTES_MAX:
        raise TooLarge(f"a value has at most {VALUE_BYTES_MAX} bytes, this one {len(value)}")


def _check_count(count: int) -> None:
    if count > COMMAND_KEYS_MAX:
        raise TooLarge(f"one command takes at most {COMMAND_KEYS_MAX} keys, this one has {count}")


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write keys, all at one revision; of a key that comes twice the last value counts."""

    pairs: tuple[tuple[bytes, bytes], ...]

    def __post_init__(self) -> None:
        """Refuse what the store does not take."""
        _check_count(len(self.pairs))
        for key, value in self.pairs:
            # Both are nearly always right, and two calls to say so cost more than all else here.
            if not 0 < len(key) <= KEY_BYTES_MAX or len(value) > VALUE_BYTES_MAX:
                check_key(key)
                _check_value(value)


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Delete keys, all at one revision; those that do not exist are passed over."""

    keys: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse what the store does not take."""
        _check_count(len(self.keys))
        for key in self.keys:
            check_key(key)


class DeleteRange(msgspec.Struct, frozen=True, gc=False):
    """Delete the keys in ``[start, end)``, all at one revision; an empty ``end`` means: to the end.

    A range that holds more than 5,000 keys is refused as a whole when applied.
    """

    start: bytes
    end: bytes = b""

    def __post_init__(self) -> None:
        """Refuse what the store does not take."""
        for bound in (self.start, self.end):
            if len(bound) > KEY_BYTES_MAX:
                raise TooLarge(f"a bound has at most {KEY_BYTES_MAX} bytes, this one {len(bound)}")


class Absent(msgspec.Struct, frozen=True, gc=False):
    """The key is expected not to exist."""


class ModRevisionIs(msgspec.Struct, frozen=True, gc=False):
    """The key is expected to have been written last at ``revision``, ``1 <= revision``."""

    revision: int


class ValueIs(msgspec.Struct, frozen=True, gc=False):
    """The key is expected to exist and to hold ``value``."""

    value: bytes


Expectation: TypeAlias = Absent | ModRevisionIs | ValueIs


class CompareAndSwap(msgspec.Struct, frozen=True, gc=False):
    """Write or, with ``value`` None, delete ``key`` if it is as expected."""

    key: bytes
    expected: Expectation
    value: bytes | None

    def __post_init__(self) -> None:
        """Refuse what the store does not take."""
        check_key(self.key)
        if self.value is not None:
            _check_value(self.value)
        match self.expected:
            case ModRevisionIs(revision=revision) if not 1 <= revision < 2**64:
                raise InvalidRequest(f"an expected revision is at least 1, not {revision}")
            case ValueIs(value=value):
                _check_value(value)
            case _:
                pass


class SetRetention(msgspec.Struct, frozen=True, gc=False):
    """Keep so much history from now on."""

    retention: Retention

    def __post_init__(self) -> None:
        """Refuse what the store does not take."""
        if not all(0 <= limit < 2**64 for limit in self.retention):
            raise InvalidRequest(f"a retention is counted from 0 on, not {self.retention}")


Command: TypeAlias = Put | Delete | DeleteRange | CompareAndSwap | SetRetention


def encode_command(command: Command) -> bytes:
    """Return the bytes that go into the log."""
    match command:
        case Put(pairs=pairs):
            parts = [_HEAD.pack(COMMAND_VERSION, _PUT), _U32.pack(len(pairs))]
            add, pack = parts.append, _PAIR.pack
            for key, value in pairs:
                add(pack(len(key), len(value)))
                add(key)
                add(value)
        case Delete(keys=keys):
            parts = [_HEAD.pack(COMMAND_VERSION, _DELETE), _U32.pack(len(keys))]
            for key in keys:
                parts += (_U16.pack(len(key)), key)
        case DeleteRange(start=start, end=end):
            parts = [_HEAD.pack(COMMAND_VERSION, _DELETE_RANGE)]
            parts += (_U16.pack(len(start)), start, _U16.pack(len(end)), end)
        case CompareAndSwap(key=key, expected=expected, value=new):
            parts = [_HEAD.pack(COMMAND_VERSION, _COMPARE_AND_SWAP), _U16.pack(len(key)), key]
            parts += _encode_expectation(expected)
            parts += (b"\0",) if new is None else (b"\1", _U32.pack(len(new)), new)
        case SetRetention(retention=retention):
            parts = [_HEAD.pack(COMMAND_VERSION, _SET_RETENTION), _TWO.pack(*retention)]
        case _:
            assert_never(command)
    return b"".join(parts)


def _encode_expectation(expected: Expectation) -> tuple[bytes, ...]:
    match expected:
        case Absent():
            return (bytes([_ABSENT]),)
        case ModRevisionIs(revision=revision):
            return bytes([_MOD_REVISION]), _U64.pack(revision)
        case ValueIs(value=value):
            return bytes([_VALUE]), _U32.pack(len(value)), value
        case _:
            assert_never(expected)


def decode_command(data: bytes) -> Command:
    """Return the command behind ``data``; of a key that comes twice in a Put, the last remains.

    :raises RemoteProtocolError: where the bytes are of an unknown version or kind, are cut off, go
        on after the end, or hold what no command may hold; the message says which
    """
    try:
        version, kind = _HEAD.unpack_from(data)
        if version != COMMAND_VERSION:
            raise RemoteProtocolError(
                f"a command of version {version}; this raftdb knows {COMMAND_VERSION}"
            )
        decode = _DECODERS.get(kind)
        if decode is None:
            raise RemoteProtocolError(
                f"a key-value command of kind {kind}; this raftdb knows 1 to {len(_DECODERS)}"
            )
        command, end = decode(data, _HEAD.size)
    except (error, IndexError) as cut_off:
        raise RemoteProtocolError(f"a command is cut off: {cut_off}") from cut_off
    except InvalidRequest as invalid:
        raise RemoteProtocolError(f"a command breaks a limit: {invalid}") from invalid
    if end != len(data):
        raise RemoteProtocolError(f"a command of {end} bytes in {len(data)} bytes")
    return command


def _decode_put(data: bytes, at: int) -> tuple[Command, int]:
    (count,) = _U32.unpack_from(data, at)
    at += 4
    if count > COMMAND_KEYS_MAX:
        raise RemoteProtocolError(f"a put of {count} keys, at most {COMMAND_KEYS_MAX} are allowed")
    pairs = []
    unpack = _PAIR.unpack_from
    for _ in range(count):
        key_length, value_length = unpack(data, at)
        begin = at + 6
        middle = begin + key_length
        at = middle + value_length
        pairs.append((data[begin:middle], data[middle:at]))
    return Put(tuple(pairs)), at


def _decode_delete(data: bytes, at: int) -> tuple[Command, int]:
    (count,) = _U32.unpack_from(data, at)
    at += 4
    if count > COMMAND_KEYS_MAX:
        raise RemoteProtocolError(f"{count} keys to delete, at most {COMMAND_KEYS_MAX} are allowed")
    keys = []
    for _ in range(count):
        key, at = _decode_short(data, at)
        keys.append(key)
    return Delete(tuple(keys)), at


def _decode_delete_range(data: bytes, at: int) -> tuple[Command, int]:
    start, at = _decode_short(data, at)
    end, at = _decode_short(data, at)
    return DeleteRange(start, end), at


def _decode_compare_and_swap(data: bytes, at: int) -> tuple[Command, int]:
    key, at = _decode_short(data, at)
    expected: Expectation
    match data[at]:
        case 0:
            expected, at = Absent(), at + 1
        case 1:
            expected, at = ModRevisionIs(*_U64.unpack_from(data, at + 1)), at + 9
        case 2:
            value, at = _decode_long(data, at + 1)
            expected = ValueIs(value)
        case kind:
            raise RemoteProtocolError(f"an expectation of kind {kind}; this raftdb knows 0 to 2")
    match data[at]:
        case 0:
            return CompareAndSwap(key, expected, None), at + 1
        case 1:
            value, at = _decode_long(data, at + 1)
            return CompareAndSwap(key, expected, value), at
        case flag:
            raise RemoteProtocolError(f"a flag is 0 or 1, not {flag}")


def _decode_set_retention(data: bytes, at: int) -> tuple[Command, int]:
    return SetRetention(Retention(*_TWO.unpack_from(data, at))), at + _TWO.size


def _decode_short(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _U16.unpack_from(data, at)
    end = at + 2 + length
    return data[at + 2 : end], end


def _decode_long(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = _U32.unpack_from(data, at)
    end = at + 4 + length
    return data[at + 4 : end], end


_DECODERS = {
    _PUT: _decode_put,
    _DELETE: _decode_delete,
    _DELETE_RANGE: _decode_delete_range,
    _COMPARE_AND_SWAP: _decode_compare_and_swap,
    _SET_RETENTION: _decode_set_retention,
}
