"""Sessions: an operation that is sent twice happens once (thesis 6.3)."""

from __future__ import annotations

import pytest

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.state import EndSession, RegisterSession, Session, encode_sessions_command
from raftdb.state import sessions as module
from raftdb.state.kv.values import PutResult
from raftdb.state.sessions import SessionTable, decode_sessions_command


def registered(*indexes: int) -> SessionTable:
    """Return a table with sessions registered at these indexes."""
    table = SessionTable()
    for index in indexes:
        assert table.apply(index, RegisterSession()) == index
    return table


class TestExactlyOnce:
    """A repetition gets the remembered result; anything doubtful is refused."""

    def test_a_new_operation_may_happen(self) -> None:
        """The table knows nothing against it."""
        assert registered(5).check(Session(5, 1)) is None

    def test_a_repetition_gets_the_first_result(self) -> None:
        """However often it is sent."""
        table = registered(5)
        table.remember(6, Session(5, 1), PutResult(9))
        assert table.check(Session(5, 1)) == PutResult(9)
        assert table.check(Session(5, 2)) is None

    def test_what_was_answered_long_ago_is_refused(self) -> None:
        """A late copy on the wire must not happen again."""
        table = registered(5)
        table.remember(6, Session(5, 1), PutResult(1))
        table.remember(7, Session(5, 2), PutResult(2))
        assert isinstance(table.check(Session(5, 1)), InvalidRequest)
        assert isinstance(table.check(Session(5, 0)), InvalidRequest)

    def test_an_unknown_session_is_refused(self) -> None:
        """It is not taken for a new one: what it sends may have happened."""
        table = registered(5)
        table.apply(6, EndSession(5))
        assert isinstance(table.check(Session(5, 1)), InvalidRequest)


class TestBounds:
    """The table is bounded, and every replica gives up the same session."""

    def test_the_session_used_longest_ago_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Use keeps alive."""
        monkeypatch.setattr(module, "SESSIONS_MAX", 2)
        table = registered(1, 2)
        table.remember(3, Session(1, 1), PutResult(1))
        table.apply(4, RegisterSession())
        assert len(table) == 2
        assert isinstance(table.check(Session(2, 1)), InvalidRequest)
        assert table.check(Session(1, 1)) == PutResult(1)

    def test_results_are_bounded_in_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session counts with its result and what it costs besides."""
        monkeypatch.setattr(module, "SESSION_BYTES_MAX", 3 * module.SESSION_OVERHEAD_BYTES)
        assert len(registered(1, 2, 3)) == 3
        table = registered(1, 2, 3)
        table.remember(4, Session(3, 1), PutResult(1))
        assert len(table) == 2


class TestCopy:
    """The records hold the whole table, its order included."""

    def test_comes_back_with_hash_and_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next to end is the same one."""
        table = registered(1, 2, 3)
        table.remember(4, Session(1, 1), PutResult(1))
        records = table.records()
        table.apply(5, RegisterSession())  # after the copy began
        copy = SessionTable()
        for record in records:
            copy.load(record)
        expected = registered(1, 2, 3)
        expected.remember(4, Session(1, 1), PutResult(1))
        assert copy.digest == expected.digest
        monkeypatch.setattr(module, "SESSIONS_MAX", 2)
        copy.apply(6, RegisterSession())
        assert copy.check(Session(1, 1)) == PutResult(1)
        assert isinstance(copy.check(Session(3, 1)), InvalidRequest)

    def test_the_digest_forgets_what_ended(self) -> None:
        """It is the sum of what is there, however it came about."""
        table = registered(1, 2)
        table.apply(3, EndSession(1))
        assert table.digest == registered(2).digest


class TestBytes:
    """The commands' bytes are fixed, and strict."""

    def test_golden(self) -> None:
        """The layout does not drift."""
        register = "0101" + "00" * 8
        end = "0102" + "00" * 7 + "05"
        assert encode_sessions_command(RegisterSession()).hex() == register
        assert encode_sessions_command(EndSession(5)).hex() == end
        assert decode_sessions_command(bytes.fromhex(register)) == RegisterSession()
        assert decode_sessions_command(bytes.fromhex(end)) == EndSession(5)

    @pytest.mark.parametrize("data", ["", "0201" + "00" * 8, "0103" + "00" * 8, "0101" + "01" * 8])
    def test_what_is_unknown_is_refused(self, data: str) -> None:
        """Nothing unknown is guessed."""
        with pytest.raises(RemoteProtocolError):
            decode_sessions_command(bytes.fromhex(data))
