"""Messages get where they should, on the way they should, or their loss is told."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from raftdb.codec import encode_messages
from raftdb.errors import RemoteProtocolError
from raftdb.peer.commands import deliver_box
from raftdb.peer.handshake import Kind
from raftdb.peer.journal import Journal
from raftdb.raft.messages import AppendEntries
from raftdb.raft.types import EntryID, MemberID

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from tests.peer.conftest import Town


class TestDelivery:
    """send() on one side, deliver() on the other."""

    def test_messages_arrive_in_order(self, town: Town) -> None:
        """What is sent on one kind of connection keeps its order."""
        a, b = town.meet("a", "b")
        sent = [town.heartbeat(a, b, number) for number in range(5)]
        a.transport.send(sent[:3])
        a.transport.send(sent[3:])
        town.run(0.01)
        assert b.delivered == sent
        assert a.unreachable == []

    def test_messages_of_one_turn_are_one_box(self, town: Town) -> None:
        """A turn's messages for a peer are one write, however many they are."""
        a, b = town.meet("a", "b")
        before = town.wires.writes
        a.transport.send([town.heartbeat(a, b, number) for number in range(50)])
        assert town.wires.writes == before + 1

    def test_large_entries_arrive(self, town: Town) -> None:
        """Entries beyond the 65,535 bytes of an AMP value are spread over several keys."""
        a, b = town.meet("a", "b")
        message = town.append(a, b, bytes(range(256)) * 6000)
        a.transport.send([message])
        town.run(0.1)
        assert b.delivered == [message]

    def test_more_than_a_box_becomes_several(self, town: Town) -> None:
        """A turn that does not fit into one box is spread over several."""
        a, b = town.meet("a", "b")
        messages = [town.append(a, b, bytes(3_000_000)) for _ in range(5)]
        a.transport.send(messages)
        town.run(0.5)
        assert b.delivered == messages
        assert a.unreachable == []

    def test_a_message_that_fits_no_box_is_reported(self, town: Town) -> None:
        """It is dropped here; sent, it would cost the connection."""
        a, b = town.meet("a", "b")
        before = town.wires.attempts
        a.transport.send([town.append(a, b, bytes(town.limits.box_bytes_max))])
        town.run(0.1)
        assert a.unreachable == [b.member]
        assert town.wires.attempts == before
        a.transport.send([town.append(a, b, b"small")])
        town.run(0.1)
        assert len(b.delivered) == 1

    def test_nobody_there_is_reported_once_a_turn(self, town: Town) -> None:
        """Dropped messages are reported unreachable [R16], after send() has returned."""
        a = town.build("a")
        ghost = MemberID("ghost", 1)
        message = town.heartbeat(a, a)
        a.transport.send([type(message)(a.member, ghost, 1, 0, 0, n) for n in range(3)])
        assert a.unreachable == []
        town.run(0.01)
        assert a.unreachable == [ghost]


class TestRouting:
    """Control for the small and urgent, bulk for the large; own connection, else the peer's."""

    def test_a_peer_that_cannot_be_dialled_is_answered_on_its_own_connection(
        self, town: Town
    ) -> None:
        """A member we do not know reaches us and is answered [R11]."""
        a, b = town.build("a"), town.build("b")
        a.transport.update_peers({b.member: "b:1"})
        town.run(0.05)
        a.transport.send([town.heartbeat(a, b)])
        town.run(0.01)
        b.transport.send([town.heartbeat(b, a), town.append(b, a, b"x")])
        town.run(0.01)
        assert len(b.delivered) == 1
        assert len(a.delivered) == 2
        assert b.unreachable == []

    def test_entries_never_travel_on_control(self, town: Town) -> None:
        """Without a bulk connection entries are dropped, and heartbeats go on."""
        a, b = town.meet("a", "b")
        for connection in list(a.transport._registry.of(b.member)):
            if connection.facts.kind is Kind.BULK:
                a.transport._registry.forget(connection)
        a.transport.send([town.append(a, b, b"x"), town.heartbeat(a, b)])
        town.run(0.01)
        assert b.delivered == [town.heartbeat(a, b)]
        assert a.unreachable == [b.member]

    def test_a_commit_index_travels_on_control(self, town: Town) -> None:
        """An append without entries is small and urgent: it must not wait behind a batch."""
        a, b = town.meet("a", "b")
        b.pause(Kind.BULK)
        commit = AppendEntries(a.member, b.member, 1, EntryID(1, 7), (), 7, 7)
        a.transport.send([commit])
        town.run(0.01)
        assert b.delivered == [commit]

    def test_a_big_batch_does_not_delay_a_heartbeat(self, town: Town) -> None:
        """While bulk is stuck, control passes."""
        a, b = town.meet("a", "b")
        b.pause(Kind.BULK)
        a.transport.send([town.append(a, b, bytes(4_000_000))])
        a.transport.send([town.heartbeat(a, b)])
        town.run(0.01)
        assert b.delivered == [town.heartbeat(a, b)]


