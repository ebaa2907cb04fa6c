"""Half-open, deaf and stuck connections are noticed, and healthy ones are left alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.protocols.amp import AmpBox

from raftdb.errors import Overloaded
from raftdb.peer.handshake import Kind
from raftdb.peer.keepalive import Keepalive
from raftdb.raft.messages import AppendEntries, Heartbeat
from raftdb.raft.types import MemberID
from tests.peer.test_strangers import deliver

if TYPE_CHECKING:
    from raftdb.peer.protocol import PeerConnection
    from tests.peer.conftest import Caller, Town

    Call = Callable[..., Caller]


class TestControl:
    """An idle Ping unanswered for two heartbeats ends a control connection."""

    def test_an_idle_connection_stays(self, town: Town) -> None:
        """Nothing but Pings for a minute changes nothing."""
        a, b = town.meet("a", "b")
        before = town.wires.attempts
        town.run(10)
        assert town.wires.attempts == before
        assert a.unreachable == b.unreachable == []

    def test_a_cut_link_is_noticed(self, town: Town) -> None:
        """One heartbeat of silence, two of patience, and the grain of the watch."""
        a, b = town.meet("a", "b")
        town.wires.part("a", "b")
        town.run(4 * town.limits.heartbeat_s)
        assert not a.transport.is_connected(b.member)
        assert not b.transport.is_connected(a.member)

    def test_a_peer_that_speaks_but_does_not_hear_is_noticed(self, town: Town) -> None:
        """Its heartbeats arrive, our Pings do not: traffic from it is no answer."""
        a, b = town.meet("a", "b")
        town.wires.cut("a", "b")
        for number in range(50):
            b.transport.send([town.heartbeat(b, a, number)])
            town.run(0.02)
        assert not b.transport.is_connected(a.member)

    def test_a_deaf_peer_that_goes_on_speaking_is_ended(self, town: Town, call: Call) -> None:
        """Only an answer counts: progress of any other kind comes from who may not hear us.

        1. The way from a to x is broken; that from x to a is not. 2. x never gives up by itself.
        3. If its heartbeats kept the connection, a would go on sending acknowledgements and votes
        into it, and not over the one that x can hear.
        """
        a = town.build("a")
        x = call("a")
        x.hello()
        begun_s = town.clock.seconds()
        while not x.is_cut and town.clock.seconds() < begun_s + 5:
            x.say(deliver(Heartbeat(MemberID("x", 1), a.member, 1, 0, 0, 1)))
            town.run(0.01)
        limits = town.limits
        lasted_s = town.clock.seconds() - begun_s
        at_best_s = limits.election_timeout_s + limits.ping_timeout_s
        assert at_best_s <= lasted_s <= at_best_s + 2 * limits.heartbeat_s

    def test_a_peer_that_answers_is_not(self, town: Town, call: Call) -> None:
        """Whatever else it says, and even if it says nothing else."""
        town.build("a")
        x = call("a")
        x.hello()
        answered = 1  # the Hello's answer is no question
        for _ in range(400):
            town.run(0.01)
            for box in x.answers()[answered:]:
                answered += 1
                assert box[b"_command"] == b"Ping"
                x.say(AmpBox({b"_answer": box[b"_ask"]}).serialize())
        assert not x.is_cut
        assert answered > 10

    def test_one_that_does_not_read_is_asked_at_once(self, town: Town, call: Call) -> None:
        """What waits for it shows that something is wrong before its silence would."""
        a = town.build("a")
        x = call("a")
        x.hello()
        x.stop_reading()
        heartbeat = Heartbeat(a.member, MemberID("x", 1), 1, 0, 0, 1)
        while not any(each._outbox.is_paused for each in a.transport._accepted if each._outbox):
            a.transport.send([heartbeat] * 100)
        begun_s = town.clock.seconds()
        while a.transport._accepted and town.clock.seconds() < begun_s + 5:
            x.say(deliver(Heartbeat(MemberID("x", 1), a.member, 1, 0, 0, 1)))
        lasted_s = town.clock.seconds() - begun_s
        assert lasted_s <= town.limits.ping_timeout_s + town.limits.heartbeat_s + 0.02

    def test_ping_is_answered_while_the_disk_waits(self, town: Town) -> None:
        """A snapshot that waits for its fsync costs no connection."""
        a, b = town.meet("a", "b")
        message = town.install(a, b)
        a.files.contents[message.snapshot.last] = bytes(100_000)
        b.files.held = []
        a.transport.send([message])
        before = town.wires.attempts
        town.run(10)
        assert town.wires.attempts == before
        b.files.release()
        town.run(0.1)
        assert a.snapshots_sent == [(b.member, True)]

    def test_a_disk_that_hangs_ends_the_stream_at_last(self, town: Town) -> None:
        """Patience for a chunk's answer ends, and the core is told."""
        a, b = town.meet("a", "b")
        message = town.install(a, b)
        a.files.contents[message.snapshot.last] = bytes(100_000)
        b.files.held = []
        a.transport.send([message])
        for _ in range(round(town.limits.snapshot_patience_s / 0.05) + 2):
            town.clock.advance(0.05)
        assert a.snapshots_sent == [(b.member, False)]
        assert a.files.opened[0].is_closed


