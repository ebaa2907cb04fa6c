"""Connections in memory, byte by byte: listening, dialling, bytes with latency, cuts in one direction, deaths.

Works like TCP as far as a program can tell: bytes arrive in order or not at all, a cut link holds
them until it heals, a full one asks its writer to pause, a dead host's connections are reset and
new ones refused. All waiting is on the given clock, so a run repeats exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

BUFFER_BYTES_MAX = 65_536
"""Beyond this a writer is asked to pause, as by Twisted's own transports."""


def _no_latency() -> float:
    """Take no time, but another turn of the clock."""
    return 0.0


class Wires:
    """Hosts, by name, and what lies between them.

    :param clock: for all waiting
    :param latency_s: drawn for each delivery and each step of a handshake
    :ivar attempts: to connect, so far
    :ivar writes: handed to transports, so far
    """

    def __init__(self, clock: IReactorTime, latency_s: Callable[[], float] = _no_latency) -> None:
        self.clock = clock
        self.latency_s = latency_s
        self._listening: dict[str, tuple[str, IProtocolFactory]] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._ends: dict[_End, None] = {}
        self.attempts = 0
        self.writes = 0
        self._dead: dict[str, None] = {}

    def listen(self, host: str, address: str, factory: IProtocolFactory) -> None:
        """Accept connections to ``address`` on ``host``."""
        assert address not in self._listening, f"{address} is in use"
        self._dead.pop(host, None)
        self._listening[address] = (host, factory)

    def close(self, address: str) -> None:
        """Accept no more; what is connected stays."""
        self._listening.pop(address, None)

    def endpoint(self, host: str, address: str) -> IStreamClientEndpoint:
        """Return the way from ``host`` to whoever listens at ``address``."""
        return _Endpoint(self, host, address)

    def cut(self, source: str, destination: str) -> None:
        """Let nothing pass from one host to the other; the opposite direction is untouched."""
        self._cuts[source, destination] = None

    def heal(self, source: str, destination: str) -> None:
        """Let bytes pass again, those that have waited first."""
        self._cuts.pop((source, destination), None)
        for end in list(self._ends):
            end.pump()

    def part(self, host: str, other: str) -> None:
        """Cut both ways."""
        self.cut(host, other)
        self.cut(other, host)

    def mend(self, host: str, other: str) -> None:
        """Heal both ways."""
        self.heal(host, other)
        self.heal(other, host)

    @property
    def held_bytes(self) -> int:
        """How much was written and has not arrived."""
        return sum(end.held_bytes for end in self._ends)

    def is_cut(self, source: str, destination: str) -> bool:
        """Whether nothing passes in this direction."""
        return (source, destination) in self._cuts

    def kill(self, host: str) -> None:
        """End the process on ``host``: its connections are reset, it neither listens nor dials.

        The next process there begins with :meth:`listen`.
        """
        self._dead[host] = None
        for address in [at for at, (owner, _) in self._listening.items() if owner == host]:
            del self._listening[address]
        for end in [end for end in self._ends if end.host == host]:
            end.die()

    def connections(self, host: str) -> int:
        """Count the ends on ``host``."""
        return sum(end.host == host for end in self._ends)

    def connect(
        self, host: str, address: str, factory: IProtocolFactory, connected: Deferred[IProtocol]
    ) -> None:
        """Take one attempt further: arrived at the other side, or lost on the way."""
        if connected.called:
            return
        owner, accepting = self._listening.get(address, (address, None))
        if host in self._dead or self.is_cut(host, owner) or self.is_cut(owner, host):
            return
        if accepting is None:
            connected.errback(Refused())
            return
        accepted = accepting.buildProtocol(IPv4Address("TCP", host, 0))
        dialled = factory.buildProtocol(IPv4Address("TCP", owner, 0))
        assert dialled is not None
        near, far = _End(self, host, owner, dialled), _End(self, owner, host, accepted)
        near.other, far.other = far, near
        self._ends[near] = self._ends[far] = None
        if accepted is None:
            far.loseConnection()
        else:
            accepted.makeConnection(far)
        dialled.makeConnection(near)
        connected.callback(dialled)

    def forget(self, end: _End) -> None:
        """Count a closed end out."""
        self._ends.pop(end, None)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """One way through the network."""

    def __init__(self, network: Wires, host: str, address: str) -> None:
        self._network = network
        self._host = host
        self._address = address

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Dial; a cut link keeps silent until somebody gives up."""
        connected: Deferred[IProtocol] = Deferred()
        self._network.attempts += 1
        network = self._network
        network.clock.callLater(
            network.latency_s(),
            network.connect,
            self._host,
            self._address,
            protocolFactory,
            connected,
        )
        return connected


@implementer(ITCPTransport)
class _End:
    """One end of a connection; it owns the bytes on their way to the other end.

    Invariant: at most one delivery is scheduled per direction, so bytes keep their order.
    """

    disconnecting = False
    connected = True

    def __init__(self, network: Wires, host: str, remote: str, protocol: IProtocol | None) -> None:
        self.host = host
        self.other: _End | None = None
        self._network = network
        self._remote = remote
        self._protocol = protocol
        self._sent: deque[bytes] = deque()
        self._sent_bytes = 0
        self._scheduled = False
        self._producer: IPushProducer | None = None
        self._producer_paused = False
        self._reading = True

    @property
    def held_bytes(self) -> int:
        """How much of what was written here has not arrived."""
        return self._sent_bytes

    # -- what a protocol does with its transport

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self.connected or self.disconnecting or not data:
            return
        self._network.writes += 1
        self._sent.append(data)
        self._sent_bytes += len(data)
        if self._producer is not None and self._sent_bytes > BUFFER_BYTES_MAX:
            self._producer_paused = True
            self._producer.pauseProducing()
        self._schedule()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when everything is sent."""
        self.disconnecting = True
        self._schedule()

    def abortConnection(self) -> None:
        """Close now, and let the other end hear of it."""
        self.die()

    def getPeer(self) -> IPv4Address:
        """Return the other host."""
        return IPv4Address("TCP", self._remote, 0)

    def getHost(self) -> IPv4Address:
        """Return this host."""
        return IPv4Address("TCP", self.host, 0)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell ``producer`` when to pause."""
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Tell it no more."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Read no more."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        self._reading = True
        if self.other is not None:
            self.other.pump()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """Close, as half-closed connections do not exist here."""
        self.loseConnection()

    def getTcpNoDelay(self) -> bool:
        """Say that small pieces leave at once."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Take note of nothing."""

    def getTcpKeepAlive(self) -> bool:
        """Say that nobody probes."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Take note of nothing."""

    # -- what the network does

    def pump(self) -> None:
        """Try again to deliver what may have waited."""
        if self._sent or self.disconnecting:
            self._schedule()

    def die(self) -> None:
        """Be gone; the other end hears of it unless the link is cut."""
        if self.connected:
            self._ended(Failure(ConnectionLost()))
            self._network.clock.callLater(self._network.latency_s(), self._reset)

    def _schedule(self) -> None:
        if not self._scheduled and self.connected:
            self._scheduled = True
            self._network.clock.callLater(self._network.latency_s(), self._arrive)

    def _arrive(self) -> None:
        """Deliver one piece, or the end."""
        self._scheduled = False
        other = self.other
        assert other is not None
        if not self.connected or self._network.is_cut(self.host, other.host):
            return
        if self._sent and other._reading:  # noqa: SLF001  (the other half of this object)
            piece = self._sent.popleft()
            self._sent_bytes -= len(piece)
            other._heard(piece)  # noqa: SLF001  (same)
            if not self._sent and self._producer is not None and self._producer_paused:
                self._producer_paused = False
                self._producer.resumeProducing()
        elif not self._sent and self.disconnecting:
            self._ended(Failure(ConnectionDone()))
            other._ended(Failure(ConnectionDone()))  # noqa: SLF001  (same)
            return
        if (self._sent and other._reading) or (self.disconnecting and not self._sent):  # noqa: SLF001  (same)
            self._schedule()

    def _heard(self, piece: bytes) -> None:
        if self.connected and self._protocol is not None:
            self._protocol.dataReceived(piece)

    def _reset(self) -> None:
        other = self.other
        assert other is not None
        if not self._network.is_cut(self.host, other.host):
            other._ended(Failure(ConnectionLost()))  # noqa: SLF001  (the other half of this object)

    def _ended(self, reason: Failure) -> None:
        if self.connected:
            self.connected = False
            self._network.forget(self)
            if self._protocol is not None:
                self._protocol.connectionLost(reason)
