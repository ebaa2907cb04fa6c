"""One end of a connection in memory: a transport for its protocol, and what is on its way to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

BUFFER_BYTES_MAX = 65_536
"""Beyond this a writer is asked to pause, as by Twisted's own transports."""

INSTANT_S = 1e-9
"""What is due within it is due now."""

Begin: TypeAlias = Callable[[], None]
"""The first event at one end of a connection: its protocol is made."""


class Medium(Protocol):
    """The network as one end of a connection needs it."""

    clock: IReactorTime
    latency_s: Callable[[], float]
    bytes_per_s: float | None
    writes: int
    ends: dict[Any, None]

    def clock_of(self, host: str) -> IReactorTime:
        """Return the clock of the process on ``host``."""

    def rate_of(self, host: str) -> float:
        """Return how many seconds pass by that clock in one of the network's."""

    def stall_s(self, source: str, destination: str) -> float:
        """Return for how long bytes stand still on their way, beyond the latency."""

    def passes(self, sender: str, receiver: str) -> bool:
        """Return whether the link is whole."""

    def fits(self, sender: str, receiver: str, size: int) -> bool:
        """Return whether a frame of this size gets through."""

    def is_silent(self, host: str) -> bool:
        """Return whether the machine is gone, and not its process alone."""

    def arriving(self, count: int) -> int:
        """Return how many of ``count`` bytes are read at once, at least one."""

    def surviving(self, count: int) -> int:
        """Return how many of ``count`` bytes under way still arrive when their sender dies."""

    def arrived(self, host: str, data: bytes) -> None:
        """Take note of what is about to be read on ``host``."""


