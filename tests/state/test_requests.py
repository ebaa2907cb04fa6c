"""Requests that happen exactly once: answers remembered for a repeat (RIFL, SOSP 2015)."""

from __future__ import annotations

import pytest

from raftdb.errors import IdempotencyMismatch, InvalidRequest, Overloaded, RemoteProtocolError
from raftdb.state import ClientRequest, KeyedRequest
from raftdb.state import requests as module
from raftdb.state.part import Context
from raftdb.state.requests import COMMANDS, REQUEST_IDS, RequestsRestorer, RequestTable, SetPromise

ONE, OTHER = b"1" * 16, b"2" * 16


def at(time_ms: int) -> Context:
    """Return the context of an entry at this replicated time."""
    return Context(1, time_ms)


def request(sequence: int, lowest: int = 1, *, client: bytes = b"c") -> ClientRequest:
    """Return the name of a client's request."""
    return ClientRequest(client, sequence, lowest)


def remembering(*sequences: int, time_ms: int = 0) -> RequestTable:
    """Return a table that remembers the answer b"<n>" to each request of one client."""
    table = RequestTable()
    for sequence in sequences:
        table.remember(at(time_ms), request(sequence), ONE, b"%d" % sequence)
    return table


def copy(table: RequestTable) -> RequestTable:
    """Return what the pieces of a snapshot restore."""
    restorer = RequestsRestorer()
    for piece in table.pieces():
        restorer.feed(piece)
    return restorer.finish()


class TestExactlyOnce:
    """A repeat gets the remembered answer."""

    def test_what_is_new_may_happen(self) -> None:
        """The table knows nothing against it."""
        assert RequestTable().find(at(0), request(1), ONE) is None
        assert remembering(1).find(at(0), request(2), ONE) is None

    def test_a_repeat_gets_the_first_answer(self) -> None:
        """However often it is sent, in any order, with many under way."""
        table = remembering(3, 1, 2)
        for sequence in (2, 3, 1, 2):
            assert table.find(at(1), request(sequence), ONE) == b"%d" % sequence

    def test_a_key_names_one_request(self) -> None:
        """The door of people with curl."""
        table = RequestTable()
        assert table.find(at(0), KeyedRequest(b"c"), ONE) is None
        table.remember(at(0), KeyedRequest(b"c"), ONE, b"done")
        assert table.find(at(0), KeyedRequest(b"c"), ONE) == b"done"
        assert table.find(at(0), request(1), ONE) is None, "a client is no key"

    def test_the_same_name_with_another_command_is_refused(self) -> None:
        """Answering it with the old answer would lose the new command."""
        assert isinstance(remembering(1).find(at(0), request(1), OTHER), IdempotencyMismatch)

    def test_answers_that_the_client_has_are_let_go_of(self) -> None:
        """Below its lowest; a late copy on the wire must not happen again."""
        table = remembering(1, 2, 3)
        table.remember(at(0), request(4, lowest=3), ONE, b"4")
        assert len(table) == 2
        assert isinstance(table.find(at(0), request(2), ONE), InvalidRequest)
        assert table.find(at(0), request(3, lowest=3), ONE) == b"3"

    def test_lowest_never_goes_back(self) -> None:
        """An older message of the client arrives late."""
        table = remembering(1)
        table.remember(at(0), request(9, lowest=9), ONE, b"9")
        table.remember(at(0), request(10, lowest=2), ONE, b"10")
        assert isinstance(table.find(at(0), request(8), ONE), InvalidRequest)


class TestThePromise:
    """An answer is remembered for ten minutes after its last use."""

    def test_is_kept_to_the_last_millisecond(self) -> None:
        """By the replicated clock, and each use prolongs it."""
        end = module.PROMISE_MS
        table = remembering(1)
        assert table.find(at(end - 1), request(1), ONE) == b"1"
        assert table.find(at(2 * end - 2), request(1), ONE) == b"1"
        assert table.find(at(3 * end - 2), request(1), ONE) is None
        assert len(table) == 0

    def test_can_be_set(self) -> None:
        """Longer or shorter, for what is remembered already."""
        table = remembering(1)
        table.apply(at(0), SetPromise(5))
        assert table.find(at(4), request(1), ONE) == b"1"
        assert table.find(at(9), request(1), ONE) is None

    def test_forgetting_is_bounded_work(self) -> None:
        """Ten thousand names that expire together do not hold up one entry."""
        table = RequestTable()
        for number in range(3 * module.EXPIRED_AT_ONCE):
            table.remember(at(0), KeyedRequest(b"%d" % number), ONE, b"")
        table.find(at(module.PROMISE_MS), KeyedRequest(b"x"), ONE)
        assert len(table) == 2 * module.EXPIRED_AT_ONCE


