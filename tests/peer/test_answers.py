"""Whoever listens at a peer's address may answer anything; nothing of it opens a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogLevel
from twisted.protocols.amp import AmpBox

from raftdb.peer.handshake import Refusal
from raftdb.raft.types import MemberID

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from tests.peer.conftest import Station, Town

B = MemberID("b", 1)
GOOD = {
    b"_answer": b"1",
    b"protocol": b"1",
    b"cluster": bytes(15) + b"\xc1",
    b"id": b"b",
    b"incarnation": bytes(15) + b"\x01",
    b"boot": b"77",
    b"raft_address": b"b:1",
    b"http_address": b"b:80",
    b"feature_level": b"1",
}


class Parrot(Protocol):
    """Says one thing to whatever it hears."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        del data
        assert self.transport is not None
        self.transport.write(self._answer)


def dial(town: Town, answer: bytes) -> Station:
    """Let a new station dial member b, where a parrot sits."""
    town.wires.close("b:1")
    town.wires.listen("b", "b:1", Factory.forProtocol(lambda: Parrot(answer)))
    town.wires.close("a:1")
    a = town.build("a")
    a.transport.update_peers({B: "b:1"})
    return a


def box(**changed: bytes | None) -> bytes:
    merged = GOOD | {name.encode(): value for name, value in changed.items()}
    kept = {name: value for name, value in merged.items() if value is not None}
    encoded: bytes = AmpBox(kept).serialize()
    return encoded


class TestAnswers:
    """The answer to our Hello is judged as strictly as a Hello."""

    def test_a_good_one_opens(self, town: Town) -> None:
        """So that the others fail for their own reason."""
        a = dial(town, box())
        town.run(0.05)
        assert a.transport.is_connected(B)

    @pytest.mark.parametrize(
        "answer",
        [
            box(protocol=None),
            box(protocol=b"2"),
            box(protocol=b"0"),
            box(boot=b"-1"),
            box(boot=None),
            box(cluster=b"short"),
            box(id=b""),
            box(id=b"\xff"),
            box(_answer=b"2"),
            box(_answer=None),
            box(_answer=None, _error=b"1", _error_code=b"X", _error_description=b"no"),
            box(_answer=None, _error=b"1"),
            box(refused=b"because", reason=b"\xff"),
            b"SSH-2.0-OpenSSH_9.2\r\n",
            bytes(10_000),
        ],
    )
    def test_a_bad_one_ends_the_attempt(
        self, town: Town, logged: list[LogEvent], answer: bytes
    ) -> None:
        """One line, no traceback, back-off."""
        a = dial(town, answer)
        town.run(2)
        assert not a.transport.is_connected(B)
        assert 10 <= town.wires.attempts <= 100
        assert len(logged) == 1
        assert logged[0]["log_level"] is LogLevel.warn

    @pytest.mark.parametrize(
        ("changed", "refusal"),
        [
            ({"cluster": bytes(15) + b"\xc2"}, Refusal.WRONG_CLUSTER),
            ({"incarnation": bytes(15) + b"\x02"}, Refusal.WRONG_MEMBER),
            ({"id": b"c"}, Refusal.WRONG_MEMBER),
            ({"id": b"a", "boot": b"1"}, Refusal.SELF),
            ({"id": b"a", "boot": b"9"}, Refusal.DUPLICATE),
        ],
    )
    def test_the_wrong_one_is_reported(
        self, town: Town, changed: dict[str, bytes], refusal: Refusal
    ) -> None:
        """The layers above hear who is there, and why we do not talk to it."""
        a = dial(town, box(**changed))
        town.run(0.5)
        assert not a.transport.is_connected(B)
        assert set(a.refusals()) == {refusal}
        assert all(facts.dialled for facts, _ in a.hellos)

    def test_silence_ends_the_attempt(self, town: Town) -> None:
        """Who accepts and never answers holds us for a second, not for ever."""
        a = dial(town, b"")
        town.run(3 * town.limits.hello_timeout_s)
        assert not a.transport.is_connected(B)
        assert 4 <= town.wires.attempts <= 8

    def test_a_refusal_of_our_own_making_is_no_removal(self, town: Town) -> None:
        """Only a peer's word tells a node that it was removed."""
        a = dial(town, box())
        a.removed.add(B)
        town.run(0.5)
        assert a.refusals()[0] is Refusal.REMOVED
        assert a.told_removed == 0

    def test_a_refusal_in_unknown_words_is_just_a_refusal(self, town: Town) -> None:
        """A later version may have reasons we do not know; its words reach the log."""
        a = dial(town, box(refused=b"moon-phase", reason=b"wait\nfor\x1b[2Jnight"))
        town.run(0.5)
        assert not a.transport.is_connected(B)

    def test_words_from_the_wire_are_made_plain_for_the_log(
        self, town: Town, logged: list[LogEvent]
    ) -> None:
        """No line breaks, no terminal controls."""
        dial(town, box(refused=b"moon-phase", reason=b"wait\nfor\x1b[2Jnight"))
        town.run(0.5)
        assert [event["what"] for event in logged] == ["wait?for?[2Jnight"]

    @settings(
        max_examples=100,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda raw: box() + raw)))
    def test_fuzz(self, town: Town, logged: list[LogEvent], answer: bytes) -> None:
        """Any bytes, also behind a good answer: warnings at most."""
        logged.clear()
        a = dial(town, answer)
        town.run(0.1)
        a.transport.stop()
        town.run(0.5)
        assert a.delivered == []
        assert all(event["log_level"] is LogLevel.warn for event in logged)