class TestBoundedOutboxes:
    """A transport that asks to pause gets no more, and what waits has a limit [R16]."""

    def test_a_slow_peer_costs_bounded_memory(self, town: Town) -> None:
        """Beyond the limit messages are dropped and reported; the rest arrives later."""
        a, b = town.meet("a", "b")
        b.pause(Kind.BULK)
        message = town.append(a, b, bytes(1_000_000))
        for _ in range(100):
            a.transport.send([message])
        town.run(0.01)
        held = town.wires.held_bytes + a.waiting_bytes(b.member)
        assert held <= town.limits.bulk_outbox_bytes_max + 2 * town.limits.box_bytes_max
        assert a.unreachable == [b.member]
        b.resume(Kind.BULK)
        town.run(1)
        assert 20 <= len(b.delivered) < 100

    def test_the_transport_holds_little(self, town: Town) -> None:
        """A paused transport is given nothing: what waits, waits where it is counted."""
        a, b = town.meet("a", "b")
        b.pause(Kind.BULK)
        for _ in range(10):
            a.transport.send([town.append(a, b, bytes(1_000_000))])
        assert town.wires.held_bytes <= 65_536 + town.limits.write_bytes_max
        assert a.waiting_bytes(b.member) > 9_000_000


class TestLosingAndFinding:
    """Connections end and come back."""

    def test_a_killed_peer_is_refused_at_once(self, town: Town) -> None:
        """The connection ends, the redial is refused: evidence for fast failover [R10]."""
        a, b = town.meet("a", "b")
        town.wires.kill("b")
        town.run(0.01)
        assert a.links_lost == [(b.member, True)]
        assert a.unreachable == [b.member]

    def test_a_peer_that_takes_the_redial_while_it_dies_is_refused_at_the_next(
        self, town: Town
    ) -> None:
        """1. Its connections are closed first. 2. Its port takes one more, and is closed with it."""
        a, b = town.meet("a", "b")
        town.run(0.2)
        town.wires.close("b:1")

        class Dying(Protocol):
            def connectionMade(self) -> None:
                town.wires.close("b:1")
                town.clock.callLater(0.001, town.wires.kill, "b")

        town.wires.listen("b", "b:1", Factory.forProtocol(Dying))
        for connection in a.transport._registry.of(b.member):
            connection.abort()
        town.run(0.05)
        assert a.links_lost == [(b.member, True)]

    def test_a_broken_connection_is_no_evidence(self, town: Town) -> None:
        """The redial succeeds, so nobody has died."""
        a, b = town.meet("a", "b")
        town.run(0.2)
        for connection in a.transport._registry.of(b.member):
            connection.abort()
        town.run(0.01)
        assert a.links_lost == [(b.member, False)]
        assert a.transport.is_connected(b.member)

    def test_a_partition_is_no_evidence(self, town: Town) -> None:
        """The redial runs into its timeout, which says nothing about the peer."""
        a, b = town.meet("a", "b")
        town.wires.part("a", "b")
        town.run(3)
        assert not a.transport.is_connected(b.member)
        assert [refused for _, refused in a.links_lost] == [False]

    def test_a_healed_partition_is_found_within_a_timeout_and_a_heartbeat(self, town: Town) -> None:
        """No back-off grows beyond a heartbeat [R17], so reconnecting costs no election."""
        a, b = town.meet("a", "b")
        town.wires.part("a", "b")
        town.run(20)
        town.wires.rejoin("a", "b")
        town.run(town.limits.connect_timeout_s + 1.25 * town.limits.heartbeat_s + 0.01)
        assert a.transport.is_connected(b.member)
        assert b.transport.is_connected(a.member)

    def test_redials_are_neither_rare_nor_a_storm(self, town: Town) -> None:
        """A refused peer is dialled about once a heartbeat and kind."""
        a = town.build("a")
        a.transport.update_peers({MemberID("b", 1): "b:1"})
        town.run(10)
        assert 150 <= town.wires.attempts <= 260

    def test_a_peer_that_hangs_up_at_once_is_not_dialled_in_a_loop(self, town: Town) -> None:
        """Only a connection that lived is redialled without a pause."""
        a, b = town.build("a"), town.build("b")
        b.hangs_up = True
        a.transport.update_peers({b.member: "b:1"})
        town.run(5)
        assert 50 <= town.wires.attempts <= 150

    def test_redials_do_not_march_in_step(self, town: Town) -> None:
        """Jitter spreads them, or a whole cluster would dial a node that comes back at once."""
        a = town.build("a")
        a.transport.update_peers({MemberID("b", 1): "b:1"})
        town.run(2)
        gaps = set()
        for _ in range(10):
            before, begin = town.wires.attempts, town.clock.seconds()
            while town.wires.attempts == before:
                town.run(0.001)
            gaps.add(round(town.clock.seconds() - begin, 3))
        assert len(gaps) > 5

    def test_remembered_troubles_are_bounded(self, logged: list[LogEvent]) -> None:
        """The oldest is forgotten, and told again when it comes back."""
        journal = Journal(Clock().seconds)
        for number in range(2000):
            journal.trouble(f"peer {number}", RemoteProtocolError("no"))
        journal.trouble("peer 1999", RemoteProtocolError("no"))
        assert len(logged) == 2000
        journal.trouble("peer 0", RemoteProtocolError("no"))
        assert len(logged) == 2001

    def test_troubles_are_logged_once(self, town: Town, logged: list[LogEvent]) -> None:
        """A dead peer is one line, not ten a second."""
        a = town.build("a")
        a.transport.update_peers({MemberID("b", 1): "b:1"})
        town.run(5)
        assert len(logged) == 1
        b = town.build("b")
        town.run(1)
        assert a.transport.is_connected(b.member)
        town.wires.kill("b")
        town.run(5)
        lines = [event["log_format"].format(**event) for event in logged if "b#" in event["peer"]]
        assert len(lines) == 2, lines


