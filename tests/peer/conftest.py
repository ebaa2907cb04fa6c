"""A few transports on a simulated network, and everything they tell the layers above."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.protocols.amp import AmpBox, parseString
from twisted.python.failure import Failure
from zope.interface import implementer

from raftdb.errors import Compacted
from raftdb.node.peer_setup import check_names
from raftdb.peer.handshake import HelloFacts, HelloRefused, Kind, LocalMember, Refusal
from raftdb.peer.limits import PeerLimits
from raftdb.peer.protocol import PeerConnection
from raftdb.peer.transport import PeerTransport
from raftdb.raft.messages import AppendEntries, Heartbeat, InstallSnapshot, Message
from raftdb.raft.types import Entry, EntryID, MemberID, SnapshotMetadata
from raftdb.simulation.network.streams import Streams

CLUSTER = 0xC1
STEP_S = 0.001


class MemoryFile:
    """A snapshot being read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.is_closed = False
        self.reads = 0

    @property
    def size(self) -> int:
        return len(self.content)

    def read_at(self, offset: int, count: int) -> Deferred[bytes]:
        self.reads += 1
        return succeed(self.content[offset : offset + count])

    def close(self) -> None:
        self.is_closed = True


class MemoryReceiver:
    """A snapshot being written; each step waits while the files are held."""

    def __init__(self, files: MemoryFiles, metadata: SnapshotMetadata) -> None:
        self._files = files
        self._metadata = metadata
        self.content = b""
        self.in_order = True
        self.outcome = ""

    def write(self, offset: int, content: bytes, /) -> Deferred[None]:
        self.in_order = self.in_order and offset == len(self.content)
        self.content += content
        return self._files.step()

    def commit(self) -> Deferred[None]:
        def done(_: None) -> None:
            self.outcome = "committed"
            self._files.contents[self._metadata.last] = self.content

        return self._files.step().addCallback(done)

    def abort(self) -> Deferred[None]:
        self.outcome = "aborted"
        return succeed(None)


class MemoryFiles:
    """The snapshot files of one node."""

    def __init__(self) -> None:
        self.contents: dict[EntryID, bytes] = {}
        self.opened: list[MemoryFile] = []
        self.receivers: list[MemoryReceiver] = []
        self.error: Exception | None = None
        self.held: list[Deferred[None]] | None = None

    def open_snapshot_file(self, last: EntryID) -> Deferred[MemoryFile]:
        if last not in self.contents:
            return fail(Compacted(f"no snapshot at {last}"))
        self.opened.append(MemoryFile(self.contents[last]))
        return succeed(self.opened[-1])

    def receive_snapshot(self, metadata: SnapshotMetadata, size: int) -> MemoryReceiver:
        del size
        self.receivers.append(MemoryReceiver(self, metadata))
        return self.receivers[-1]

    def step(self) -> Deferred[None]:
        if self.error is not None:
            return fail(self.error)
        if self.held is None:
            return succeed(None)
        self.held.append(Deferred())
        return self.held[-1]

    def release_one(self) -> None:
        """Let the oldest step end; the next ones wait again."""
        assert self.held
        self.held.pop(0).callback(None)

    def release(self) -> None:
        held, self.held = self.held or [], None
        for waiting in held:
            waiting.callback(None)


class Station:
    """One transport and what it said."""

    def __init__(self, town: Town, local: LocalMember) -> None:
        self.host = local.member.id
        self.local = local
        self.member = local.member
        self.files = MemoryFiles()
        self.delivered: list[Message] = []
        self.unreachable: list[MemberID] = []
        self.snapshots_sent: list[tuple[MemberID, bool]] = []
        self.hellos: list[tuple[HelloFacts, Refusal | None]] = []
        self.links_lost: list[tuple[MemberID, bool]] = []
        self.removed: set[MemberID] = set()
        self.told_removed = 0
        self.hangs_up = False
        self.on_delivered: Callable[[], None] = lambda: None
        self.transport = PeerTransport(
            town.clock,
            local,
            endpoint=lambda address: town.wires.endpoint(self.host, address),
            files=self.files,
            limits=town.limits,
            rng=Random(self.host),
            check=self._check,
            deliver=self._delivered,
            unreachable=self.unreachable.append,
            snapshot_sent=lambda member, ok: self.snapshots_sent.append((member, ok)),
            hello_seen=self._hello_seen,
            link_lost=lambda member, refused: self.links_lost.append((member, refused)),
            is_removed=lambda member: member in self.removed,
            told_removed=self._told_removed,
        )

    def refusals(self) -> list[Refusal]:
        return [refusal for _, refusal in self.hellos if refusal is not None]

    def pause(self, kind: Kind) -> None:
        """Read nothing any more from connections of this kind."""
        for connection in self._connections(kind):
            connection.pauseProducing()

    def resume(self, kind: Kind) -> None:
        for connection in self._connections(kind):
            connection.resumeProducing()

    def waiting_bytes(self, member: MemberID) -> int:
        outboxes = [each._outbox for each in self.transport._registry.of(member)]
        return sum(outbox.waiting_bytes for outbox in outboxes if outbox is not None)

    def _connections(self, kind: Kind) -> list[PeerConnection]:
        registry = self.transport._registry
        everybody = [each for member in registry.members() for each in registry.of(member)]
        return [each for each in everybody if each.facts.kind is kind]

    def _delivered(self, messages: Sequence[Message]) -> None:
        self.delivered.extend(messages)
        self.on_delivered()

    def _hello_seen(self, facts: HelloFacts, refusal: Refusal | None) -> None:
        self.hellos.append((facts, refusal))
        if self.hangs_up:
            for kind in Kind:
                for connection in self._connections(kind):
                    connection._clock.callLater(0.002, connection.abort)

    def _check(self, facts: HelloFacts, certificate: object | None) -> None:
        check_names(facts)
        if certificate is not None and certificate != facts.raft_address:
            raise HelloRefused(Refusal.WRONG_CERTIFICATE, "for another host")

    def _told_removed(self) -> None:
        self.told_removed += 1


