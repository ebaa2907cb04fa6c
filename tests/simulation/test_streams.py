"""The byte network does to streams what networks do, and nothing else."""

from __future__ import annotations

from random import Random

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from raftdb.simulation.clock import NodeClock, SimulationClock
from raftdb.simulation.network.lossy_streams import LossyStreams


class Ear(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class Pair:
    """Hosts a and b, each with a process; a can dial b."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = SimulationClock()
        self.lossy_streams = LossyStreams(self.clock, Random(seed), silent_deaths=0.0)
        self.clocks = {name: NodeClock(self.clock) for name in "ab"}
        for name, clock in self.clocks.items():
            self.lossy_streams.attach(name, clock)
            self.lossy_streams.know(name)
        self.accepted: list[Ear] = []
        self.lossy_streams.listen("b", "b.raft:1", Factory.forProtocol(self._accept))

    def _accept(self) -> Ear:
        self.accepted.append(Ear())
        return self.accepted[-1]

    def attempt(self) -> Deferred[IProtocol]:
        endpoint = self.lossy_streams.endpoint("a", "b.raft:1")
        dialled = endpoint.connect(Factory.forProtocol(Ear))
        self.clock.run_for(0.1)
        return dialled

    def connect(self) -> tuple[Ear, Ear]:
        found: list[IProtocol] = []
        self.attempt().addCallback(found.append)
        near = found[0]
        assert isinstance(near, Ear)
        return near, self.accepted[-1]

    def say(self, ear: Ear, data: bytes, seconds: float = 0.1) -> None:
        assert ear.transport is not None
        ear.transport.write(data)
        self.clock.run_for(seconds)


class TestStreams:
    """Bytes arrive in order, late and in pieces, or not at all."""

    def test_everything_arrives_in_order(self) -> None:
        """However many pieces it was written in, and read in."""
        pair = Pair()
        near, far = pair.connect()
        for number in range(200):
            pair.say(near, b"%d " % number, seconds=0.0001)
        pair.clock.run_for(1)
        assert far.heard == b"".join(b"%d " % number for number in range(200))

    def test_a_frame_ends_in_its_middle_with_its_sender(self) -> None:
        """Some of what a dead process had sent still arrives; then the connection is lost."""
        lengths = []
        for seed in range(12):
            pair = Pair(seed)
            near, far = pair.connect()
            pair.say(near, bytes(1000), seconds=0)
            pair.lossy_streams.lose("a")
            pair.clocks["a"].kill()
            pair.clock.run_for(1)
            assert far.reason is not None
            lengths.append(len(far.heard))
        assert any(0 < length < 1000 for length in lengths)

    def test_a_clogged_link_goes_on_later(self) -> None:
        """Everything that was held comes together; the way back was free."""
        pair = Pair()
        near, far = pair.connect()
        pair.lossy_streams.clog("a", "b", 0.5)
        pair.say(near, b"one")
        pair.say(far, b"back")
        assert (far.heard, near.heard) == (b"", b"back")
        pair.say(near, b"two", seconds=1.0)
        assert far.heard == b"onetwo"

    def test_a_cut_holds_bytes_in_one_direction(self) -> None:
        """They arrive when it is mended."""
        pair = Pair()
        near, far = pair.connect()
        pair.lossy_streams.cut("a", "b")
        pair.say(near, b"there")
        pair.say(far, b"back")
        assert (far.heard, near.heard) == (b"", b"back")
        pair.lossy_streams.mend()
        pair.clock.run_for(0.1)
        assert far.heard == b"there"

    def test_a_paused_process_reads_later(self) -> None:
        """What arrives meanwhile waits in its machine."""
        pair = Pair()
        near, far = pair.connect()
        pair.clocks["b"].pause(1.0)
        pair.say(near, b"hello", seconds=0.5)
        assert far.heard == b""
        pair.clock.run_for(1)
        assert far.heard == b"hello"


class TestEnds:
    """Who hears of the end of a connection, and when."""

    def test_both_are_told(self) -> None:
        """Something in between resets it."""
        pair = Pair()
        near, far = pair.connect()
        next(iter(pair.lossy_streams.ends)).snap(told=(True, True))
        pair.clock.run_for(0.1)
        assert near.reason is not None
        assert far.reason is not None

    def test_who_was_not_told_hears_when_it_writes(self) -> None:
        """The other machine does not know the connection any more, and says so."""
        pair = Pair()
        near, far = pair.connect()
        next(iter(pair.lossy_streams.ends)).snap(told=(True, False))
        pair.clock.run_for(0.1)
        told, untold = (near, far) if near.reason is not None else (far, near)
        assert told.reason is not None
        assert untold.reason is None
        pair.say(untold, b"hello?")
        assert untold.reason is not None

    def test_a_hanging_connection_tells_nobody(self) -> None:
        """Neither bytes nor an end arrive, for ever."""
        pair = Pair()
        near, far = pair.connect()
        for end in pair.lossy_streams.ends:
            end.hangs = True
        pair.say(near, b"hello?", seconds=100)
        assert far.heard == b""
        assert near.reason is far.reason is None

    def test_a_dead_process_refuses(self) -> None:
        """Its machine answers in its place: the evidence for fast failover [R10]."""
        pair = Pair()
        pair.lossy_streams.lose("b")
        errors: list[Failure] = []
        pair.attempt().addErrback(errors.append)
        assert isinstance(errors[0].value, Refused)

    def test_a_dead_machine_is_silent(self) -> None:
        """Neither an answer to a dial, nor an end of what was connected."""
        pair = Pair()
        near, _ = pair.connect()
        pair.lossy_streams.vanish("b")
        pair.clocks["b"].kill()
        assert not pair.attempt().called
        pair.say(near, b"hello?", seconds=100)
        assert near.reason is None

    @pytest.mark.parametrize("cut", [("a", "b"), ("b", "a")])
    def test_a_cut_either_way_lets_nobody_connect(self, cut: tuple[str, str]) -> None:
        """A handshake needs both directions."""
        pair = Pair()
        pair.lossy_streams.cut(*cut)
        assert not pair.attempt().called