@implementer(ITCPTransport)
class StreamEnd:
    """One end of a connection; it owns what is on its way to it.

    Invariant: at most one arrival is scheduled per end, so bytes keep their order.

    :param network: that the connection lies in
    :param host: where this end is
    :param remote: where the other is
    """

    disconnecting = False
    connected = True
    hangs = False
    """Whether nothing arrives here any more, and nobody is told."""

    other: StreamEnd

    def __init__(self, network: Medium, host: str, remote: str) -> None:
        self.host = host
        self.remote = remote
        self._network = network
        self._clock = network.clock_of(host)
        self._rate = network.rate_of(host)
        self._protocol: IProtocol | None = None
        self._inbox: deque[tuple[float, bytes | Failure | Begin]] = deque()
        self._inbox_bytes = 0
        self._last_due_s = 0.0
        self._scheduled = False
        self._reset_due = False
        self._producer: IPushProducer | None = None
        self._producer_paused = False
        self._reading = True

    @property
    def held_bytes(self) -> int:
        """How much of what was written here has not arrived."""
        return self.other._inbox_bytes  # noqa: SLF001  (the other half of this object)

    # -- what a protocol does with its transport

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self.connected or self.disconnecting or not data:
            return
        network = self._network
        network.writes += 1
        delay_s = network.latency_s() + network.stall_s(self.host, self.remote)
        pace_s = len(data) / network.bytes_per_s if network.bytes_per_s else 0.0
        self.other.incoming(data, delay_s, pace_s)
        if self._producer is not None and self.held_bytes > BUFFER_BYTES_MAX:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when everything is sent."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            done = Failure(ConnectionDone())
            if self.other.connected:
                self.other.incoming(done, self._network.latency_s())
            else:
                self._clock.callLater(0, self.ended, done)

    def abortConnection(self) -> None:
        """Close now, and let the other end hear of it."""
        self.die()

    def getPeer(self) -> IPv4Address:
        """Return the other host."""
        return IPv4Address("TCP", self.remote, 0)

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
        self.pump()

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

    def incoming(
        self, item: bytes | Failure | Begin, delay_s: float = 0.0, pace_s: float = 0.0
    ) -> None:
        """Let something be on its way here, behind what already is."""
        now_s = self._network.clock.seconds()
        self._last_due_s = max(self._last_due_s + pace_s, now_s + delay_s)
        self._inbox.append((self._last_due_s, item))
        if isinstance(item, bytes):
            self._inbox_bytes += len(item)
        if self.connected:
            self._schedule(self._last_due_s - now_s)
        elif not self.other._reset_due:  # noqa: SLF001  (the other half of this object)
            # Nobody is here, but a machine that lives says so.
            self.other._reset_due = True  # noqa: SLF001  (same)
            self.other._clock.callLater(2 * delay_s, self.other.reset)  # noqa: SLF001  (same)

    def begin(
        self, factory: IProtocolFactory, connected: Deferred[IProtocol] | None = None
    ) -> None:
        """Be connected: make the protocol, and tell who dialled."""
        protocol = None
        if connected is None or not connected.called:
            protocol = factory.buildProtocol(IPv4Address("TCP", self.remote, 0))
        if protocol is None:
            self.loseConnection()
            return
        self._protocol = protocol
        protocol.makeConnection(self)
        if connected is not None:
            connected.callback(protocol)

    def pump(self) -> None:
        """Try again to deliver what may have waited."""
        if self._inbox and self.connected:
            self._schedule(0.0)

    def die(self, *, told: bool = True, tells: bool = True) -> None:
        """Be gone.

        :param told: whether our own protocol hears of it
        :param tells: whether the other end hears of it, unless the link is cut
        """
        if not self.connected:
            return
        lost = Failure(ConnectionLost())
        self.other.curtail()
        if tells and self.other.connected:
            self.other.incoming(lost, self._network.latency_s())
        if told:
            self.ended(lost)
        else:
            self._over()

    def snap(self, *, told: tuple[bool, bool]) -> None:
        """Be cut off from the other end by something in between.

        :param told: whether this end hears of it, and the other one
        """
        for end, hears in zip((self, self.other), told, strict=True):
            end.curtail()
            if hears:
                end._clock.callLater(0, end.ended, Failure(ConnectionLost()))  # noqa: SLF001  (our other half)

    def curtail(self) -> None:
        """Lose the rest of what is on its way here: a frame may end in its middle."""
        left = self._network.surviving(self._inbox_bytes) if self._inbox_bytes else 0
        kept: deque[tuple[float, bytes | Failure | Begin]] = deque()
        for due_s, item in self._inbox:
            if not isinstance(item, bytes):
                kept.append((due_s, item))
            elif left:
                kept.append((due_s, item[:left]))
                left -= len(kept[-1][1])  # type: ignore[arg-type]  # it is bytes
        self._inbox = kept
        self._inbox_bytes = sum(len(item) for _, item in kept if isinstance(item, bytes))

    def reset(self) -> None:
        """Hear from the other machine that nobody is there, if it lives and can be heard."""
        self._reset_due = False
        network = self._network
        whole = network.passes(self.host, self.remote) and network.passes(self.remote, self.host)
        if whole and not self.hangs and not network.is_silent(self.remote):
            self.ended(Failure(ConnectionLost()))

    def ended(self, reason: Failure) -> None:
        """Be closed, and tell the protocol."""
        if self.connected:
            self._over()
            if self._protocol is not None:
                self._protocol.connectionLost(reason)

    def _over(self) -> None:
        self.connected = False
        self._network.ends.pop(self, None)

    def _schedule(self, delay_s: float) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(delay_s * self._rate, self._arrive)

    def _arrive(self) -> None:
        """Take whatever is due."""
        self._scheduled = False
        while self._inbox and self.connected and not self.hangs:
            due_s, item = self._inbox[0]
            now_s = self._network.clock.seconds()
            if due_s > now_s + INSTANT_S:  # a clock that is fast comes too early
                self._schedule(due_s - now_s)
                return
            if isinstance(item, bytes | Failure):
                if not self._network.passes(self.remote, self.host):
                    self._wait(item)
                    return
                if isinstance(item, bytes) and not self._fits(item):
                    return  # it is sent again and again, in vain, and all behind it waits
                if isinstance(item, Failure):
                    self._close(item)
                    return
                if not self._reading:
                    return
                self._read(now_s)
            else:
                self._inbox.popleft()
                item()

    def _fits(self, item: bytes) -> bool:
        return self._network.fits(self.remote, self.host, len(item))

    def _wait(self, item: bytes | Failure) -> None:
        """Wait for the link to heal; a reset comes only once, and is lost."""
        if isinstance(item, Failure) and isinstance(item.value, ConnectionLost):
            self._inbox.clear()

    def _close(self, reason: Failure) -> None:
        if isinstance(reason.value, ConnectionDone) and self.other.connected:
            self.other._clock.callLater(0, self.other.ended, reason)  # noqa: SLF001  (our other half)
        self.ended(reason)

    def _read(self, now_s: float) -> None:
        """Read what is due, or the first part of it."""
        pieces: list[bytes] = []
        while self._inbox and self._inbox[0][0] <= now_s + INSTANT_S:
            item = self._inbox[0][1]
            if not isinstance(item, bytes) or not self._fits(item):
                break
            pieces.append(item)
            self._inbox.popleft()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        count = self._network.arriving(len(data))
        if count < len(data):
            rest_due_s = now_s + self._network.latency_s()
            self._inbox.appendleft((rest_due_s, data[count:]))
            data = data[:count]
        self._inbox_bytes -= len(data)
        self._network.arrived(self.host, data)
        if not self._inbox_bytes:
            self.other.drained()
        if self._protocol is not None:
            self._protocol.dataReceived(data)

    def drained(self) -> None:
        """Hear that everything written has arrived."""
        if self._producer is not None and self._producer_paused:
            self._producer_paused = False
            self._clock.callLater(0, self._resume)

    def _resume(self) -> None:
        if self._producer is not None and not self._producer_paused:
            self._producer.resumeProducing()