class Town:
    """Stations, the wires between them, and the clock they live by."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wires = Streams(self.clock)
        self.limits = PeerLimits()
        self.stations: dict[str, Station] = {}
        self._boots = 0

    def build(
        self, name: str, *, incarnation: int = 1, cluster: int | None = CLUSTER, at: str = ""
    ) -> Station:
        """Start a process on host ``name`` that listens at ``at``, dialling nobody yet."""
        self._boots += 1
        address = at or f"{name}:1"
        local = LocalMember(
            member=MemberID(name, incarnation),
            boot=self._boots,
            cluster_id=cluster,
            raft_address=address,
            http_address=f"{name}:80",
        )
        station = Station(self, local)
        self.stations[name] = station
        self.wires.listen(name, address, station.transport.factory)
        station.transport.start()
        return station

    def meet(self, *names: str) -> list[Station]:
        """Build stations that all dial each other, and wait until they are connected."""
        stations = [self.build(name) for name in names]
        self.introduce(*stations)
        self.run(0.05)
        return stations

    def introduce(self, *stations: Station) -> None:
        everybody = {each.member: each.local.raft_address for each in stations}
        for station in stations:
            station.transport.update_peers(everybody)

    def run(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / STEP_S)):
            self.clock.advance(STEP_S)

    @staticmethod
    def heartbeat(sender: Station, receiver: Station, number: int = 1) -> Heartbeat:
        return Heartbeat(sender.member, receiver.member, 1, 0, 0, number)

    @staticmethod
    def append(sender: Station, receiver: Station, data: bytes) -> AppendEntries:
        return AppendEntries(
            sender.member, receiver.member, 1, EntryID(0, 0), (Entry(1, 1, data),), 0, 0
        )

    @staticmethod
    def install(
        sender: Station, receiver: Station, index: int = 9, term: int = 1
    ) -> InstallSnapshot:
        return InstallSnapshot(
            sender.member, receiver.member, term, SnapshotMetadata(EntryID(1, index))
        )


class Caller:
    """Somebody who speaks raw bytes to a station and remembers what came back.

    :param host: where the call comes from
    """

    def __init__(self, town: Town, to: str, host: str = "elsewhere") -> None:
        self.town = town
        self.protocol = RawProtocol()
        factory = Factory.forProtocol(lambda: self.protocol)
        town.wires.endpoint(host, f"{to}:1").connect(factory)
        town.run(0.01)

    def say(self, data: bytes) -> None:
        if self.protocol.transport is not None:
            self.protocol.transport.write(data)
        self.town.run(0.01)

    def ask(self, command: bytes, **arguments: bytes) -> list[AmpBox]:
        """Send a box that wants an answer, and return all boxes that came back."""
        box = AmpBox({b"_command": command, b"_ask": b"1"})
        box.update({name.encode(): value for name, value in arguments.items()})
        self.say(box.serialize())
        return self.answers()

    def hello(self, **changed: bytes) -> dict[bytes, bytes]:
        """Say Hello as member x of the cluster, with some arguments changed; return the answer."""
        arguments = {
            "protocol_min": b"1",
            "protocol_max": b"1",
            "cluster": CLUSTER.to_bytes(16, "big"),
            "id": b"x",
            "incarnation": bytes(15) + b"\x01",
            "boot": b"77",
            "raft_address": b"x:1",
            "http_address": b"x:80",
            "feature_level": b"1",
            "kind": b"control",
            "expected_id": b"a",
            "expected_incarnation": bytes(15) + b"\x01",
        }
        answers = self.ask(b"Hello", **(arguments | changed))
        return dict(answers[-1]) if answers else {}

    def stop_reading(self) -> None:
        transport: Any = self.protocol.transport
        transport.pauseProducing()

    def answers(self) -> list[AmpBox]:
        boxes: list[AmpBox] = parseString(self.protocol.heard)
        return boxes

    @property
    def is_cut(self) -> bool:
        return self.protocol.reason is not None


class RawProtocol(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


@pytest.fixture
def town() -> Town:
    return Town()


@pytest.fixture
def call(town: Town) -> Callable[..., Caller]:
    """Dial a station with raw bytes: ``call("a")``, ``call("a", host="mars")``."""
    return partial(Caller, town)


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """Collect what raftdb logs at warning level and above."""
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
