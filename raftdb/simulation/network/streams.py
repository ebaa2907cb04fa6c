"""Connections in memory, byte by byte: listening, dialling, bytes with latency, cuts in one direction, deaths.

Works like TCP as far as a program can tell: bytes arrive in order or not at all, a cut link holds
them until it heals, a full one asks its writer to pause. A dead process's connections are reset and
new ones refused; a dead machine is silent. All waiting is on the given clocks, so a run repeats
exactly.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from raftdb.simulation.network.endpoint import StreamEnd
from raftdb.simulation.network.links import Links


def _no_latency() -> float:
    """Take no time, but another turn of the clock."""
    return 0.0


class Streams(Links):
    """Hosts, by name, and what lies between them.

    :param clock: for what belongs to no host
    :param latency_s: drawn for each piece of bytes and each step of a handshake
    :ivar attempts: to connect, so far
    :ivar writes: handed to transports, so far
    """

    def __init__(self, clock: IReactorTime, latency_s: Callable[[], float] = _no_latency) -> None:
        super().__init__()
        self.clock = clock
        self.latency_s = latency_s
        self._listening: dict[str, tuple[str, IProtocolFactory]] = {}
        self.ends: dict[StreamEnd, None] = {}
        self.attempts = 0
        self.writes = 0
        self.bytes_per_s: float | None = None
        """What a connection takes in one direction, None for no bound."""
        self._dead: dict[str, bool] = {}
        """Hosts without a process, and whether the machine is gone with it."""

    # -- what a world with more chance in it may change

    def clock_of(self, host: str) -> IReactorTime:
        """Return the clock of the process on ``host``: it is told nothing but by this."""
        del host
        return self.clock

    def rate_of(self, host: str) -> float:
        """Return how many seconds pass by the clock of ``host`` in one of the network's."""
        del host
        return 1.0

    def arriving(self, count: int) -> int:
        """Say how many of ``count`` bytes are read at once, at least one."""
        return count

    def surviving(self, count: int) -> int:
        """Say how many of ``count`` bytes under way still arrive when their sender dies."""
        del count
        return 0

    def stall_s(self, source: str, destination: str) -> float:
        """Return how long what is written now waits, besides its latency."""
        del source, destination
        return 0.0

    def arrived(self, host: str, data: bytes) -> None:
        """Take note of what is about to be read on ``host``."""

    # -- hosts

    def listen(self, host: str, address: str, factory: IProtocolFactory) -> None:
        """Accept connections to ``address`` on ``host``."""
        assert address not in self._listening, f"{address} is in use"
        self._dead.pop(host, None)
        self.know(host)
        self._listening[address] = (host, factory)

    def close(self, address: str) -> None:
        """Accept no more; what is connected stays."""
        self._listening.pop(address, None)

    def endpoint(self, host: str, address: str) -> IStreamClientEndpoint:
        """Return the way from ``host`` to whoever listens at ``address``."""
        return _Endpoint(self, host, address)

    def kill(self, host: str, *, told: bool = True) -> None:
        """End the process on ``host``: its connections are reset, it neither listens nor dials.

        The next process there begins with :meth:`listen`.

        :param told: whether the dead process's own protocols hear of it, for those who look at them
        """
        self._end(host, machine=False)
        for end in [end for end in self.ends if end.host == host]:
            end.die(told=told)

    def vanish(self, host: str) -> None:
        """End the machine: nobody hears anything of it, and what is sent to it is lost."""
        self._end(host, machine=True)
        for end in [end for end in self.ends if end.host == host]:
            end.die(told=False, tells=False)

    def _end(self, host: str, *, machine: bool) -> None:
        self._dead[host] = machine
        for address in [at for at, (owner, _) in self._listening.items() if owner == host]:
            del self._listening[address]

    def is_silent(self, host: str) -> bool:
        """Whether the machine is gone: nothing answers, not even to refuse."""
        return self._dead.get(host, False)

    # -- links

    def restore(self, sender: str, receiver: str) -> None:
        """Let bytes pass again, those that have waited first."""
        super().restore(sender, receiver)
        self._pump()

    def mend(self) -> None:
        """Take away all cuts, and let frames of every size pass."""
        super().mend()
        self._pump()

    def part(self, host: str, other: str) -> None:
        """Cut both ways."""
        self.cut(host, other)
        self.cut(other, host)

    def rejoin(self, host: str, other: str) -> None:
        """Restore both ways."""
        self.restore(host, other)
        self.restore(other, host)

    def _pump(self) -> None:
        for end in list(self.ends):
            end.pump()

    # -- connections

    @property
    def held_bytes(self) -> int:
        """How much was written and has not arrived."""
        return sum(end.held_bytes for end in self.ends)

    def connections(self, host: str) -> int:
        """Count the ends on ``host``."""
        return sum(end.host == host for end in self.ends)

    def dial(
        self,
        host: str,
        clock: IReactorTime,
        address: str,
        factory: IProtocolFactory,
        connected: Deferred[IProtocol],
    ) -> None:
        """Take one attempt further: arrived at the other side, or lost on the way.

        :param clock: of the process that dialled; another one may run there by now
        """
        owner, accepting = self._listening.get(address, (address.partition(".")[0], None))
        lost = host in self._dead or self.is_silent(owner) or self.clock_of(host) is not clock
        if connected.called or lost or not self.passes(host, owner):
            return
        if not self.passes(owner, host):
            return
        if accepting is None:
            clock.callLater(self.latency_s(), _refuse, connected)
            return
        near, far = StreamEnd(self, host, owner), StreamEnd(self, owner, host)
        near.other, far.other = far, near
        self.ends[near] = self.ends[far] = None
        far.incoming(lambda: far.begin(accepting))
        near.incoming(lambda: near.begin(factory, connected), self.latency_s())


def _refuse(connected: Deferred[IProtocol]) -> None:
    if not connected.called:
        connected.errback(Refused())


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """One way through the network."""

    def __init__(self, network: Streams, host: str, address: str) -> None:
        self._network = network
        self._host = host
        self._address = address

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Dial; a cut link keeps silent until somebody gives up."""
        connected: Deferred[IProtocol] = Deferred()
        network = self._network
        network.attempts += 1
        clock = network.clock_of(self._host)
        arguments = (self._host, clock, self._address, protocolFactory, connected)
        network.clock.callLater(network.latency_s(), network.dial, *arguments)
        return connected
