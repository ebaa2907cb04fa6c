"""A site over an honest in-memory twin of the database, and requests to it without sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import pytest
import treq
from treq.testing import RequestTraversalAgent, _SynchronousProducer
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import alsoProvides, implementer

from raftdb.database import Database, Level
from raftdb.dialects.site import make_site
from raftdb.errors import NoLeader, NotLeader
from raftdb.http.limits import Limits
from raftdb.http.site import LimitedSite
from raftdb.membership import JoinAnswer, JoinRequest, KnownMember, Membership
from raftdb.state.kv.commands import Delete, Put
from raftdb.state.kv.reads import Get, Read
from raftdb.state.kv.store import KeyValueStore
from raftdb.state.part import Context

T = TypeVar("T")
LEADER_HTTP = "leader.example:8091"


class MemoryPosition(NamedTuple):
    """Where the node stands."""

    applied_index: int
    term: int
    leader_id: str | None
    leader_contact_age_s: float | None


class TurnClock(Clock):
    """A clock with turns: what is called later is never called in the turn that asked for it."""

    TURN_S = 2.0**-10

    def callLater(self, delay: float, *args: Any, **kwargs: Any) -> IDelayedCall:  # noqa: N802  # Twisted's name
        """Call in a later turn."""
        return super().callLater(max(delay, self.TURN_S), *args, **kwargs)

    def turn(self) -> None:
        """Let one turn pass."""
        self.advance(self.TURN_S)

    def work(self, seconds: float) -> None:
        """Let time pass as it does while code runs: without a turn."""
        self.rightNow += seconds


@dataclass
class MemoryDatabase:
    """Keys and values of one node that leads, follows, or knows no leader.

    ``waits`` makes every operation wait until it is released or cancelled; what was proposed by
    then happens all the same, as with the real one.
    """

    role: str = "leader"
    leader_http: str = LEADER_HTTP
    waits: bool = False
    failure: Exception | None = None
    store: KeyValueStore = field(default_factory=KeyValueStore)
    applied: int = 0
    entries: list[tuple[str, tuple[bytes, ...]]] = field(default_factory=list)
    reads: list[tuple[bytes, Level, bool]] = field(default_factory=list)
    waiting: list[Deferred[None]] = field(default_factory=list)
    cancelled: int = 0

    def require_leader(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.role == "follower":
            raise NotLeader("node01", self.leader_http)
        if self.role != "leader":
            raise NoLeader

    def position(self) -> MemoryPosition:
        leader = {"leader": "node02", "follower": "node01"}.get(self.role)
        return MemoryPosition(self.applied, 7, leader, None if leader is None else 0.0125)

    @property
    def pairs(self) -> dict[bytes, bytes]:
        """What stands now."""
        return {kv.key: kv.value for kv in self.store.range(b"", limit=10_000).pairs}

    def query(
        self, read: Read[T], level: Level, *, leader_only: bool = False, timeout_s: float
    ) -> Deferred[T]:
        assert timeout_s > 0
        self.reads.append((cast("Get", read).key, level, leader_only))

        def work() -> T:
            if level is not Level.STALE and self.role == "none":
                raise NoLeader
            if leader_only:
                self.require_leader()
            if self.failure is not None:
                raise self.failure
            return read.answer(self.store)

        return self._answer(work)

    def look_up(
        self, read: Read[T], level: Level, *, leader_only: bool, timeout_s: float
    ) -> T | Deferred[T]:
        found = self.query(read, level, leader_only=leader_only, timeout_s=timeout_s)
        if self.waits:
            return found
        outcome: list[T | Failure] = []
        found.addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        assert not isinstance(outcome[0], Failure)
        return outcome[0]

    def execute(self, command: Put | Delete, *, timeout_s: float) -> Deferred[object]:
        assert timeout_s > 0

        def work() -> object:
            self.require_leader()
            match command:
                case Put(pairs=pairs):
                    self.entries.append(("put", tuple(key for key, _ in pairs)))
                case Delete(keys=keys):
                    self.entries.append(("delete", keys))
            self.applied += 1
            return self.store.apply(Context(self.applied, 0), command)[0]

        return self._answer(work)

    def release(self) -> None:
        """Let everything that waits happen."""
        waiting, self.waiting = self.waiting, []
        for gate in waiting:
            gate.callback(None)

    def _answer(self, work: Callable[[], T]) -> Deferred[T]:
        if not self.waits:
            return execute(work)

        def cancelled(_: Deferred[None]) -> None:
            # A client that hangs up cancels its waiter, never its write.
            self.cancelled += 1
            work()

        gate: Deferred[None] = Deferred(cancelled)
        self.waiting.append(gate)
        return gate.addCallback(lambda _: work())


@dataclass
class MemoryMembership:
    """Remembers what it was asked to change."""

    database: MemoryDatabase
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def _change(self, *what: object) -> None:
        self.database.require_leader()
        self.asked.append(what)

    def add(self, request: JoinRequest) -> Deferred[JoinAnswer]:
        def work() -> JoinAnswer:
            self._change("add", request)
            known = KnownMember(request.member, request.raft_address, request.http_address)
            return JoinAnswer(0xC1, (known,))

        return execute(work)

    def invite(self, member_id: str, raft_address: str, http_address: str) -> Deferred[None]:
        return execute(self._change, "invite", member_id, raft_address, http_address)

    def remove(self, member_id: str) -> Deferred[None]:
        return execute(self._change, "remove", member_id)

    def transfer(self, to: str) -> Deferred[None]:
        return execute(self._change, "transfer", to)

    def members(self) -> object:
        return [{"id": "node01"}]


class Reply(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: Headers
    body: bytes
    length: int

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        assert values is None or len(values) == 1, f"{name} is there {values}"
        return None if values is None else values[0]

    @property
    def code(self) -> str | None:
        """The stable name of an error, the same in the body and in the header."""
        name = self.header("Raftdb-Error")
        if self.header("Content-Type") == "application/json" and name is not None:
            error = json.loads(self.body)["error"]
            assert error["code"] == name
            assert error["message"]
        return name


class WireTransport(StringTransport):
    """A connection that remembers how it was ended, and tells the protocol."""

    aborted = False
    half_closed = False

    def loseWriteConnection(self) -> None:  # noqa: N802  # Twisted's name
        self.half_closed = True

    def readConnectionLost(self, reason: Failure) -> None:  # noqa: N802  # Twisted's name
        raise NotImplementedError

    def writeConnectionLost(self, reason: Failure) -> None:  # noqa: N802  # Twisted's name
        raise NotImplementedError

    def abortConnection(self) -> None:  # noqa: N802  # Twisted's name
        self.aborted = True


class Wire:
    """One connection to a site, byte by byte."""

    def __init__(self, site: LimitedSite) -> None:
        channel = site.buildProtocol(None)
        assert channel is not None
        self.channel = channel
        self.transport = WireTransport()
        alsoProvides(self.transport, IHalfCloseableDescriptor)
        channel.makeConnection(self.transport)

    @property
    def received(self) -> bytes:
        """Everything the site has sent."""
        value: bytes = self.transport.value()
        return value

    @property
    def statuses(self) -> list[int]:
        """The statuses of all answers so far."""
        return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", self.received)]

    @property
    def closing(self) -> bool:
        """Whether the site has ended the connection from its side."""
        transport = self.transport
        return transport.half_closed or transport.disconnecting or transport.aborted

    def send(self, data: bytes) -> None:
        """Send bytes, as far as the site still listens."""
        if not self.transport.aborted:
            self.channel.dataReceived(data)

    def lose(self) -> None:
        """End the connection from the client's side."""
        self.channel.connectionLost(Failure(ConnectionLost()))


