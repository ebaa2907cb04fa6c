"""The boxes as they are on wires today: a change here is a change of protocol."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.amp import AmpBox

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.peer.boxes import BoxProtocol
from raftdb.peer.commands import deliver_box, deliver_bytes, delivered_payload, gather, spread
from raftdb.peer.limits import PeerLimits
from raftdb.raft.types import MemberID

if TYPE_CHECKING:
    from tests.peer.conftest import Caller, Town

    Call = Callable[..., Caller]


class RawProtocol(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data


class RawListener(Factory):
    """Keeps who calls."""

    def __init__(self) -> None:
        self.callers: list[RawProtocol] = []

    def buildProtocol(self, addr: object) -> RawProtocol:
        del addr
        self.callers.append(RawProtocol())
        return self.callers[-1]


def key(name: bytes, value: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name + len(value).to_bytes(2, "big") + value


class TestGoldenBoxes:
    """Written by hand from docs/protocol.md."""

    def test_deliver(self) -> None:
        """One key for the messages."""
        golden = key(b"_command", b"Deliver") + key(b"messages", b"abc") + b"\0\0"
        assert deliver_box(b"abc").serialize() == golden

    def test_deliver_of_more_than_a_value(self) -> None:
        """Further keys are numbered from 1."""
        payload = b"x" * 65_535 + b"y" * 65_535 + b"z"
        golden = (
            key(b"_command", b"Deliver")
            + key(b"messages", b"x" * 65_535)
            + key(b"messages.1", b"y" * 65_535)
            + key(b"messages.2", b"z")
            + b"\0\0"
        )
        assert deliver_box(payload).serialize() == golden

    def test_hello(self, town: Town) -> None:
        """What a dialler says first."""
        spy = RawListener()
        town.wires.listen("spy", "spy:1", spy)
        a = town.build("a")
        a.transport.update_peers({MemberID("spy", 5): "spy:1"})
        town.run(0.01)
        golden = (
            key(b"_ask", b"1")
            + key(b"_command", b"Hello")
            + key(b"boot", b"1")
            + key(b"cluster", bytes(15) + b"\xc1")
            + key(b"expected_id", b"spy")
            + key(b"expected_incarnation", bytes(15) + b"\x05")
            + key(b"feature_level", b"1")
            + key(b"http_address", b"a:80")
            + key(b"id", b"a")
            + key(b"incarnation", bytes(15) + b"\x01")
            + key(b"kind", b"control")
            + key(b"protocol_max", b"1")
            + key(b"protocol_min", b"1")
            + key(b"raft_address", b"a:1")
            + b"\0\0"
        )
        assert spy.callers[0].heard == golden

    def test_ping(self, town: Town, call: Call) -> None:
        """A question without content, an answer without content."""
        town.build("a")
        caller = call("a")
        caller.hello()
        before = len(caller.protocol.heard)
        caller.say(key(b"_ask", b"7f") + key(b"_command", b"Ping") + b"\0\0")
        assert caller.protocol.heard[before:] == key(b"_answer", b"7f") + b"\0\0"


class Hearing(BoxProtocol):
    """Keeps what it is delivered, and which way it came."""

    def __init__(self, box_bytes_max: int) -> None:
        super().__init__(box_bytes_max=box_bytes_max, asks_max=1)
        self.payloads: list[bytes] = []
        self.errors: list[Exception] = []
        self.boxes = 0

    def delivered(self, payload: bytes) -> None:
        self.payloads.append(payload)

    def violated(self, error: Exception) -> None:
        self.errors.append(error)

    def ampBoxReceived(self, box: AmpBox) -> None:  # noqa: N802  # Twisted's name
        self.boxes += 1
        super().ampBoxReceived(box)


class TestDeliversThatComeWhole:
    """They go past AMP's parser, and nothing else does."""

    @given(st.lists(st.sampled_from([0, 1, 255, 65_535, 65_536, 131_070])), st.randoms())
    def test_the_way_makes_no_difference(self, lengths: list[int], cuts: Random) -> None:
        """However the bytes are cut, the same payloads come in the same order."""
        payloads = [bytes([number % 256]) * length for number, length in enumerate(lengths)]
        data = b"".join(map(deliver_bytes, payloads))
        assert data == b"".join(deliver_box(payload).serialize() for payload in payloads)
        hearing = Hearing(10**6)
        begin = 0
        while begin < len(data):
            end = begin + cuts.choice([1, 30, 300, 65_536, len(data)])
            hearing.dataReceived(data[begin:end])
            begin = end
        assert hearing.payloads == payloads

    def test_whole_boxes_are_not_collected(self) -> None:
        """Or the short way measures nothing."""
        hearing = Hearing(10**6)
        hearing.dataReceived(deliver_bytes(b"one") + deliver_bytes(b"two"))
        assert (hearing.payloads, hearing.boxes) == ([b"one", b"two"], 0)

    def test_the_limit_of_a_box_holds(self) -> None:
        """To the byte, as on AMP's way."""
        box = deliver_bytes(b"abc")
        hearing = Hearing(len(box))
        hearing.dataReceived(box)
        assert hearing.payloads == [b"abc"]
        hearing = Hearing(len(box) - 1)
        hearing.dataReceived(box)
        assert hearing.payloads == []
        assert isinstance(hearing.errors[0], RemoteProtocolError)

    def test_nothing_is_heard_while_closing(self) -> None:
        """Not even a whole one."""
        hearing = Hearing(10**6)
        hearing.is_closing = True
        hearing.dataReceived(deliver_bytes(b"late"))
        assert hearing.payloads == []


class TestBig:
    """Bytes of any length in one box."""

    @given(st.sampled_from([0, 1, 65_534, 65_535, 65_536, 131_070, 131_071, 200_000]))
    def test_round_trip(self, length: int) -> None:
        """What was spread is gathered, and nothing of it stays behind."""
        value = bytes(length)
        box: dict[bytes, bytes] = {b"other": b""}
        spread(b"name", value, box)
        assert all(len(part) <= 65_535 for part in box.values())
        assert gather(b"name", box) == value
        assert box == {b"other": b""}

    def test_a_missing_part_ends_the_value(self) -> None:
        """Parts are counted without gaps; what follows a gap is no part."""
        box = {b"name": b"a", b"name.2": b"c"}
        assert gather(b"name", box) == b"a"

    def test_deliver_needs_messages(self) -> None:
        """And wants no answer."""
        with pytest.raises(RemoteProtocolError, match="without messages"):
            delivered_payload(AmpBox({b"_command": b"Deliver"}))
        with pytest.raises(RemoteProtocolError, match="answer"):
            delivered_payload(AmpBox({b"messages": b"", b"_ask": b"1"}))


class TestLimits:
    """The limits nest [R30]."""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"append_bytes_max": 8 * 1024 * 1024},
            {"box_bytes_max": 64 * 1024 * 1024},
            {"chunk_bytes_max": 65_536},
            {"chunk_window": 64},
            {"strangers_max": 300},
        ],
    )
    def test_limits_that_do_not_nest_are_refused(self, wrong: dict[str, int]) -> None:
        """An append that fits no box, a box that fits no outbox, and so on."""
        with pytest.raises(InvalidRequest):
            PeerLimits(**wrong)

    def test_a_full_payload_fits_its_box(self) -> None:
        """payload_bytes_max leaves room for all the keys that Big needs."""
        for mebibytes in (2, 8, 64):
            size = mebibytes * 1024 * 1024
            limits = PeerLimits(box_bytes_max=size, bulk_outbox_bytes_max=size)
            payload = bytes(limits.payload_bytes_max)
            assert len(deliver_box(payload).serialize()) <= size
