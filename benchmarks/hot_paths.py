"""The hot paths of a node, each as a function that does so many operations and nothing else.

Production code on one thread without sockets; what the world answers is answered at once. The
preparation is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, cycle, islice
from pathlib import Path
from random import Random
from typing import NamedTuple, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.amp import AmpBox

from raftdb import codec
from raftdb.dialects.site import make_site
from raftdb.peer.commands import deliver_box
from raftdb.peer.handshake import LocalMember
from raftdb.peer.limits import PeerLimits
from raftdb.peer.transport import PeerTransport
from raftdb.raft.config import Config
from raftdb.raft.messages import AppendEntries, Message
from raftdb.raft.node import RawNode
from raftdb.raft.ready import Ready
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import ConfState, Entry, EntryID, HardState, MemberID
from raftdb.state import ReplicatedState, encode_entry
from raftdb.state.kv.commands import Put, SetRetention
from raftdb.state.kv.values import Retention
from raftdb.storage import DataDirectory, Identity, RealFileSystem, StorageLimits, run_here

Path_ = Callable[[int], None]
"""Does so many operations."""

KEYS = 1_000
VALUE = b"v" * 100
BOX_ENTRIES = 16
HISTORY = 300
_MEMBERS = tuple(MemberID(name, 1) for name in "abc")


class HotPath(NamedTuple):
    """One path.

    :param prepare: makes it ready in an empty directory
    :param operations: of one measurement
    """

    name: str
    prepare: Callable[[Path], Path_]
    operations: int


def envelope(number: int, keys: int = 1) -> bytes:
    """Return the log entry of a write of keys, 1,000 of them in turn."""
    first = number * keys
    pairs = tuple((b"key-%08d" % ((first + n) % KEYS), VALUE) for n in range(keys))
    return encode_entry(Put(pairs), wall_ms=number)


class _Trio:
    """Three cores in memory, one of them leading; every save is durable at once."""

    def __init__(self) -> None:
        voters = ConfState(voters=_MEMBERS)
        self._logs = {member: MemoryStorage(conf_state=voters) for member in _MEMBERS}
        self._nodes = {
            member: RawNode(Config(id=member, rng=Random(1), pre_vote=False), self._logs[member])
            for member in _MEMBERS
        }
        self.leader = self._nodes[_MEMBERS[0]]
        for node in self._nodes.values():
            for _ in range(20):  # the quarantine after a start
                node.tick()
        self.leader.campaign()
        self.turn()
        while self.leader.role.value != "leader":
            self.leader.campaign()
            self.turn()

    def turn(self) -> None:
        """Exchange everything until there is rest."""
        busy = True
        while busy:
            busy = False
            for member in _MEMBERS:
                messages = self._outputs(member)
                busy = busy or bool(messages)
                for message in messages:
                    self._nodes[message.receiver].step(message)

    def _outputs(self, member: MemberID) -> Sequence[Message]:
        node, log = self._nodes[member], self._logs[member]
        messages = node.take_messages()
        while node.has_ready():
            ready = node.ready()
            if ready.entries:
                log.append(ready.entries)
            if ready.hard_state is not None:
                log.set_hard_state(ready.hard_state)
            messages = [*messages, *ready.persisted_messages]
            node.advance(ready)
        while node.has_applicable():
            node.take_applicable()
        return messages


def _core(batch: int) -> Callable[[Path], Path_]:
    def prepare(_: Path) -> Path_:
        trio, data = _Trio(), envelope(1)

        def run(times: int) -> None:
            for _ in range(times // batch):
                for _ in range(batch):
                    trio.leader.propose(data)
                trio.turn()

        return run

    return prepare


def _append() -> AppendEntries:
    entries = tuple(Entry(1, 2 + n, envelope(n)) for n in range(BOX_ENTRIES))
    return AppendEntries(_MEMBERS[1], _MEMBERS[0], 1, EntryID(1, 1), entries, 1, 1)


def _encode(_: Path) -> Path_:
    append = _append()

    def run(times: int) -> None:
        for _ in range(times // BOX_ENTRIES):
            codec.encode_messages((append,))

    return run


def _decode(_: Path) -> Path_:
    data = codec.encode_messages((_append(),))

    def run(times: int) -> None:
        for _ in range(times // BOX_ENTRIES):
            codec.decode_messages(data)

    return run


def _apply(keys: int) -> Callable[[Path], Path_]:
    """Overwrite keys in a state whose history is full, so that each put also removes something."""

    def prepare(_: Path) -> Path_:
        state, numbers = ReplicatedState(), count(1)
        envelopes = [envelope(n, keys) for n in range(KEYS // keys)]
        short = SetRetention(Retention(revisions=HISTORY))
        state.apply(next(numbers), encode_entry(short, wall_ms=0))
        for each in islice(cycle(envelopes), len(envelopes) + HISTORY):
            state.apply(next(numbers), each)

        def run(times: int) -> None:
            for _ in range(times):
                number = next(numbers)
                state.apply(number, envelopes[number % len(envelopes)])

        return run

    return prepare


class _KeyValue(NamedTuple):
    value: bytes = VALUE
    create_revision: int = 1
    mod_revision: int = 1
    version: int = 1


class _Put(NamedTuple):
    revision: int = 1


class _Stand(NamedTuple):
    applied_index: int = 1
    term: int = 1
    leader_id: str | None = "a"
    leader_contact_age_s: float | None = 0.0


class _Database:
    """Answers at once."""

    def query(self, *_: object, **__: object) -> Deferred[_KeyValue]:
        return succeed(_KeyValue())

    def look_up(self, *_: object, **__: object) -> _KeyValue:
        return _KeyValue()

    def execute(self, *_: object, **__: object) -> Deferred[_Put]:
        return succeed(_Put())

    def require_leader(self) -> None:
        pass

    def position(self) -> _Stand:
        return _Stand()


def _http(request: bytes) -> Callable[[Path], Path_]:
    def prepare(_: Path) -> Path_:
        site = make_site(
            Clock(),
            database=_Database(),  # type: ignore[arg-type]  # no more of it is asked here
            membership=None,  # type: ignore[arg-type]  # same
            status=dict,
            unready=lambda: None,
        )
        site.startFactory()
        channel, transport = site.buildProtocol(None), _Wire()
        assert channel is not None
        channel.makeConnection(transport)
        channel.dataReceived(request)
        assert transport.value().startswith(b"HTTP/1.1 200"), transport.value()

        def run(times: int) -> None:
            for _ in range(times):
                channel.dataReceived(request)
                transport.clear()

        return run

    return prepare


def _post(keys: int) -> bytes:
    pairs = ",".join(f'"key-{n:08}":"{VALUE.decode()}"' for n in range(keys))
    body = f"{{{pairs}}}".encode()
    return b"POST /key HTTP/1.1\r\nHost: a:1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


_GET = b"GET /key/key-00000001?level=stale HTTP/1.1\r\nHost: a:1\r\n\r\n"


class _Wire(StringTransport):
    """A connection that goes nowhere."""

    def setTcpNoDelay(self, _: bool) -> None:  # noqa: N802  # Twisted's name
        pass

    def abortConnection(self) -> None:  # noqa: N802  # Twisted's name
        raise AssertionError("the connection was cut")


def _receive(_: Path) -> Path_:
    """Feed the boxes of one Deliver, as they come, to a connection that has said Hello."""
    heard: list[int] = []
    transport = PeerTransport(
        Clock(),
        LocalMember(
            member=_MEMBERS[0], boot=1, cluster_id=1, raft_address="a:1", http_address="a:2"
        ),
        endpoint=lambda address: cast("IStreamClientEndpoint", (address, TCP4ClientEndpoint)),
        files=None,  # type: ignore[arg-type]  # no snapshot is sent here
        limits=PeerLimits(),
        rng=Random(1),
        check=lambda *_: None,
        deliver=lambda messages: heard.append(len(messages)),
        unreachable=lambda _: None,
        snapshot_sent=lambda *_: None,
        hello_seen=lambda *_: None,
        link_lost=lambda *_: None,
        is_removed=lambda _: False,
        told_removed=lambda: None,
    )
    transport.start()
    connection = transport.factory.buildProtocol(None)
    assert connection is not None
    connection.makeConnection(_Wire())
    connection.dataReceived(_hello().serialize())
    data = deliver_box(codec.encode_messages((_append(),))).serialize()
    connection.dataReceived(data)
    assert heard == [1], "the connection does not deliver"

    def run(times: int) -> None:
        receive = cast("IProtocol", connection).dataReceived
        for _ in range(times // BOX_ENTRIES):
            receive(data)
        heard.clear()

    return run


def _hello() -> AmpBox:
    incarnation = (1).to_bytes(16, "big")
    return AmpBox(
        {
            b"_command": b"Hello",
            b"_ask": b"1",
            b"protocol_min": b"1",
            b"protocol_max": b"1",
            b"cluster": incarnation,
            b"id": b"b",
            b"incarnation": incarnation,
            b"boot": b"77",
            b"raft_address": b"b:1",
            b"http_address": b"b:2",
            b"feature_level": b"1",
            b"kind": b"control",
            b"expected_id": b"a",
            b"expected_incarnation": incarnation,
        }
    )


def _save(batch: int) -> Callable[[Path], Path_]:
    """Append batches to a log with real files and real fsyncs; the CPU time of both counts."""

    def prepare(directory: Path) -> Path_:
        limits = StorageLimits(free_bytes_min=0)
        at = DataDirectory.open(RealFileSystem(), str(directory / f"log{batch}"))
        at.create(Identity("a", 1, 1), limits=limits)
        storage = at.recover(run=run_here, fill=run_here, crash=print, limits=limits)
        indexes, data = count(storage.log.last_index() + 1), envelope(1)

        def run(times: int) -> None:
            for _ in range(times // batch):
                entries = tuple(Entry(1, next(indexes), data) for _ in range(batch))
                storage.save(Ready(HardState(1, None, entries[0].index - 1), entries))

        return run

    return prepare


HOT_PATHS = (
    HotPath("core, propose to commit on three nodes, 1 at once", _core(1), 300),
    HotPath("core, propose to commit on three nodes, 16 at once", _core(16), 1_600),
    HotPath("core, propose to commit on three nodes, 128 at once", _core(128), 2_560),
    HotPath("codec, encode an entry (append of 16)", _encode, 3_200),
    HotPath("codec, decode an entry (append of 16)", _decode, 3_200),
    HotPath("apply a put", _apply(1), 1_000),
    HotPath("apply a put of 100 keys", _apply(100), 30),
    HotPath("HTTP, GET to answer", _http(_GET), 500),
    HotPath("HTTP, POST of one key to answer", _http(_post(1)), 500),
    HotPath("HTTP, POST of 100 keys to answer", _http(_post(100)), 50),
    HotPath("peer, receive an entry (Deliver of 16)", _receive, 1_600),
    HotPath("log, append and fsync, 1 at once", _save(1), 100),
    HotPath("log, append and fsync, 16 at once", _save(16), 800),
    HotPath("log, append and fsync, 128 at once", _save(128), 2_560),
)