class TestTheWay:
    """Which connection a message takes."""

    @pytest.mark.parametrize("kind", list(Kind))
    def test_is_our_own_connection_while_it_is_open(self, town: Town, kind: Kind) -> None:
        """Then the peer's; never one that is being closed."""
        a, b = town.meet("a", "b")
        registry = a.transport._registry
        ours = registry.find(b.member, kind)
        assert ours is not None
        assert ours.facts.dialled
        ours.close()
        theirs = registry.find(b.member, kind)
        assert theirs is not None
        assert not theirs.facts.dialled
        theirs.close()
        assert registry.find(b.member, kind) is None


class TestPeers:
    """update_peers() says who is dialled."""

    def test_a_new_address_is_dialled(self, town: Town) -> None:
        """The connection to the old address goes, one to the new comes."""
        a, b = town.build("a"), town.build("b", at="b:9")
        a.transport.update_peers({b.member: "b:1"})
        town.run(0.5)
        assert not a.transport.is_connected(b.member)
        a.transport.update_peers({b.member: "b:9"})
        town.run(0.1)
        assert a.transport.is_connected(b.member)

    def test_who_is_no_peer_is_not_dialled(self, town: Town) -> None:
        """Dropping a peer ends our connections to it; unchanged peers keep theirs."""
        a, b, c = town.meet("a", "b", "c")
        kept = a.transport._registry.find(c.member, Kind.CONTROL)
        for station in (a, b):
            station.transport.update_peers({c.member: "c:1"})
        town.run(1)
        assert not a.transport.is_connected(b.member)
        assert a.transport._registry.find(c.member, Kind.CONTROL) is kept

    def test_a_connection_being_closed_hears_nothing(self, town: Town) -> None:
        """Our last bytes still leave, the other side's are no longer heard."""
        a, b = town.meet("a", "b")
        b.pause(Kind.CONTROL)
        for number in range(2000):
            a.transport.send([town.heartbeat(a, b, number)])
        a.removed.add(b.member)
        a.transport.update_peers({})
        b.transport.send([town.heartbeat(b, a)])
        town.run(0.1)
        assert a.delivered == []

    def test_a_member_removed_by_a_message_says_nothing_more(self, town: Town) -> None:
        """What stands behind that message in the same piece of bytes is not heard."""
        a, b = town.meet("a", "b")

        def remove() -> None:
            a.removed.add(b.member)
            a.transport.update_peers({})

        a.on_delivered = remove
        connection = b.transport._registry.find(a.member, Kind.CONTROL)
        assert connection is not None
        boxes = [
            deliver_box(encode_messages([town.heartbeat(b, a, number)])).serialize()
            for number in range(3)
        ]
        connection._write(b"".join(boxes))
        town.run(0.1)
        assert len(a.delivered) == 1

    def test_stop_leaves_nothing_behind(self, town: Town) -> None:
        """After stop() no connection and no timer of this node is left."""
        a, b = town.meet("a", "b")
        done: list[object] = []
        for station in (a, b):
            station.transport.stop().addCallback(done.append)
        town.run(1)
        assert done == [None, None]
        assert town.wires.connections("a") == town.wires.connections("b") == 0
        assert town.clock.getDelayedCalls() == []

    def test_stop_cuts_a_connection_that_does_not_flush(self, town: Town) -> None:
        """A peer that does not read cannot keep us from stopping."""
        a, b = town.meet("a", "b")
        b.pause(Kind.BULK)
        a.transport.send([town.append(a, b, bytes(2_000_000))])
        done: list[object] = []
        a.transport.stop().addCallback(done.append)
        town.run(town.limits.closing_s + 0.01)
        assert done == [None]