class TestBounds:
    """Nothing that is promised is forgotten: where there is no room, new names are refused."""

    def test_in_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Repeats are still answered."""
        monkeypatch.setattr(module, "ANSWERS_MAX", 2)
        table = remembering(1, 2)
        assert isinstance(table.find(at(0), request(3), ONE), Overloaded)
        assert isinstance(table.find(at(0), KeyedRequest(b"k"), ONE), Overloaded)
        assert table.find(at(0), request(1), ONE) == b"1"

    def test_in_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer counts with what it costs besides, and is counted out again."""
        monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 3 * module.ANSWER_OVERHEAD_BYTES)
        table = remembering(1, 2)
        assert isinstance(table.find(at(0), request(3), ONE), Overloaded)
        table = remembering(1, 2)
        table.remember(at(0), request(3, lowest=3), ONE, b"")
        assert table.find(at(0), request(4, lowest=3), ONE) is None

    def test_of_one_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that never says what it has does not fill the table."""
        monkeypatch.setattr(module, "CLIENT_ANSWERS_MAX", 2)
        table = remembering(1, 2)
        assert isinstance(table.find(at(0), request(3), ONE), Overloaded)
        assert table.find(at(0), request(1, client=b"d"), ONE) is None


class TestCopy:
    """A snapshot holds the whole table, its order included."""

    def test_comes_back_with_hash_and_order(self) -> None:
        """The next to be forgotten is the same one."""
        table = remembering(1, 2)
        table.remember(at(5), KeyedRequest(b"k"), OTHER, b"x")
        table.find(at(7), request(1), ONE)
        table.apply(at(8), SetPromise(10))
        other = copy(table)
        assert other.digest == table.digest
        assert len(other) == 3
        assert other.find(at(16), KeyedRequest(b"k"), OTHER) is None
        assert other.find(at(16), request(2), ONE) == b"2"

    def test_is_of_the_moment_at_which_it_began(self) -> None:
        """Whatever is remembered between its pieces."""
        table = remembering(1)
        pieces = table.pieces()
        before = table.digest
        table.remember(at(1), request(2), ONE, b"2")
        restorer = RequestsRestorer()
        for piece in pieces:
            restorer.feed(piece)
        assert restorer.finish().digest == before

    def test_the_digest_is_of_what_is_there(self) -> None:
        """However it came about."""
        table = remembering(1)
        table.remember(at(0), request(3, lowest=3), ONE, b"3")
        other = RequestTable()
        other.remember(at(0), request(3, lowest=3), ONE, b"3")
        assert table.digest == other.digest
        assert table.digest != remembering(3).digest, "what may come next differs"

    def test_an_answer_without_its_name_is_refused(self) -> None:
        """It cannot have been written so."""
        record = module._RECORDS.encode(module._AnswerRecord(False, b"c", 1, ONE, b""))
        with pytest.raises(RemoteProtocolError, match="without its name"):
            RequestTable().load(record)


class TestBytes:
    """Names and commands have fixed bytes, and limits."""

    def test_golden(self) -> None:
        """The layout does not drift."""
        for codec, value, data in (
            (REQUEST_IDS, request(3, 2), "9401c4016303" + "02"),
            (REQUEST_IDS, KeyedRequest(b"k"), "9202c4016b"),
            (COMMANDS, SetPromise(1_000), "9201cd03e8"),
        ):
            assert codec.encode(value).hex() == data  # type: ignore[arg-type]  # each its own
            assert codec.decode(bytes.fromhex(data)) == value

    @pytest.mark.parametrize(
        "data", ["", "90", "9202c400", "9301c4016301", "9401c401630102", "9203c4016b"]
    )
    def test_what_is_no_name_is_refused(self, data: str) -> None:
        """Nothing unknown is guessed: cut off, empty, below its lowest, of a kind unknown."""
        with pytest.raises(RemoteProtocolError):
            REQUEST_IDS.decode(bytes.fromhex(data))

    @pytest.mark.parametrize("promise_ms", [0, -1, module.PROMISE_MS_MAX + 1])
    def test_a_promise_has_bounds(self, promise_ms: int) -> None:
        """Nothing is remembered for ever."""
        with pytest.raises(InvalidRequest):
            SetPromise(promise_ms)
