"""The byte network of a simulated cluster: connections with delays, stalls, breaks and deaths from one seed.

Loss, repetition and reordering of single messages are :mod:`~raftdb.simulation.network.datagrams`'s: a stream
loses nothing but its end. What chance does to streams is here: bytes arrive late, in pieces and in
bursts; a connection breaks and both ends are told, or one, or none; a frame ends in its middle with
its sender; a dead process refuses connections, a dead machine is silent.
"""

from __future__ import annotations

from random import Random

from twisted.internet.interfaces import IReactorTime

from raftdb.simulation.clock import NodeClock, SimulationClock
from raftdb.simulation.network.links import STRAGGLE_S
from raftdb.simulation.network.streams import Streams

RESEND_S = 0.2
"""After which a lost packet has been sent again; everything behind it waits for it."""

PIECEMEAL = 0.05
"""The share of reads that get only the first part of what has come."""


class LossyStreams(Streams):
    """Connections between simulated hosts.

    :param clock: of the simulation
    :param rng: draws delays, breaks and deaths
    :param silent_deaths: the share of deaths that take the machine along, in [0, 1]
    """

    def __init__(self, clock: SimulationClock, rng: Random, *, silent_deaths: float) -> None:
        super().__init__(clock, self._latency)
        self._rng = rng
        self._silent_deaths = silent_deaths
        self._clocks: dict[str, IReactorTime] = {}
        self._stalls: dict[tuple[str, str], float] = {}

    def attach(self, host: str, clock: IReactorTime) -> None:
        """Let a process run on ``host`` that lives by ``clock``."""
        self._clocks[host] = clock

    def lose(self, host: str) -> None:
        """Let the process on ``host`` die, alone or with its machine."""
        if self._rng.random() < self._silent_deaths:
            self.vanish(host)
        else:
            self.kill(host, told=False)

    def clock_of(self, host: str) -> IReactorTime:
        """Return the clock of the process on ``host``."""
        return self._clocks.get(host, self.clock)

    def rate_of(self, host: str) -> float:
        """Return the rate of that clock: what the network takes does not depend on it."""
        clock = self._clocks.get(host)
        return clock.rate if isinstance(clock, NodeClock) else 1.0

    def arriving(self, count: int) -> int:
        """Let a read get less than there is, now and then."""
        if count > 1 and self._rng.random() < PIECEMEAL:
            return self._rng.randrange(1, count)
        return count

    def surviving(self, count: int) -> int:
        """Let some of what a dead process has sent arrive."""
        return self._rng.randrange(count + 1)

    def stall_s(self, source: str, destination: str) -> float:
        """Return for how long a link is clogged."""
        if not self._stalls:
            return 0.0
        return max(0.0, self._stalls.get((source, destination), 0.0) - self.clock.seconds())

    def arrived(self, host: str, data: bytes) -> None:
        """Take what is read into the digest."""
        del host
        self.record(self.clock.seconds(), data)

    def clog(self, sender: str, receiver: str, seconds: float) -> None:
        """Let what is sent from now on wait, and go on together."""
        self._stalls[sender, receiver] = self.clock.seconds() + seconds

    def snap(self, rng: Random) -> None:
        """Break a connection: both ends are told, or one, or it hangs half-open."""
        ends = list(self.ends)
        if not ends:
            return
        end = rng.choice(ends)
        match rng.randrange(3):
            case 0:
                end.snap(told=(True, True))
            case 1:
                end.snap(told=(True, False))
            case _:
                end.hangs = end.other.hangs = True

    def clear_weather(self) -> None:
        """Let everything arrive soon; what hangs already goes on hanging."""
        super().clear_weather()
        self._stalls.clear()

    def _latency(self) -> float:
        weather, rng = self.weather, self._rng
        delay_s = rng.uniform(weather.delay_min_s, weather.delay_max_s)
        if weather.loss and rng.random() < weather.loss:
            delay_s += rng.uniform(0.02, RESEND_S)
        if weather.stragglers and rng.random() < weather.stragglers:
            delay_s += rng.uniform(0.0, STRAGGLE_S)
        return delay_s
