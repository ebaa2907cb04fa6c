"""Strangers on the peer port change nothing and cost little, whatever they send."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, formatEvent
from twisted.protocols.amp import AmpBox

from raftdb import codec
from raftdb.peer.limits import PeerLimits
from raftdb.raft.messages import Heartbeat, InstallSnapshot, Message, TimeoutNow
from raftdb.raft.types import TERM_MAX, EntryID, MemberID, SnapshotMetadata

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from tests.peer.conftest import Caller, Town

    Call = Callable[..., Caller]

X = MemberID("x", 1)
A = MemberID("a", 1)


def deliver(*messages: Message) -> bytes:
    box = AmpBox({b"_command": b"Deliver", b"messages": codec.encode_messages(messages)})
    encoded: bytes = box.serialize()
    return encoded


HOSTILE: dict[str, bytes] = {
    "StartTLS": AmpBox({b"_command": b"StartTLS", b"_ask": b"1"}).serialize(),
    "unknown command": AmpBox({b"_command": b"Explode", b"_ask": b"1"}).serialize(),
    "command in no encoding": AmpBox({b"_command": b"\xff\xfe", b"_ask": b"1"}).serialize(),
    "answer to nothing": AmpBox({b"_answer": b"1"}).serialize(),
    "error to nothing": AmpBox({b"_error": b"1"}).serialize(),
    "empty box": b"\x00\x00",
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": bytes.fromhex("16030100") + bytes(60),
    "Hello without arguments": AmpBox({b"_command": b"Hello", b"_ask": b"1"}).serialize(),
    "Hello that wants no answer": AmpBox({b"_command": b"Hello"}).serialize(),
    "Ping before Hello": AmpBox({b"_command": b"Ping", b"_ask": b"1"}).serialize(),
    "Deliver before Hello": deliver(TimeoutNow(X, A, 1)),
    "chunk before Hello": AmpBox(
        {
            b"_command": b"SnapshotChunk",
            b"_ask": b"1",
            b"stream": b"1",
            b"offset": b"0",
            b"size": b"1",
            b"chunk": b"x",
        }
    ).serialize(),
}


class Slow(StringTransport):
    """A connection whose end takes a pass of the reactor, as TCP's does."""

    is_cut = False

    def setTcpNoDelay(self, _: bool) -> None:  # noqa: N802  # Twisted's name
        pass

    def abortConnection(self) -> None:  # noqa: N802  # Twisted's name
        self.is_cut = True


