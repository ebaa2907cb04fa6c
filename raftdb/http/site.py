"""The site that listens: it knows its connections and ends those that take too long.

Nothing here starts a timer before the site listens, and nothing reads a clock it was not given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import cast

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.web.http import datetimeToLogString
from twisted.web.resource import Resource
from twisted.web.server import Site

from raftdb.http.budget import Budget
from raftdb.http.connection import Connection, LimitedRequest
from raftdb.http.connections import Connections
from raftdb.http.fast_connection import FastConnection
from raftdb.http.limits import Limits
from raftdb.http.messages import Request
from raftdb.http.responder import Responder
from raftdb.http.seldom import Seldom

__all__ = ["LimitedSite"]

_SWEEP_S = 1.0
_LOOK_S = 0.02
"""Between two looks whether the last clients have gone."""


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
        self._connections = Connections(limits)
        self._tls_met = Seldom(clock)
        self._sweep = LoopingCall(self._check_all)
        self._sweep.clock = clock
        self.listening = False
        self.persistent = True

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

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
        self.persistent = False
        self._rest()
        if self.logPath is not None:
            super().stopFactory()

    def buildProtocol(  # type: ignore[override]  # see protocol
        self, addr: IAddress | None
    ) -> Connection | None:
        """Make a channel; far too many connections are closed without one."""
        if not self._connections.make_room():
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
        """Take note of a connection; False if it may ask only what is urgent."""
        return self._connections.add(channel)

    def closed(self, channel: Connection) -> None:
        """Forget a connection."""
        self._connections.remove(channel)
        self._rest()

    def met_tls(self, channel: Connection) -> None:
        """Log that a client speaks TLS to a port without it, seldom."""
        if self._tls_met.may_tell():
            self._log.warn(
                "a client at {peer} began with TLS on the port for HTTP without TLS; its connection"
                " was closed. It should use http://, or the node should listen with --hlisten ssl:…",
                peer=getattr(channel.transport.getPeer(), "host", "?"),
            )

    def wind_up(self) -> None:
        """Let each connection end with its next answer: the node is about to stop."""
        self.persistent = False

    async def take_leave(self, *, answer_s: float, linger_s: float) -> None:
        """Answer what comes for a while yet, then end all connections, with a reset for none.

        A connection that is used again and again, and not just now, is not waited for.

        :param answer_s: how long to wait for what clients are about to send or to take
        :param linger_s: how long to wait, after that, for clients to close their side
        """
        await self._until(lambda: not any(one.is_expected for one in self._channels()), answer_s)
        for channel in self._channels():
            channel.take_leave()
        await self._until(lambda: not self._connections, linger_s)

    async def _until(self, done: Callable[[], bool], within_s: float) -> None:
        ends_s = self.now() + within_s
        while not done() and self.now() < ends_s:
            await deferLater(self._clock, _LOOK_S)

    def _channels(self) -> Iterator[Connection]:
        return cast("Iterator[Connection]", iter(self._connections))

    def getContentFile(self, length: int | None) -> BytesIO:
        """Keep bodies in memory: they are small, and twisted.web's files have no limit."""
        del length
        return BytesIO()

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 only: twisted.web's HTTP/2 would pass by every limit here."""
        return [b"http/1.1"]

    def _rest(self) -> None:
        if not (self.listening or self._connections) and self._sweep.running:
            self._sweep.stop()

    def _check_all(self) -> None:
        now = self.now()
        for channel in self._channels():
            try:
                channel.check(now)
            except Exception:  # noqa: BLE001  # one connection's trouble must not end the sweep
                self._log.failure("a connection could not be ended")
                channel.transport.abortConnection()

    def _updateLogDateTime(self) -> None:  # noqa: N802  # twisted.web's name
        """Date the access log by the wall clock: the reactor's is monotonic and says 1970."""
        self._logDateTime = datetimeToLogString(time.time())
        self._logDateTimeCall = self._clock.callLater(1, self._updateLogDateTime)