class Served:
    """One node's site, and a client of it that knows no sockets.

    Requests go through the real site, channel and request: limits and all.
    """

    def __init__(
        self, limits: Limits | None = None, *, fast: bool = True, serve_reads: bool = False
    ) -> None:
        self.clock = TurnClock()
        self.database = MemoryDatabase()
        self.membership = MemoryMembership(self.database)
        self.unready: str | None = None
        self.site: LimitedSite = make_site(
            self.clock,
            database=cast("Database", self.database),
            membership=cast("Membership", self.membership),
            status=lambda: {"id": "node02", "role": self.database.role},
            unready=lambda: self.unready,
            limits=limits,
            fast=fast,
            serve_reads=serve_reads,
        )
        self.site.startFactory()
        self.agent = RequestTraversalAgent(self.site.resource)
        self.agent._serverFactory = self.site

    @staticmethod
    def now(deferred: Deferred[T]) -> T:
        """Return what a Deferred has fired with."""
        return now(deferred)

    def wire(self, site: LimitedSite | None = None) -> Wire:
        """Open a connection, to another site if one is given."""
        return Wire(site or self.site)

    def start(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        headers: dict[str, list[str]] | None = None,
        scheme: str = "http",
    ) -> Deferred[Reply]:
        """Send a request; the target reaches the site byte for byte."""
        if isinstance(target, str):
            target = target.encode("ascii")
        url = scheme.encode() + b"://127.0.0.1:8091" + target
        producer = None if body is None else _SynchronousProducer(body)
        answer: Deferred[IResponse] = self.agent.request(
            method.encode(), url, Headers(headers or {}), producer
        )
        self.agent.flush()

        def read(response: IResponse) -> Deferred[Reply]:
            whole = treq.content(response)
            self.agent.flush()
            return whole.addCallback(
                lambda all_: Reply(response.code, response.headers, all_, response.length)
            )

        return answer.addCallback(read)

    def ask(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        headers: dict[str, list[str]] | None = None,
        scheme: str = "http",
    ) -> Reply:
        """Send a request that is answered at once."""
        return now(self.start(method, target, body, headers, scheme))


def now(deferred: Deferred[T]) -> T:
    """Return what a Deferred has fired with."""
    results: list[T | Failure] = []
    deferred.addBoth(results.append)
    assert results, "nothing has come yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


@pytest.fixture(params=[True, False], ids=["fast", "stock"])
def fast(request: pytest.FixtureRequest) -> bool:
    """Whether plain requests go past twisted.web's parser: nobody may see a difference."""
    return bool(request.param)


@pytest.fixture
def served(fast: bool) -> Served:
    """A site with the limits it has by default."""
    return Served(fast=fast)


@pytest.fixture
def clock() -> TurnClock:
    """A clock with turns."""
    return TurnClock()


@pytest.fixture
def serve(fast: bool) -> Callable[[Limits], Served]:
    """Make a site with other limits."""
    return partial(Served, fast=fast)


@pytest.fixture
def serve_either() -> type[Served]:
    """Make a site with or without a fast lane, for tests that draw which."""
    return Served


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """What was logged as an error; a test that expects some takes them away."""
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] in {LogLevel.error, LogLevel.critical} or "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def no_errors_logged(logged: list[LogEvent]) -> Iterator[None]:
    """No request of any test leaves a traceback in the log."""
    yield
    assert logged == []