class TestSnapshots:
    """The file goes first, the message after it."""

    CONTENT = bytes(range(256)) * 4000

    def test_a_snapshot_arrives_whole_before_its_message(self, town: Town) -> None:
        """The message is stepped in only when the file is durable."""
        a, b = town.meet("a", "b")
        message = town.install(a, b)
        last = message.snapshot.last
        a.files.contents[last] = self.CONTENT
        b.files.held = []
        a.transport.send([message])
        town.run(0.05)
        assert b.delivered == []
        b.files.release()
        town.run(0.2)
        assert b.delivered == [message]
        assert b.files.contents[last] == self.CONTENT
        assert a.snapshots_sent == [(b.member, True)]
        assert a.files.opened[0].is_closed

    def test_the_window_is_bounded(self, town: Town) -> None:
        """A receiver whose disk waits is sent no more than a window of chunks."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = bytes(10_000_000)
        b.files.held = []
        a.transport.send([town.install(a, b)])
        town.run(0.5)
        assert a.files.opened[0].reads == town.limits.chunk_window + 1

    def test_an_empty_snapshot_arrives(self, town: Town) -> None:
        """A file of no bytes is one empty chunk."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = b""
        a.transport.send([town.install(a, b)])
        town.run(0.05)
        assert a.snapshots_sent == [(b.member, True)]
        assert len(b.delivered) == 1

    def test_a_full_disk_is_told_to_the_sender(self, town: Town) -> None:
        """The stream ends, the connection stays."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = self.CONTENT
        b.files.error = OSError("no space left")
        a.transport.send([town.install(a, b)])
        town.run(0.2)
        assert a.snapshots_sent == [(b.member, False)]
        assert b.files.receivers[0].outcome == "aborted"
        assert b.delivered == []
        assert a.transport.is_connected(b.member)

    def test_who_has_no_room_is_left_in_peace(self, town: Town) -> None:
        """Asked again less and less often, however eager the leader is; both logs say why, once."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = self.CONTENT
        b.files.error = OSError(errno.ENOSPC, "no room for 1024000 bytes")
        with capturedLogs() as events:
            for _ in range(300):
                a.transport.send([town.install(a, b)])
                town.run(0.1)
        assert 5 <= len(b.files.receivers) <= 12
        assert len(a.snapshots_sent) >= len(b.files.receivers) - 1
        told = [formatEvent(event) for event in events if "1024000" in formatEvent(event)]
        assert len(told) == 2, "the joiner and the leader"
        b.files.error = None
        for _ in range(110):
            a.transport.send([town.install(a, b)])
            town.run(0.1)
        assert a.snapshots_sent[-1] == (b.member, True)
        streams = len(b.files.receivers)
        for _ in range(3):
            a.transport.send([town.install(a, b)])
            town.run(0.3)
        assert len(b.files.receivers) == streams + 3, "no pause after a success"

    def test_what_follows_a_refused_chunk_is_told_the_reason(self, town: Town) -> None:
        """Not that the stream is over: that is no help to anybody."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = self.CONTENT
        b.files.error = OSError(errno.ENOSPC, "no room for 1024000 bytes")
        answers: list[str] = []
        take = b.transport._intake.take

        def listen(connection: Any, arguments: dict[str, object]) -> Deferred[dict[str, object]]:
            def note(answer: dict[str, object]) -> dict[str, object]:
                answers.append(str(answer["refused"]))
                return answer

            return take(connection, arguments).addCallback(note)

        vars(b.transport._intake)["take"] = listen
        a.transport.send([town.install(a, b)])
        town.run(0.2)
        assert len(answers) > 5
        assert all("no room for 1024000 bytes" in answer for answer in answers)

    def test_a_snapshot_that_is_gone_is_told(self, town: Town) -> None:
        """Compacted meanwhile: the core is told and sends a newer one."""
        a, b = town.meet("a", "b")
        a.transport.send([town.install(a, b)])
        town.run(0.05)
        assert a.snapshots_sent == [(b.member, False)]

    def test_a_lost_connection_ends_both_sides(self, town: Town) -> None:
        """The sender tells the core, the receiver removes the part."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = bytes(10_000_000)
        b.files.held = []
        a.transport.send([town.install(a, b)])
        town.run(0.05)
        for connection in a.transport._registry.of(b.member):
            connection.abort()
        town.run(0.05)
        b.files.release()
        town.run(0.05)
        assert a.snapshots_sent == [(b.member, False)]
        assert b.files.receivers[0].outcome == "aborted"
        assert b.delivered == []

    @pytest.mark.parametrize("steps", [0, 1])
    def test_a_stream_given_up_while_the_disk_works_is_not_delivered(
        self, town: Town, steps: int
    ) -> None:
        """Lost during the last write: no commit. Lost during the commit: no message."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = b"small"
        b.files.held = []
        a.transport.send([town.install(a, b)])
        town.run(0.02)
        for _ in range(steps):
            b.files.release_one()
        for connection in a.transport._registry.of(b.member):
            connection.abort()
        town.run(0.02)
        assert b.files.receivers[0].outcome == "aborted"
        b.files.release_one()
        assert b.files.held == [], "nothing further is begun"
        assert b.delivered == []

    def test_a_stream_whose_connection_went_before_its_turn_never_begins(self, town: Town) -> None:
        """It waited for another's disk; nobody would ever remove its part."""
        a, b, c = town.meet("a", "b", "c")
        for sender in (a, c):
            sender.files.contents[EntryID(1, 9)] = b"small"
        b.files.held = []
        a.transport.send([town.install(a, b)])
        town.run(0.02)
        c.transport.send([town.install(c, b)])
        town.run(0.02)
        for connection in c.transport._registry.of(b.member):
            connection.abort()
        town.run(0.02)
        b.files.release()
        town.run(0.02)
        assert [each.outcome for each in b.files.receivers] == ["committed"]

    def test_a_repeated_message_does_not_begin_again(self, town: Town) -> None:
        """The stream under way goes on."""
        a, b = town.meet("a", "b")
        a.files.contents[EntryID(1, 9)] = self.CONTENT
        b.files.held = []
        a.transport.send([town.install(a, b)])
        town.run(0.01)
        a.transport.send([town.install(a, b)])
        b.files.release()
        town.run(0.2)
        assert len(b.files.receivers) == 1
        assert a.snapshots_sent == [(b.member, True)]

    def test_a_superseded_stream_tells_no_outcome(self, town: Town) -> None:
        """It would be taken for the outcome of the stream that has replaced it."""
        a, b = town.meet("a", "b")
        for index in (9, 10):
            a.files.contents[EntryID(1, index)] = self.CONTENT
        b.files.held = []
        a.transport.send([town.install(a, b, index=9)])
        town.run(0.01)
        a.transport.send([town.install(a, b, index=10)])
        town.run(0.01)
        assert a.snapshots_sent == []
        assert len(a.transport._sender._streams) == 1
        assert [file.is_closed for file in a.files.opened] == [True, False], "one goes on"
        b.files.release()
        town.run(0.3)
        assert a.snapshots_sent == [(b.member, True)]
        assert b.delivered == [town.install(a, b, index=10)]
        assert all(file.is_closed for file in a.files.opened)

    def test_a_leader_of_a_higher_term_takes_over(self, town: Town) -> None:
        """Of two leaders that both stream, the one of the higher term is right."""
        a, b, c = town.meet("a", "b", "c")
        for sender in (a, c):
            sender.files.contents[EntryID(1, 9)] = self.CONTENT
        b.files.held = []
        a.transport.send([town.install(a, b, term=2)])
        town.run(0.01)
        c.transport.send([town.install(c, b, term=1)])
        town.run(0.01)
        b.files.release()
        town.run(0.3)
        assert c.snapshots_sent == [(b.member, False)] or a.snapshots_sent == [(b.member, True)]
        b.files.held = []
        a.transport.send([town.install(a, b, term=2)])
        town.run(0.01)
        c.transport.send([town.install(c, b, term=3)])
        b.files.release()
        town.run(0.3)
        assert c.snapshots_sent[-1] == (b.member, True)
