"""Puts the HTTP side together: the apps, the one resource, the site that listens.

Nothing here starts a timer before the site listens, and nothing reads a clock it was not given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from io import BytesIO

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.http import datetimeToLogString
from twisted.web.resource import Resource
from twisted.web.server import Site

from raftdb.dialects.go.join import JoinApp
from raftdb.dialects.go.key import KeyApp
from raftdb.dialects.go.long_json import LongJson
from raftdb.dialects.native.api import ClusterApp, KVApp
from raftdb.dialects.seams import Database, Membership
from raftdb.http.budget import Budget
from raftdb.http.connection import Connection, LimitedRequest
from raftdb.http.dispatch import Dispatcher
from raftdb.http.fast_connection import FastConnection
from raftdb.http.limits import Limits
from raftdb.http.messages import Request
from raftdb.http.pacing import Pacer
from raftdb.http.responder import Responder
from raftdb.http.routing import App, Routes

__all__ = ["LimitedSite", "make_resource", "make_site"]

_SWEEP_S = 1.0


def make_resource(
    clock: IReactorTime,
    *,
    database: Database,
    membership: Membership,
    status: Callable[[], object],
    unready: Callable[[], str | None],
    limits: Limits,
    budget: Budget,
    serve_reads: bool = False,
    further: Sequence[App] = (),
) -> Dispatcher:
    """Make the resource that answers everything.

    :param clock: for deadlines
    :param database: what ``/key`` and ``/api/kv`` read and write
    :param membership: what ``/join`` and ``/api/cluster`` change
    :param status: what ``/api/status`` shows, ready to be written as JSON
    :param unready: why ``/readyz`` answers 503, or None
    :param limits: what a request may ask for
    :param budget: of bytes, for all clients together
    :param serve_reads: whether ``/key`` answers all reads here, see :class:`~raftdb.dialects.go.key.KeyApp`
    :param further: more groups of routes
    """
    pacer = Pacer(clock)
    apps: tuple[App, ...] = (
        KeyApp(database, limits, LongJson(pacer), serve_reads=serve_reads),
        JoinApp(membership),
        KVApp(database, limits),
        ClusterApp(membership, status=status, unready=unready),
        *further,
    )
    return Dispatcher(
        clock, Routes(apps), position=database.position, limits=limits, pacer=pacer, budget=budget
    )


def make_site(
    clock: IReactorTime,
    *,
    database: Database,
    membership: Membership,
    status: Callable[[], object],
    unready: Callable[[], str | None],
    limits: Limits | None = None,
    access_log: str | None = None,
    fast: bool = True,
    serve_reads: bool = False,
    further: Sequence[App] = (),
) -> LimitedSite:
    """Make the site to listen with; the arguments are those of :func:`make_resource`.

    :param access_log: the path of an access log, or None for none
    :param fast: let plain requests go past twisted.web's parser; not while there is an access log,
        which wants twisted.web's requests
    """
    limits = limits or Limits()
    budget = Budget(limits.held_bytes_max)
    resource = make_resource(
        clock,
        database=database,
        membership=membership,
        status=status,
        unready=unready,
        limits=limits,
        budget=budget,
        serve_reads=serve_reads,
        further=further,
    )
    take = resource.take if fast and access_log is None else None
    return LimitedSite(clock, resource, limits, budget, access_log, take=take)


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