class TestBulk:
    """Only the absence of all progress ends a bulk connection."""

    def test_a_slow_link_that_moves_is_left_alone(self, town: Town) -> None:
        """A Ping behind megabytes may take long, as long as bytes are taken."""
        a, b = town.meet("a", "b")
        town.wires.bytes_per_s = 600_000
        before = a.transport._registry.find(b.member, Kind.BULK)
        message = town.append(a, b, bytes(6_000_000))
        a.transport.send([message])
        town.run(15)
        assert b.delivered == [message]
        assert a.transport._registry.find(b.member, Kind.BULK) is before

    def test_a_stuck_link_is_ended(self, town: Town) -> None:
        """After max(2 s, 4T) without any progress."""
        a, b = town.meet("a", "b")
        b.pause(Kind.BULK)
        before = a.transport._registry.find(b.member, Kind.BULK)
        a.transport.send([town.append(a, b, bytes(6_000_000))])
        town.run(town.limits.stall_s - 0.2)
        assert a.transport._registry.find(b.member, Kind.BULK) is before
        town.run(1.2)
        assert a.transport._registry.find(b.member, Kind.BULK) is not before
        assert a.unreachable == [b.member]


class TestLargeFramesThatNeverPass:
    """A wrong MTU on the way: heartbeats and Pings pass, what is larger does not.

    What the transport makes of it: within max(2 s, 4 T) and a third the bulk connection ends, the
    member is reported unreachable, and so again with every try. Nothing else shows it: the next
    connection is open at once, and control is well all the time.
    """

    def test_are_reported_again_and_again(self, town: Town) -> None:
        """Also where the kernel takes all of it, so that nothing ever waits here."""
        a, b = town.meet("a", "b")
        begun_s = town.clock.seconds()
        reports: list[float] = []
        for _ in range(120):
            # What is small passes in both directions, Hello and Pings of bulk as well.
            for each in a.transport._registry.of(b.member):
                if each.facts.kind is Kind.BULK and each.is_open:
                    _hold_what_is_large(each)
            a.transport.send([town.append(a, b, bytes(30_000)), town.heartbeat(a, b)])
            town.run(0.1)
            if len(a.unreachable) > len(reports):
                reports.append(town.clock.seconds() - begun_s)
        assert set(a.unreachable) == {b.member}
        assert reports[0] <= town.limits.stall_s * 4 / 3 + 0.2
        gaps = [after - before for before, after in pairwise(reports)]
        assert len(reports) >= 4
        assert max(gaps) <= town.limits.stall_s * 4 / 3 + 0.4
        assert not any(isinstance(each, AppendEntries) for each in b.delivered)
        heartbeats = [each for each in b.delivered if isinstance(each, Heartbeat)]
        assert len(heartbeats) == 120, "control is well"
        assert a.transport.is_connected(b.member)


def _hold_what_is_large(connection: PeerConnection) -> None:
    """Let nothing pass once a large piece was written, as TCP does that sends it again for ever."""
    wire: Any = connection.wire
    if "write" in vars(wire):
        return
    passes = wire.write

    def write(data: bytes) -> None:
        if len(data) > 1_400:
            vars(wire)["write"] = lambda _: None
        else:
            passes(data)

    vars(wire)["write"] = write