class TestBeforeHello:
    """Everything but a Hello ends the connection, quietly."""

    @pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
    def test_is_cut_off(self, town: Town, call: Call, logged: list[LogEvent], data: bytes) -> None:
        """No answer, no traceback, at most a line, and nothing delivered."""
        a = town.build("a")
        caller = call("a")
        caller.say(data)
        town.run(town.limits.hello_timeout_s)
        assert caller.is_cut
        assert caller.protocol.heard == b""
        assert a.delivered == []
        assert len(logged) <= 1
        assert all(event["log_level"] is LogLevel.warn for event in logged)
        assert town.wires.connections("a") == 0

    def test_a_node_that_speaks_tls_is_told_apart(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """One node with --peer-tls among others without is a mistake that its log explains."""
        town.build("a")
        call("a").say(HOSTILE["TLS"])
        assert "speaks TLS: all nodes need --peer-tls, or none" in str(formatEvent(logged[0]))

    def test_silence_is_cut_off(self, town: Town, call: Call) -> None:
        """Who says nothing holds a connection for a second at most."""
        town.build("a")
        caller = call("a")
        town.run(town.limits.hello_timeout_s - 0.1)
        assert not caller.is_cut
        town.run(0.2)
        assert caller.is_cut

    def test_a_byte_now_and_then_buys_no_time(self, town: Town, call: Call) -> None:
        """The deadline is for the whole Hello."""
        town.build("a")
        caller = call("a")
        for byte in b"\x00\x08_command\x00\x05Hello":
            caller.say(bytes((byte,)))
            town.run(0.05)
        assert caller.is_cut

    def test_a_box_is_capped_while_its_keys_arrive(self, town: Town, call: Call) -> None:
        """Many small keys are not collected beyond 4 KiB."""
        town.build("a")
        caller = call("a")
        sent = 0
        while not caller.is_cut and sent < 100_000:
            pair = b"\x00\x0akey%07d\x00\x10" % sent + bytes(16)
            caller.say(pair)
            sent += len(pair)
        assert sent <= town.limits.hello_box_bytes_max + 100

    def test_keys_without_values_count(self, town: Town, call: Call) -> None:
        """Nothing is for free, not even nothing."""
        town.build("a")
        caller = call("a")
        caller.say(b"".join(b"\x00\x0akey%07d\x00\x00" % number for number in range(300)))
        assert caller.is_cut

    def test_a_value_is_refused_by_its_length(self, town: Town, call: Call) -> None:
        """Nobody waits for the 60,000 bytes that are announced."""
        town.build("a")
        caller = call("a")
        caller.say(b"\x00\x01k\xea\x60")
        assert caller.is_cut

    def test_crowds_do_not_lock_members_out(self, town: Town, call: Call) -> None:
        """The oldest stranger goes when one too many comes; a peer needs one round trip."""
        a = town.build("a")
        crowd = [call("a") for _ in range(town.limits.strangers_max + 20)]
        assert sum(not each.is_cut for each in crowd) == town.limits.strangers_max
        assert [each.is_cut for each in crowd[:20]] == [True] * 20
        b = town.build("b")
        b.transport.update_peers({a.member: "a:1"})
        town.run(0.05)
        assert b.transport.is_connected(a.member)

    def test_crowds_that_come_at_once_do_not_either(self, town: Town) -> None:
        """Hundreds in one pass of the reactor, before a single one of those cut off has ended."""
        a = town.build("a")
        wires = []
        for _ in range(2 * town.limits.connections_max):
            stranger = a.transport.factory.buildProtocol(None)
            assert stranger is not None, "a member would be turned away as well"
            wires.append(Slow())
            stranger.makeConnection(wires[-1])
        assert sum(not wire.is_cut for wire in wires) == town.limits.strangers_max

    def test_connections_are_capped(self, town: Town, call: Call) -> None:
        """Beyond the limit nobody is let in."""
        town.limits = PeerLimits(connections_max=8, strangers_max=4)
        town.build("a")
        for number in range(12):
            call("a").hello(id=b"x%d" % number)
        assert town.wires.connections("a") == 8


class TestAfterHello:
    """A member of the cluster, or somebody who knows its id, is still not trusted with rules."""

    @pytest.mark.parametrize(
        "data",
        [
            deliver(Heartbeat(MemberID("y", 1), A, 1, 0, 0, 1)),
            deliver(Heartbeat(X, MemberID("y", 1), 1, 0, 0, 1)),
            deliver(Heartbeat(X, MemberID("a", 2), 1, 0, 0, 1)),
            deliver(Heartbeat(X, A, 1, 0, 0, 1)).replace(b"\x00\x46", b"\x00\x45"),
            AmpBox({b"_command": b"Deliver"}).serialize(),
            AmpBox({b"_command": b"Deliver", b"messages": b"\xff" * 50}).serialize(),
            AmpBox({b"_command": b"Deliver", b"messages": b"", b"_ask": b"9"}).serialize(),
            AmpBox({b"_command": b"Hello", b"_ask": b"9"}).serialize(),
            AmpBox({b"_command": b"Ping"}).serialize(),
            AmpBox({b"_command": b"Ping", b"_ask": b"9" * 17}).serialize(),
        ],
    )
    def test_a_breach_ends_the_connection(self, town: Town, call: Call, data: bytes) -> None:
        """Messages in another's name, to another, or beyond the codec are not delivered."""
        a = town.build("a")
        caller = call("a")
        caller.hello()
        caller.say(data)
        assert caller.is_cut
        assert a.delivered == []

    def test_a_term_above_the_limit_is_refused(self, town: Town, call: Call) -> None:
        """2**62 is where terms end."""
        a = town.build("a")
        caller = call("a")
        caller.hello()
        box = deliver(TimeoutNow(X, A, TERM_MAX))
        caller.say(box.replace(TERM_MAX.to_bytes(8, "big"), (TERM_MAX + 1).to_bytes(8, "big")))
        assert caller.is_cut
        assert a.delivered == []

    def test_a_second_Hello_is_a_breach(self, town: Town, call: Call) -> None:  # noqa: N802
        """Nobody becomes somebody else on the way."""
        a = town.build("a")
        caller = call("a")
        caller.hello()
        caller.hello(id=b"y")
        assert caller.is_cut
        assert [facts.member for facts, _ in a.hellos] == [X]

    def test_nothing_is_heard_after_a_breach(self, town: Town, call: Call) -> None:
        """What stands behind the breach in the same piece is not delivered."""
        a = town.build("a")
        caller = call("a")
        caller.hello()
        good = deliver(Heartbeat(X, A, 1, 0, 0, 1))
        caller.say(good + b"\x00\x00" + good)
        assert len(a.delivered) == 1

    def test_boxes_are_capped_while_they_arrive(self, town: Town, call: Call) -> None:
        """No more than the cap is ever collected."""
        town.build("a")
        caller = call("a")
        caller.hello()
        sent = 0
        while not caller.is_cut and sent < 2 * town.limits.box_bytes_max:
            caller.say(b"\x00\x09m%08d\xff\xff" % sent + bytes(65_535))
            sent += 65_548
        assert sent <= town.limits.box_bytes_max + 2 * 65_548

    def test_pairs_are_capped_while_they_arrive(self, town: Town, call: Call) -> None:
        """A million small ones fit into a box, and would take 200 MB."""
        town.build("a")
        caller = call("a")
        caller.hello()
        sent = 0
        while not caller.is_cut and sent < 100_000:
            many = range(sent, sent + 500)
            caller.say(b"".join(b"\0\3" + each.to_bytes(3, "big") + b"\0\0" for each in many))
            sent += 500
        assert sent <= 2_000

    def test_who_does_not_read_its_answers_is_cut_off(self, town: Town, call: Call) -> None:
        """Answers wait in the same bounded outbox as everything else."""
        town.limits = PeerLimits(control_outbox_bytes_max=65_536)
        town.build("a")
        caller = call("a")
        caller.hello()
        caller.stop_reading()
        ping = AmpBox({b"_command": b"Ping", b"_ask": b"1"}).serialize()
        for _ in range(15):
            caller.say(ping * 1_000)
            assert town.wires.held_bytes <= 65_536 + 1_000 * len(ping)
        assert town.wires.connections("a") == 0

    def test_too_many_open_questions_end_the_connection(self, town: Town, call: Call) -> None:
        """Chunks that wait for a disk are bounded, whatever window the sender believes in."""
        a = town.build("a")
        a.files.held = []
        caller = call("a")
        caller.hello(kind=b"bulk")
        message = codec.encode_message(InstallSnapshot(X, A, 1, SnapshotMetadata(EntryID(1, 1))))
        chunk = {"stream": b"1", "offset": b"0", "size": b"9999", "chunk": b"x"}
        caller.ask(b"SnapshotChunk", message=message, **chunk)
        for _ in range(town.limits.asks_max - 1):
            caller.ask(b"SnapshotChunk", **chunk)
        assert not caller.is_cut
        caller.ask(b"SnapshotChunk", **chunk)
        assert caller.is_cut


class TestSnapshotChunks:
    """Chunks that cannot be right."""

    @pytest.mark.parametrize(
        "changed",
        [
            {"size": b"1"},
            {"chunk": b""},
            {"chunk": bytes(61 * 1024), "size": b"99999"},
            {"offset": b"-1"},
            {"size": b"1e3"},
            {"stream": b"9" * 21},
        ],
    )
    def test_impossible_ones_end_the_connection(
        self, town: Town, call: Call, changed: dict[str, bytes]
    ) -> None:
        """Beyond the file, empty, too large, or no numbers at all."""
        town.build("a")
        caller = call("a")
        caller.hello(kind=b"bulk")
        chunk = {"stream": b"1", "offset": b"0", "size": b"50", "chunk": b"xx", "message": b""}
        caller.ask(b"SnapshotChunk", **(chunk | changed))
        assert caller.is_cut

    @pytest.mark.parametrize(
        "changed",
        [
            {"message": b""},
            {"message": codec.encode_message(TimeoutNow(X, A, 1))},
            {"offset": b"7"},
            {"size": b"%d" % 2**63},
        ],
    )
    def test_wrong_ones_end_the_stream(
        self, town: Town, call: Call, changed: dict[str, bytes]
    ) -> None:
        """No message, another message, a gap, more than the limit: refused, nothing kept."""
        a = town.build("a")
        caller = call("a")
        caller.hello(kind=b"bulk")
        chunk = {"stream": b"1", "offset": b"0", "size": b"50", "chunk": b"xx"}
        answer = caller.ask(b"SnapshotChunk", **(chunk | changed))[-1]
        assert answer[b"refused"]
        assert not caller.is_cut
        assert a.files.receivers == []

    @pytest.mark.parametrize(
        "changed", [{"offset": b"3"}, {"offset": b"1"}, {"size": b"51"}, {"stream": b"2"}]
    )
    def test_wrong_ones_in_the_middle_end_the_stream(
        self, town: Town, call: Call, changed: dict[str, bytes]
    ) -> None:
        """A gap, a repetition, another size or number: the part is removed."""
        a = town.build("a")
        caller = call("a")
        caller.hello(kind=b"bulk")
        message = codec.encode_message(InstallSnapshot(X, A, 1, SnapshotMetadata(EntryID(1, 1))))
        chunk = {"stream": b"1", "offset": b"0", "size": b"50", "chunk": b"xx"}
        assert b"refused" not in caller.ask(b"SnapshotChunk", message=message, **chunk)[-1]
        good = chunk | {"offset": b"2"}
        assert b"refused" in caller.ask(b"SnapshotChunk", **(good | changed))[-1]
        receiver = a.files.receivers[0]
        assert receiver.content == b"xx"
        assert receiver.outcome == ("" if "stream" in changed else "aborted")
        assert a.delivered == []

    def test_a_snapshot_in_the_name_of_another_is_refused(self, town: Town, call: Call) -> None:
        """The message must be from whom the chunk is, and for us."""
        a = town.build("a")
        caller = call("a")
        caller.hello(kind=b"bulk")
        chunk = {"stream": b"1", "offset": b"0", "size": b"50", "chunk": b"xx"}
        for sender, receiver in ((MemberID("y", 1), A), (X, MemberID("a", 2))):
            message = InstallSnapshot(sender, receiver, 1, SnapshotMetadata(EntryID(1, 1)))
            encoded = codec.encode_message(message)
            assert b"refused" in caller.ask(b"SnapshotChunk", message=encoded, **chunk)[-1]
        assert a.files.receivers == []


@st.composite
def boxes(draw: st.DrawFn) -> bytes:
    """Draw boxes that are nearly right: known keys, wild values."""
    keys = st.sampled_from(
        [
            *(b"_command", b"_ask", b"_answer", b"_error", b"_error_code", b"_error_description"),
            *(b"messages", b"messages.1", b"stream", b"offset", b"size", b"chunk", b"message"),
            *(
                b"protocol_min",
                b"protocol_max",
                b"cluster",
                b"id",
                b"incarnation",
                b"boot",
                b"kind",
            ),
            *(b"raft_address", b"http_address", b"feature_level", b"expected_id", b"auth"),
            b"expected_incarnation",
        ]
    )
    values = st.one_of(
        st.sampled_from([b"Hello", b"Deliver", b"SnapshotChunk", b"Ping", b"StartTLS", b"1", b"0"]),
        st.sampled_from([bytes(16), b"control", b"bulk", b"-1", b"\xff\xff", b"1" * 30, b""]),
        st.binary(max_size=40),
    )
    drawn = draw(st.lists(st.dictionaries(keys, values, max_size=16), max_size=4))
    return b"".join(AmpBox(box).serialize() for box in drawn)


class TestAnyBytes:
    """Whatever arrives: no exception, no traceback, a connection that works or ends."""

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.booleans(), st.one_of(st.binary(max_size=300), boxes()))
    def test_fuzz(
        self, town: Town, call: Call, logged: list[LogEvent], known: bool, data: bytes
    ) -> None:
        """Before and after Hello, in one piece and byte by byte."""
        logged.clear()
        a = town.stations.get("a") or town.build("a")
        for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
            caller = call("a")
            if known:
                caller.hello()
            transport = caller.protocol.transport
            assert transport is not None
            for piece in pieces:
                transport.write(piece)
            town.run(0.02)
            transport.loseConnection()
            town.run(0.02)
            assert town.wires.connections("a") == 0
        assert a.delivered == []
        assert all(event["log_level"] is LogLevel.warn for event in logged)
