"""The replicated state as a whole: dispatch, time, hash, snapshot."""

from __future__ import annotations

import pytest

from raftdb.errors import Corrupt, InvalidRequest, TooLarge
from raftdb.raft.types import ConfState, MemberID
from raftdb.state import (
    Machine,
    RegisterSession,
    ReplicatedState,
    Session,
    UnknownCommand,
    encode_envelope,
    encode_sessions_command,
)
from raftdb.state.kv.commands import COMMAND_KEYS_MAX, Delete, DeleteRange, Put, encode_command
from raftdb.state.kv.values import DeleteResult, PutResult
from raftdb.state.members import InitCluster, Member, encode_context, encode_members_command

ANNA = MemberID("anna", 7)
BERT = MemberID("bert", 2**127)


def put(key: bytes, value: bytes, *, wall_ms: int = 0, session: Session | None = None) -> bytes:
    """Return the envelope of one put."""
    body = encode_command(Put(((key, value),)))
    return encode_envelope(Machine.KV, body, wall_ms=wall_ms, session=session)


def some_state() -> ReplicatedState:
    """Return a state with something in every part."""
    state = ReplicatedState()
    context = encode_context((Member(ANNA, "a:1", "a:2"), Member(BERT, "b:1", "b:2")))
    state.apply_conf_change(1, context, ConfState(voters=(ANNA, BERT)))
    body = encode_members_command(InitCluster(2**100))
    state.apply(2, encode_envelope(Machine.MEMBERS, body, wall_ms=5))
    body = encode_sessions_command(RegisterSession())
    state.apply(3, encode_envelope(Machine.SESSIONS, body, wall_ms=4))
    state.apply(5, put(b"k", b"1", session=Session(3, 1)))
    state.apply(6, put(b"k", b"2"))
    return state


def copy(state: ReplicatedState) -> ReplicatedState:
    """Return what a snapshot of ``state`` restores."""
    other = ReplicatedState()
    restorer = other.restore()
    for section, chunk in state.snapshot():
        restorer.feed(section, chunk)
    restorer.finish()
    return other


class TestApply:
    """An envelope reaches its part; what is unknown stops the node."""

    def test_a_put_can_be_read(self) -> None:
        """The key-value store answers what was applied."""
        state = ReplicatedState()
        assert state.apply(1, put(b"k", b"v")) == PutResult(1)
        found = state.kv.get(b"k")
        assert found is not None
        assert found.value == b"v"

    def test_time_never_goes_back(self) -> None:
        """A leader with a clock behind changes nothing (DESIGN section 7)."""
        state = ReplicatedState()
        state.apply(1, put(b"k", b"v", wall_ms=10))
        state.apply(2, put(b"k", b"v", wall_ms=3))
        assert state.time_ms == 10

    @pytest.mark.parametrize("envelope", [b"\1", b"\2\1\0" + bytes(8), b"\1\x09\0" + bytes(8)])
    def test_an_unknown_command_stops_the_node(self, envelope: bytes) -> None:
        """Guessing would make this replica another one."""
        with pytest.raises(UnknownCommand, match="index 1"):
            ReplicatedState().apply(1, envelope)

    def test_a_repetition_in_a_session_happens_once(self) -> None:
        """Exactly once: the second sending gets the first one's result."""
        state = some_state()
        assert state.apply(7, put(b"k", b"1", session=Session(3, 1))) == PutResult(1)
        assert state.kv.revision == 2

    def test_a_refusal_is_not_remembered(self) -> None:
        """It changed nothing, so sending it again is a new attempt."""
        state = some_state()
        pairs = tuple((b"%05d" % n, b"") for n in range(COMMAND_KEYS_MAX))
        for index, part in enumerate((pairs[:2], pairs), 7):
            body = encode_command(Put(part))
            state.apply(index, encode_envelope(Machine.KV, body, wall_ms=0))
        body = encode_command(DeleteRange(b""))
        session = Session(3, 2)
        envelope = encode_envelope(Machine.KV, body, wall_ms=0, session=session)
        assert isinstance(state.apply(9, envelope), TooLarge)
        state.apply(10, encode_envelope(Machine.KV, encode_command(Delete((b"k",))), wall_ms=0))
        assert isinstance(state.apply(11, envelope), DeleteResult)

    def test_an_unknown_session_is_refused(self) -> None:
        """What a forgotten session sends may have happened already."""
        result = some_state().apply(7, put(b"k", b"3", session=Session(99, 1)))
        assert isinstance(result, InvalidRequest)


class TestSnapshot:
    """What is restored is what was there."""

    def test_restores_every_part(self) -> None:
        """Keys, members, sessions, time and index come back, with the same hash."""
        state = some_state()
        other = copy(state)
        assert other.state_hash == state.state_hash
        assert other.applied_index == 6
        assert other.time_ms == 5
        assert other.members.cluster_id == 2**100
        assert [member.http_address for member in other.members.members] == ["a:2", "b:2"]
        assert other.kv.get(b"k") == state.kv.get(b"k")
        assert other.kv.get(b"k", 1) == state.kv.get(b"k", 1)
        assert other.apply(7, put(b"k", b"1", session=Session(3, 1))) == PutResult(1)

    def test_a_flipped_bit_is_noticed(self) -> None:
        """The hash is recomputed and compared."""
        restorer = ReplicatedState().restore()
        for section, chunk in some_state().snapshot():
            changed = chunk[:-1] + bytes([chunk[-1] ^ 1]) if section == "sessions" else chunk
            restorer.feed(section, changed)
        with pytest.raises(Corrupt):
            restorer.finish()
