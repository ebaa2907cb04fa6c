"""The site that listens: it knows its connections and ends those that take too long.

Nothing here starts a timer before the site listens, and nothing reads a clock it was not given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.http import datetimeToLogString
from twisted.web.resource import Resource
from twisted.web.server import Site

from raftdb.http.budget import Budget
from raftdb.http.connection import Connection, LimitedRequest
from raftdb.http.fast_connection import FastConnection
from raftdb.http.limits import Limits
from raftdb.http.messages import Request
from raftdb.http.responder import Responder

__all__ = ["LimitedSite"]

_SWEEP_S = 1.0


class LimitedSite(Site):
    """A site that knows its connections and ends those that take too long.

    One sweep a second over all connections costs less than a timer per request.

    :param clock: monotonic
    :param resource: answers everything
    :param limits: what clients may use up
    :param budget: of bytes, for all of them together
    :param access_log: must be text: with a path of bytes twisted.web's log file fails to rotate
        at its first megabyte, and every connection hangs from then on
    :param take: takes plain requests the short way, see :mod:`raftdb.http.fast_connection`; None if none go it
    """

    _log = Logger()
    noisy = False
    protocol = Connection  # type: ignore[assignment]  # without twisted.web's switch to HTTP/2

    def __init__(
        self,
        clock: IReactorTime,
        resource: Resource,
        limits: Limits,
        budget: Budget,
        access_log: str | None = None,
        *,
        take: Callable[[Request, Responder], None] | None = None,
    ) -> None:
        super().__init__(
            resource,
            LimitedRequest,
            logPath=access_log,
            timeout=None,  # any byte would re-arm it; the channel has deadlines instead
            reactor=clock,
            parsePOSTFormSubmission=False,  # 60 us a request, and no body here is a form
        )
        self._take = take
        if take is not None:
            self.protocol = FastConnection
        self.limits = limits
        self.budget = budget
        self._clock = clock
        self._channels: dict[Connection, None] = {}
        self._sweep = LoopingCall(self._check_all)
        self._sweep.clock = clock
        self.listening = False

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._channels)

    def startFactory(self) -> None:
        """Begin to look after the connections; without a path nothing is logged anywhere."""
        if self.logPath is not None:
            super().startFactory()
        self.listening = True
        if not self._sweep.running:
            self._sweep.start(_SWEEP_S, now=False)

    def stopFactory(self) -> None:
        """Stop that with the last connection: those still open keep their deadlines."""
        self.listening = False
        self._rest()
        if self.logPath is not None:
            super().stopFactory()

    def buildProtocol(  # type: ignore[override]  # see protocol
        self, addr: IAddress | None
    ) -> Connection | None:
        """Make a channel; far too many connections are closed without one."""
        if len(self._channels) >= self.limits.connections_max + self.limits.refusals_max:
            return None
        channel = super().buildProtocol(addr)
        assert isinstance(channel, Connection)
        return channel

    def take(self, asked: Request, exchange: Responder) -> None:
        """Have a plain request answered."""
        assert self._take is not None, "a site without a fast lane"
        self._take(asked, exchange)

    def now(self) -> float:
        """The monotonic time in seconds."""
        return self._clock.seconds()

    def opened(self, channel: Connection) -> bool:
        """Take note of a connection; False if it is one too many."""
        self._channels[channel] = None
        return len(self._channels) <= self.limits.connections_max

    def closed(self, channel: Connection) -> None:
        """Forget a connection."""
        self._channels.pop(channel, None)
        self._rest()

    def getContentFile(self, length: int | None) -> BytesIO:
        """Keep bodies in memory: they are small, and twisted.web's files have no limit."""
        del length
        return BytesIO()

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: twisted.web's HTTP/2 would pass by every limit here."""
        return [b"http/1.1"]

    def _rest(self) -> None:
        if not (self.listening or self._channels) and self._sweep.running:
            self._sweep.stop()

    def _check_all(self) -> None:
        now = self.now()
        for channel in list(self._channels):
            try:
                channel.check(now)
            except Exception:  # noqa: BLE001  # one connection's trouble must not end the sweep
                self._log.failure("a connection could not be ended")
                channel.transport.abortConnection()

    def _updateLogDateTime(self) -> None:  # noqa: N802  # twisted.web's name
        """Date the access log by the wall clock: the reactor's is monotonic and says 1970."""
        self._logDateTime = datetimeToLogString(time.time())
        self._logDateTimeCall = self._clock.callLater(1, self._updateLogDateTime)
