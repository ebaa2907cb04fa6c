"""A channel with a fast lane: plain requests go past twisted.web's parser and Request.

A request is taken by the fast lane only where nothing else is under way on its connection, so it is
in nobody's middle; what the client sends before its answer waits behind it as behind any other. All
else, and every limit and deadline, is :class:`~raftdb.http.connection.Connection`'s. Both lanes lead to the
same dispatcher, and a test holds them to the same answers byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from raftdb.http.connection import ANSWERING, IDLE, Connection, Host, LimitedRequest
from raftdb.http.messages import Request, Response
from raftdb.http.parser import Plain, read_plain
from raftdb.http.responder import NodeHeaders, Responder, head_of
from raftdb.http.targets import split_target

__all__ = ["FastConnection"]


class FastHost(Host, Protocol):
    """A host that also takes requests which never were twisted.web's."""

    def take(self, asked: Request, exchange: Responder) -> None:
        """Have a complete request answered, at once or later, but always."""


class _PlainResponder:
    """The plain request that waits for its answer; it stands in its channel's queue of requests.

    One serves all plain requests of a connection, because it has never more than one in hand.
    """

    __slots__ = ("_channel", "_gone", "_lost")

    def __init__(self, channel: FastConnection) -> None:
        self._channel = channel
        self._gone: Callable[[], None] | None = None
        self._lost = False

    def when_gone(self, call: Callable[[], None]) -> None:
        self._gone = call

    def answer(self, answer: Response, stand: NodeHeaders, *, body: bytes) -> None:
        if not self._lost:
            self._gone = None
            self._channel.answered(head_of(answer, stand) + body, len(body))

    def connectionLost(self, reason: Failure) -> None:  # called by twisted.web
        del reason
        self._lost = True
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()


class FastConnection(Connection):
    """Speaks HTTP/1.1 with one client, plain requests the short way."""

    site: FastHost

    def connectionMade(self) -> None:
        """Begin."""
        super().connectionMade()
        self._secure = bool(self.isSecure())
        self._exchange = _PlainResponder(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of the exchange, too.

        In a circle with it this channel, and what its client did not take, would wait for the garbage
        collector, and for ever if a snapshot was loaded meanwhile: then all there is is frozen.
        """
        super().connectionLost(reason)
        del self._exchange

    def dataReceived(self, data: bytes) -> None:
        """Take bytes: the short way where they are one plain request and nothing is under way."""
        if self._state is IDLE and not (
            self._buffer or self.paused or self._busyReceiving or self.requests
        ):
            plain = read_plain(data)
            if plain is not None and self._fits(len(plain.body)):
                self._take(plain)
                return
        super().dataReceived(data)

    def _fits(self, body_bytes: int) -> bool:
        """Whether the fast lane may take it; twisted.web's refuses, or closes, where it must."""
        site = self.site
        return (
            self.may_go_on
            and body_bytes <= site.limits.body_bytes_max
            and site.budget.has_room(body_bytes)
        )

    def _take(self, plain: Plain) -> None:
        self._state = ANSWERING
        self._handlingRequest = True
        self.line_mode = 0  # raw: what comes before the answer is kept, and read after it
        if plain.body:
            self._body_bytes = len(plain.body)
            self.site.budget.take(self._body_bytes)
        self.requests.append(self._exchange)
        path, query, target = split_target(plain.target)
        asked = Request(plain.method, path, query, target, self._secure, plain.body)
        self.site.take(asked, self._exchange)

    def answered(self, answer: bytes, body_bytes: int) -> None:
        """Send the answer of the plain request in hand and wait for the next one."""
        if not self.site.persistent:
            self._answer_last(answer, body_bytes)
            return
        self.transport.write(answer)
        if self._send_deadline is not None:
            self.count_unsent(body_bytes)
        if self._dataBuffer or self._waitingForTransport:
            self.requestDone(cast("LimitedRequest", self._exchange))
            return
        # As requestDone, where nothing came meanwhile and nothing was paused.
        if self._body_bytes:
            self._release_body()
        self.requests.clear()
        self._handlingRequest = False
        self.line_mode = 1
        self._wait_for_next()

    def _answer_last(self, answer: bytes, body_bytes: int) -> None:
        """Send the answer and end: the node has begun to stop since the request came."""
        line, _, rest = answer.partition(b"\r\n")
        self.transport.write(b"%b\r\nConnection: close\r\n%b" % (line, rest))
        self.count_unsent(body_bytes)
        self.persistent = 0
        self.requestDone(cast("LimitedRequest", self._exchange))
