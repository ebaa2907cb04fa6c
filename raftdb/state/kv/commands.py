"""The commands of the key-value store: values that validate themselves, and their bytes.

A command is decoded by every replica, so nothing in it is guessed: an unknown kind or a further field
raises. All that mutates is one command in one log entry, and one command is bounded in
keys, so that applying it never stalls the reactor.

The bytes are MessagePack arrays, the kind's number first (:mod:`raftdb.state.wire`):

=====================  =============================================================
1 Put                  pairs of key and value
2 Delete               keys
3 DeleteRange          start, end
4 CompareAndSwap       key, expectation (0 absent, 1 revision, 2 value), the new value
                       or nil to delete
5 SetRetention         revisions, bytes
=====================  =============================================================
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from raftdb.errors import InvalidRequest, TooLarge
from raftdb.state.kv.values import Retention
from raftdb.state.wire import Codec

KEY_BYTES_MAX = 4_096  # bytes of any kind: that a key is UTF-8 is the rule of /key alone [R24]
VALUE_BYTES_MAX = 1_572_864  # 1.5 MiB, the largest body that HTTP takes
COMMAND_KEYS_MAX = 5_000  # about 40 ms to apply


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


class Put(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=1
):
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


class Delete(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=2
):
    """Delete keys, all at one revision; those that do not exist are passed over."""

    keys: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse what the store does not take."""
        _check_count(len(self.keys))
        for key in self.keys:
            check_key(key)


class DeleteRange(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=3
):
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


class Absent(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=0
):
    """The key is expected not to exist."""


class ModRevisionIs(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=1
):
    """The key is expected to have been written last at ``revision``, ``1 <= revision``."""

    revision: int


class ValueIs(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=2
):
    """The key is expected to exist and to hold ``value``."""

    value: bytes


Expectation: TypeAlias = Absent | ModRevisionIs | ValueIs


class CompareAndSwap(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=4
):
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


class SetRetention(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=5
):
    """Keep so much history from now on."""

    retention: Retention

    def __post_init__(self) -> None:
        """Refuse what the store does not take."""
        if not all(0 <= limit < 2**64 for limit in self.retention):
            raise InvalidRequest(f"a retention is counted from 0 on, not {self.retention}")


Command: TypeAlias = Put | Delete | DeleteRange | CompareAndSwap | SetRetention

COMMANDS: Codec[Command] = Codec(Command, "a key-value command")
"""Their bytes."""