class TestPulse:
    """The watch itself, with a Ping in the test's hands."""

    def test_a_pause_of_our_own_is_not_the_others_death(self) -> None:
        """After a stall the timer runs before the socket is read; the answer has long come."""
        clock = Clock()
        pings: list[Deferred[dict[str, object]]] = []
        deaths: list[None] = []

        def ping() -> Deferred[dict[str, object]]:
            pings.append(Deferred())
            return pings[-1]

        pulse = Keepalive(
            clock,
            idle_s=0.1,
            patience_s=0.2,
            progress_counts=False,
            is_blocked=lambda: False,
            ping=ping,
            dead=lambda: deaths.append(None),
        )
        clock.pump([0.05, 0.05])
        assert len(pings) == 1
        # The process stands still for a second. The answer is read when all timers that are due
        # by then have run, but before those that they set.
        clock.callLater(1.0, pings[0].callback, {})
        clock.advance(1.0)
        assert deaths == []
        pulse.stop()
        assert clock.getDelayedCalls() == []

    def test_traffic_is_no_answer_on_control(self) -> None:
        """It may come from somebody who does not hear us."""
        assert self.deaths_under_traffic(progress_counts=False) == 1

    def test_traffic_buys_time_on_bulk(self) -> None:
        """The answer may stand behind megabytes that are still moving."""
        assert self.deaths_under_traffic(progress_counts=True) == 0

    def test_a_blocked_transport_is_pinged_whatever_arrives(self) -> None:
        """Nothing goes out, so somebody has to find out whether anything ever will."""
        clock = Clock()
        pings: list[None] = []

        def ping() -> Deferred[dict[str, object]]:
            pings.append(None)
            return Deferred()

        pulse = Keepalive(
            clock,
            idle_s=0.1,
            patience_s=0.2,
            progress_counts=False,
            is_blocked=lambda: True,
            ping=ping,
            dead=lambda: None,
        )
        for _ in range(4):
            pulse.progressed()
            clock.advance(0.02)
        assert len(pings) == 1

    def test_who_speaks_and_answers_is_asked_now_and_then(self) -> None:
        """Once per proof_s, not all the time."""
        clock = Clock()
        pings: list[float] = []

        def ping() -> Deferred[dict[str, object]]:
            pings.append(clock.seconds())
            return succeed({})

        pulse = self.pulse(clock, ping, proof_s=0.4)
        for _ in range(400):
            pulse.progressed()
            clock.advance(0.01)
        assert 7 <= len(pings) <= 10

    def test_a_ping_that_cannot_be_sent_is_unanswered(self) -> None:
        """There is no room for it: nobody reads."""
        clock = Clock()
        deaths: list[float] = []
        self.pulse(
            clock, lambda: fail(Overloaded("full")), dead=lambda: deaths.append(clock.seconds())
        )
        clock.pump([0.01] * 100)
        assert [0.3 <= death <= 0.4 for death in deaths] == [True]

    def test_patience_begins_with_the_ping(self) -> None:
        """Not with the silence before it, which was nobody's fault."""
        clock = Clock()
        deaths: list[float] = []
        self.pulse(
            clock,
            Deferred,
            idle_s=0.5,
            patience_s=1.0,
            progress_counts=True,
            dead=lambda: deaths.append(clock.seconds()),
        )
        clock.pump([0.01] * 400)
        assert [1.5 <= death <= 1.8 for death in deaths] == [True]

    def pulse(
        self, clock: Clock, ping: Callable[[], Deferred[dict[str, object]]], **changed: Any
    ) -> Keepalive:
        usual: dict[str, Any] = {
            "idle_s": 0.1,
            "patience_s": 0.2,
            "progress_counts": False,
            "is_blocked": lambda: False,
            "dead": lambda: None,
        }
        return Keepalive(clock, ping=ping, **(usual | changed))

    def deaths_under_traffic(self, *, progress_counts: bool) -> int:
        """Count deaths where a Ping stays unanswered while other bytes keep coming."""
        clock = Clock()
        deaths: list[Keepalive] = []
        pulse = Keepalive(
            clock,
            idle_s=0.1,
            patience_s=0.2,
            progress_counts=progress_counts,
            is_blocked=lambda: False,
            ping=Deferred,
            dead=lambda: deaths.append(pulse),
        )
        clock.pump([0.05] * 3)
        for _ in range(40):
            pulse.progressed()
            clock.advance(0.05)
        return len(deaths)

    def test_silence_is_death_once(self) -> None:
        """An unanswered Ping is reported once."""
        clock = Clock()
        deaths: list[Keepalive] = []
        pulse = Keepalive(
            clock,
            idle_s=0.1,
            patience_s=0.2,
            progress_counts=False,
            is_blocked=lambda: False,
            ping=Deferred,
            dead=lambda: deaths.append(pulse),
        )
        clock.pump([0.05] * 40)
        assert len(deaths) == 1
