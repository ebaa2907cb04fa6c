"""The bytes of the commands: fixed for ever, strict, and what they carry is checked."""

from __future__ import annotations

import tracemalloc
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
)
from raftdb.state.kv.commands import COMMANDS as KV_COMMANDS
from raftdb.state.kv.values import Retention

GOLDEN: list[tuple[Command, str]] = [
    (Put(()), "920190"),
    (Put(((b"k", b"v1"), (b"\0", b""))), "92019292c4016bc402763192c40100c400"),
    (Delete((b"a", b"bc")), "920292c40161c4026263"),
    (DeleteRange(b"a", b"b"), "9303c40161c40162"),
    (DeleteRange(b""), "9303c400c400"),
    (CompareAndSwap(b"k", Absent(), b"v"), "9404c4016b9100c40176"),
    (CompareAndSwap(b"k", ModRevisionIs(258), None), "9404c4016b9201cd0102c0"),
    (CompareAndSwap(b"k", ValueIs(b"o"), b"n"), "9404c4016b9202c4016fc4016e"),
    (SetRetention(Retention(1, 2)), "9205920102"),
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
        assert KV_COMMANDS.encode(command).hex() == data
        assert KV_COMMANDS.decode(bytes.fromhex(data)) == command

    @given(commands)
    def test_round_trip(self, command: Command) -> None:
        """Every command comes back."""
        assert KV_COMMANDS.decode(KV_COMMANDS.encode(command)) == command

    @given(commands)
    def test_cut_off_anywhere_is_refused(self, command: Command) -> None:
        """A prefix is never taken for a command."""
        data = KV_COMMANDS.encode(command)
        for end in range(len(data)):
            with pytest.raises(RemoteProtocolError):
                KV_COMMANDS.decode(data[:end])

    @given(commands, st.binary(min_size=1, max_size=3))
    def test_bytes_after_the_end_are_refused(self, command: Command, rest: bytes) -> None:
        """A newer version's extra fields are not dropped silently."""
        with pytest.raises(RemoteProtocolError):
            KV_COMMANDS.decode(KV_COMMANDS.encode(command) + rest)

    @given(st.binary(max_size=60))
    def test_garbage_is_refused_and_nothing_else(self, data: bytes) -> None:
        """No input raises anything but the one error."""
        try:
            command = KV_COMMANDS.decode(data)
        except RemoteProtocolError:
            return
        assert KV_COMMANDS.decode(KV_COMMANDS.encode(command)) == command

    @pytest.mark.parametrize(
        "data", ["c0", "9201", "9106", "9100", "9404c4016b9103c0", "9303c400c400c400"]
    )
    def test_unknown_kinds_and_further_fields_are_refused(self, data: str) -> None:
        """Nothing unknown is guessed."""
        with pytest.raises(RemoteProtocolError):
            KV_COMMANDS.decode(bytes.fromhex(data))

    @pytest.mark.parametrize("data", ["9201ddffffffff", "9202ddffffffff", "9201c6ffffffff"])
    def test_a_length_without_its_bytes_is_refused(self, data: str) -> None:
        """Four bytes must not cost memory in their value."""
        tracemalloc.start()
        try:
            with pytest.raises(RemoteProtocolError):
                KV_COMMANDS.decode(bytes.fromhex(data))
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


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
        assert KV_COMMANDS.decode(KV_COMMANDS.encode(largest)) == largest
