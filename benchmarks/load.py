"""A small HTTP load generator: so many connections, each with one request in flight.

It speaks just enough HTTP/1.1 to cost little itself: a request is bytes, an answer is a status and
a length. Used where wrk is not installed, and where every answer has to be counted by its status.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


@dataclass
class Figures:
    """What was measured.

    :param seconds: how long it took
    :param statuses: answers by HTTP status
    :param times_s: of each answered request, unsorted
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    times_s: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers with status 200 per second."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Answers with any other status."""
        return self.statuses.total() - self.statuses[200]

    def percentile_ms(self, percent: float) -> float:
        """Return the time within which so many requests were answered."""
        ordered = sorted(self.times_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


class Connection(Protocol):
    """One connection, one request in flight until the time is up."""

    def __init__(
        self, clock: IReactorTime, request: Callable[[], bytes], until: float, figures: Figures
    ) -> None:
        self.ended: Deferred[None] = Deferred()
        self._clock = clock
        self._request = request
        self._until = until
        self._figures = figures
        self._received = b""
        self._sent_at = 0.0

    def connectionMade(self) -> None:
        """Begin."""
        self._send()

    def _send(self) -> None:
        self._sent_at = self._clock.seconds()
        if self._sent_at >= self._until:
            self.transport.loseConnection()
        else:
            self.transport.write(self._request())

    def dataReceived(self, data: bytes) -> None:
        """Count an answer that is complete, and ask again."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and length is not None and len(body) >= int(length[1]):
            self._received = b""
            self._figures.statuses[int(head[9:12])] += 1
            self._figures.times_s.append(self._clock.seconds() - self._sent_at)
            self._send()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End; an answer that never came counts as status 0."""
        del reason
        if self._clock.seconds() < self._until:
            self._figures.statuses[0] += 1
        self.ended.callback(None)


async def load(
    reactor: IReactorTime,
    address: str,
    request: Callable[[], bytes],
    *,
    connections: int,
    seconds: float,
) -> Figures:
    """Ask ``address`` over so many connections for so long.

    :param request: makes the bytes of the next request
    """
    host, _, port = address.rpartition(":")
    endpoint = HostnameEndpoint(reactor, host, int(port))
    figures = Figures()
    began = reactor.seconds()
    made = [Connection(reactor, request, began + seconds, figures) for _ in range(connections)]
    await gatherResults([connectProtocol(endpoint, one) for one in made])
    await gatherResults([one.ended for one in made])
    figures.seconds = reactor.seconds() - began
    return figures
