"""A network between simulated nodes: delay, loss, repetition, reordering, one-way cuts.

What is sent crosses as bytes of the production codec, so that nothing is shared between nodes. A
snapshot crosses like the production transport's: the file first, then the message that names it,
and its sender is told how it went.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004  # Twisted's name
from twisted.python.failure import Failure

from raftdb.codec import decode_message, encode_message
from raftdb.raft.messages import InstallSnapshot, Message
from raftdb.raft.types import MemberID, SnapshotMetadata
from raftdb.simulation.clock import SimulationClock
from raftdb.simulation.network.links import STRAGGLE_S, Links

SNAPSHOT_PATIENCE_S = 2.0
"""After which a snapshot under way is given up."""


@dataclass(frozen=True, slots=True)
class Station:
    """Where a running node is connected.

    :param deliver: takes a message, in a reactor call of the receiving node
    :param receive_snapshot: fetches a snapshot file from a member, says whether that went well
    :param report_snapshot: is told how sending to a member ended
    :param report_unreachable: is told of a member that cannot be reached
    """

    deliver: Callable[[Message], None]
    receive_snapshot: Callable[[MemberID, SnapshotMetadata], Deferred[bool]]
    report_snapshot: Callable[[MemberID, bool], None]
    report_unreachable: Callable[[MemberID], None]


class Datagrams(Links):
    """Carries messages between the nodes that are connected at the moment.

    :param clock: of the simulation
    :param rng: draws every delay and loss
    """

    def __init__(self, clock: SimulationClock, rng: Random) -> None:
        super().__init__()
        self._clock = clock
        self._rng = rng
        self._stations: dict[MemberID, Station] = {}
        self.delivered = 0
        """How many messages have arrived."""

    def connect(self, member: MemberID, station: Station) -> Wire:
        """Let ``member`` take part; returns what it sends through."""
        self._stations[member] = station
        self.know(member.id)
        return Wire(self)

    def disconnect(self, member: MemberID) -> None:
        """Lose whatever is under way to ``member``."""
        self._stations.pop(member, None)

    def send(self, messages: Sequence[Message]) -> None:
        """Carry messages, each on its own way."""
        weather = self.weather
        for message in messages:
            sender = self._stations.get(message.sender)
            if isinstance(message, InstallSnapshot):
                self._clock.callLater(weather.snapshot_s, self._arrive_snapshot, message)
                continue
            if message.receiver not in self._stations and sender is not None:
                sender.report_unreachable(message.receiver)
                continue
            copies = 2 if self._rng.random() < weather.repetition else 1
            for _ in range(copies):
                if self._rng.random() >= weather.loss:
                    delay_s = self._rng.uniform(weather.delay_min_s, weather.delay_max_s)
                    if weather.stragglers and self._rng.random() < weather.stragglers:
                        delay_s = self._rng.uniform(0.0, STRAGGLE_S)
                    frame = encode_message(message)
                    self._clock.callLater(delay_s, self._arrive, frame, message.receiver)

    def _arrive(self, frame: bytes, receiver: MemberID) -> None:
        message = decode_message(frame)
        station = self._stations.get(receiver)
        sender = message.sender.id
        if station is None or not self.passes(sender, receiver.id):
            return
        if not self.fits(sender, receiver.id, len(frame)):
            return
        self.record(self._clock.seconds(), frame)
        self.delivered += 1
        self.watch(message)
        station.deliver(message)

    def _arrive_snapshot(self, message: InstallSnapshot) -> None:
        station = self._stations.get(message.receiver)
        if (
            station is None
            or message.sender not in self._stations
            or not self.passes(message.sender.id, message.receiver.id)
            or self._rng.random() < self.weather.loss
        ):
            self._report_snapshot(message, ok=False)
            return
        received = station.receive_snapshot(message.sender, message.snapshot)
        # One of the two may die meanwhile, and then nobody answers any more.
        received.addTimeout(SNAPSHOT_PATIENCE_S, self._clock)
        received.addCallbacks(self._received_snapshot, self._gave_up, (message,), {}, (message,))

    def _received_snapshot(self, ok: bool, message: InstallSnapshot) -> None:
        if ok:
            self._arrive(encode_message(message), message.receiver)
        self._report_snapshot(message, ok=ok)

    def _gave_up(self, failure: Failure, message: InstallSnapshot) -> None:
        assert isinstance(failure.value, TimeoutError), failure
        self._report_snapshot(message, ok=False)

    def _report_snapshot(self, message: InstallSnapshot, *, ok: bool) -> None:
        sender = self._stations.get(message.sender)
        if sender is not None:
            sender.report_snapshot(message.receiver, ok)


@dataclass(frozen=True, slots=True)
class Wire:
    """One node's end of the network; a Transport of :mod:`raftdb.replica.seams`."""

    datagrams: Datagrams

    def send(self, messages: Sequence[Message]) -> None:
        """Hand over the messages of one turn."""
        self.datagrams.send(messages)
