"""One request to one node over treq, and the line between "surely not sent" and "who knows".

Nothing is retried here, and nothing may be retried below: twisted.web's connection pool repeats
what it takes for idempotent, DELETE among it, and a DELETE repeated after somebody else's write
destroys that write.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.web.client import (  # type: ignore[attr-defined]  # RequestNotSent is not in __all__
    RequestNotSent,
    ResponseNeverReceived,
)
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from raftdb.errors import OutcomeUnknown, Timeout, Unreachable
from raftdb.outbound import HttpPool, NeverConnected, cause_of, http_agent, verbatim

__all__ = ["CONNECT_TIMEOUT_S", "Ask", "Body", "Connections", "Reply"]

CONNECT_TIMEOUT_S = 2.0
KEEP_OPEN_S = 30
"""Shorter than the server's patience, so that no request races with its closing."""
UNDER_WAY_PER_NODE_MAX = 64
"""Requests of one client at one node; more of them wait for a place, within their time. A node
takes 512 waiting requests and 900 connections, which are everybody's."""
_TOO_LATE_TO_CONNECT = (ConnectingCancelledError, ConnectTimeout)
_SURELY_NOT_SENT = (ConnectError, ConnectingCancelledError, DNSLookupError, RequestNotSent)
_NO_HTTP = (
    "; if that is a port for nodes, give the address that --haddr names; if one with TLS, https://"
)
"""Both end a connection over its first bytes, as a node that dies does."""


class Ask(NamedTuple):
    """A request before it is known who answers it.

    :param target: path and query, percent-encoded
    """

    method: str
    target: str
    body: bytes | None

    @property
    def is_read(self) -> bool:
        """Whether asking twice is harmless."""
        return self.method == "GET"


class Reply(NamedTuple):
    """What a node answered.

    :param origin: which node, as ``scheme://host:port``
    :param error: the stable name of what went wrong, or empty
    :param location: where it redirects to, or empty
    :param is_raftdb: whether it has one of the headers that every answer of raftdb has
    """

    origin: str
    status: int
    error: str
    location: str
    body: bytes
    is_raftdb: bool


@implementer(IBodyProducer)
class Body:
    """A body that is there already: written at once, with no cooperator and no reactor."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write it all."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


class Connections:
    """The connections of one client.

    :param reactor: what they run on
    :param http: a treq client to be used instead of an own one
    """

    def __init__(self, reactor: IReactorTime, http: HTTPClient | None) -> None:
        self._clock = reactor
        self._pool: HttpPool | None = None
        if http is None:
            self._pool = HttpPool(reactor, keep=UNDER_WAY_PER_NODE_MAX, keep_s=KEEP_OPEN_S)
            agent = http_agent(reactor, self._pool, CONNECT_TIMEOUT_S)
            http = HTTPClient(agent, data_to_body_producer=Body)
        self._http = http

    def close(self) -> Deferred[None]:
        """Close what is kept open."""
        if self._pool is None:
            return succeed(None)
        closed: Deferred[object] = self._pool.closeCachedConnections()
        return closed.addCallback(lambda _: None)

    async def send(self, origin: str, ask: Ask, timeout_s: float) -> Reply:
        """Send ``ask`` to ``origin`` and wait for the whole answer.

        :raises Unreachable: it was surely not sent
        :raises OutcomeUnknown: it was sent, in part or whole, and there is no answer
        """
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            exchange.cancel()

        exchange = Deferred.fromCoroutine(self._exchange(origin, ask))
        timer = self._clock.callLater(timeout_s, give_up)
        try:
            return await exchange
        except _TOO_LATE_TO_CONNECT as error:
            waited_s = timeout_s if late else CONNECT_TIMEOUT_S
            raise Unreachable(f"no connection to {origin} within {waited_s:.3g} s") from error
        except _SURELY_NOT_SENT as error:
            raise Unreachable(f"{origin}: {error}") from error
        except Exception as error:
            # Whatever ends an exchange early leaves the same doubt.
            if late:
                raise Timeout(f"{origin} did not answer within {timeout_s:.3g} s") from error
            hint = _NO_HTTP if isinstance(error, ResponseNeverReceived) else ""
            raise OutcomeUnknown(
                f"{origin} gave no whole answer: {cause_of(error)}{hint}"
            ) from error
        finally:
            if timer.active():
                timer.cancel()

    async def _exchange(self, origin: str, ask: Ask) -> Reply:
        try:
            asked = self._http.request(
                ask.method,
                verbatim(origin + ask.target),
                data=ask.body,
                allow_redirects=False,
                reactor=cast("Any", self._clock),  # treq looks at it only for a timeout of its own
            )
        except Exception as error:
            # What is raised in place of a Deferred was raised before anything was begun.
            raise NeverConnected(cause_of(error)) from error
        response = await asked
        headers = response.headers
        return Reply(
            origin,
            response.code,
            headers.getRawHeaders("Raftdb-Error", [""])[0],
            headers.getRawHeaders("Location", [""])[0],
            await response.content(),
            headers.hasHeader("Raftdb-Applied-Index") or headers.hasHeader("Raftdb-Error"),
        )
