"""The bytes of the commands: fixed for ever, strict, and what they carry is checked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.errors import InvalidRequest, RemoteProtocolError, TooLarge
from raftdb.state.kv.commands import (
    COMMAND_KEYS_MAX,
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    Absent,
    Command,
    CompareAndSwap,
    Delete,
    DeleteRange,
    ModRevisionIs,
    Put,
    SetRetention,
    ValueIs,
    decode_command,
    encode_command,
)
from raftdb.state.kv.values import Retention

GOLDEN: list[tuple[Command, str]] = [
    (Put(()), "010100000000"),
    (Put(((b"k", b"v1"), (b"\0", b""))), "0101000000020001000000026b763100010000000000"),
    (Delete((b"a", b"bc")), "01020000000200016100026263"),
    (DeleteRange(b"a", b"b"), "0103000161000162"),
    (DeleteRange(b""), "010300000000"),
    (CompareAndSwap(b"k", Absent(), b"v"), "010400016b00010000000176"),
    (CompareAndSwap(b"k", ModRevisionIs(258), None), "010400016b01000000000000010200"),
    (CompareAndSwap(b"k", ValueIs(b"o"), b"n"), "010400016b02000000016f01000000016e"),
    (SetRetention(Retention(1, 2)), "010500000000000000010000000000000002"),
]

keys = st.binary(min_size=1, max_size=20)
values = st.binary(max_size=40)
expectations = st.one_of(
    st.builds(Absent),
    st.builds(ModRevisionIs, st.integers(1, 2**64 - 1)),
    st.builds(ValueIs, values),
)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Put, st.lists(st.tuples(keys, values), max_size=5).map(tuple)),
    st.builds(Delete, st.lists(keys, max_size=5).map(tuple)),
    st.builds(DeleteRange, st.binary(max_size=9), st.binary(max_size=9)),
    st.builds(CompareAndSwap, keys, expectations, st.none() | values),
    st.builds(
        SetRetention,
        st.builds(Retention, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    ),
)


class TestBytes:
    """What is in a log today must be readable for ever."""

    @pytest.mark.parametrize(("command", "data"), GOLDEN)
    def test_golden(self, command: Command, data: str) -> None:
        """The layout does not drift."""
        assert encode_command(command).hex() == data
        assert decode_command(bytes.fromhex(data)) == command

    @given(commands)
    def test_round_trip(self, command: Command) -> None:
        """Every command comes back."""
        assert decode_command(encode_command(command)) == command

    @given(commands)
    def test_cut_off_anywhere_is_refused(self, command: Command) -> None:
        """A prefix is never taken for a command."""
        data = encode_command(command)
        for end in range(len(data)):
            with pytest.raises(RemoteProtocolError):
                decode_command(data[:end])

    @given(commands, st.binary(min_size=1, max_size=3))
    def test_bytes_after_the_end_are_refused(self, command: Command, rest: bytes) -> None:
        """A newer version's extra fields are not dropped silently."""
        with pytest.raises(RemoteProtocolError):
            decode_command(encode_command(command) + rest)

    @given(st.binary(max_size=60))
    def test_garbage_is_refused_and_nothing_else(self, data: bytes) -> None:
        """No input raises anything but the one error."""
        try:
            command = decode_command(data)
        except RemoteProtocolError:
            return
        assert encode_command(command) == data

    @pytest.mark.parametrize("data", ["0201", "0106", "0100", "010400016b0300", "010400016b0002"])
    def test_unknown_versions_kinds_and_flags_are_refused(self, data: str) -> None:
        """Nothing unknown is guessed."""
        with pytest.raises(RemoteProtocolError):
            decode_command(bytes.fromhex(data))

    def test_a_count_beyond_the_limit_is_refused_before_the_keys_are_read(self) -> None:
        """Four bytes must not cost work in their value."""
        with pytest.raises(RemoteProtocolError, match="4294967295"):
            decode_command(bytes.fromhex("0101ffffffff"))
        with pytest.raises(RemoteProtocolError, match="4294967295"):
            decode_command(bytes.fromhex("0102ffffffff"))


class TestLimits:
    """A command that the store does not take cannot be made."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Put(((b"", b""),)),
            lambda: Delete((b"",)),
            lambda: CompareAndSwap(b"", Absent(), b""),
            lambda: CompareAndSwap(b"k", ModRevisionIs(0), b""),
            lambda: CompareAndSwap(b"k", ModRevisionIs(2**64), b""),
            lambda: SetRetention(Retention(-1, 0)),
            lambda: SetRetention(Retention(0, 2**64)),
        ],
    )
    def test_invalid_values_are_refused(self, make: Callable[[], Command]) -> None:
        """The message says what is wrong; here it matters that it is refused."""
        with pytest.raises(InvalidRequest):
            make()

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Put(((b"k" * (KEY_BYTES_MAX + 1), b""),)),
            lambda: Put(((b"k", bytes(VALUE_BYTES_MAX + 1)),)),
            lambda: Put(tuple((b"k", b"") for _ in range(COMMAND_KEYS_MAX + 1))),
            lambda: Delete((b"k" * (KEY_BYTES_MAX + 1),)),
            lambda: Delete((b"k",) * (COMMAND_KEYS_MAX + 1)),
            lambda: DeleteRange(b"k" * (KEY_BYTES_MAX + 1)),
            lambda: CompareAndSwap(b"k", Absent(), bytes(VALUE_BYTES_MAX + 1)),
            lambda: CompareAndSwap(b"k", ValueIs(bytes(VALUE_BYTES_MAX + 1)), b""),
        ],
    )
    def test_what_is_too_large_is_refused(self, make: Callable[[], Command]) -> None:
        """Applying one command is bounded work."""
        with pytest.raises(TooLarge):
            make()

    def test_the_largest_are_taken(self) -> None:
        """The limits are reached, not only approached."""
        largest = Put(((b"k" * KEY_BYTES_MAX, bytes(VALUE_BYTES_MAX)),))
        assert decode_command(encode_command(largest)) == largest
