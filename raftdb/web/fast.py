"""A channel with a fast lane: plain requests go past twisted.web's parser and Request.

A request is taken by the fast lane only where nothing else is under way on its connection, so it is
in nobody's middle; what the client sends before its answer waits behind it as behind any other. All
else, and every limit and deadline, is :class:`~raftdb.web.channel.Channel`'s. Both lanes lead to the
same dispatcher, and a test holds them to the same answers byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from twisted.python.failure import Failure

from raftdb.web.channel import Channel, Host, LimitedRequest, State
from raftdb.web.exchange import Exchange, Stand, head_of
from raftdb.web.messages import Answer, Asked
from raftdb.web.plain import Plain, read_plain
from raftdb.web.targets import split_target

__all__ = ["FastChannel"]


class FastHost(Host, Protocol):
    """A host that also takes requests which never were twisted.web's."""

    def take(self, asked: Asked, exchange: Exchange) -> None:
        """Have a complete request answered, at once or later, but always."""


class _PlainExchange:
    """A plain request that waits for its answer; it stands in its channel's queue of requests."""

    __slots__ = ("_channel", "_gone", "_lost")

    def __init__(self, channel: FastChannel) -> None:
        self._channel = channel
        self._gone: Callable[[], None] | None = None
        self._lost = False

    def when_gone(self, call: Callable[[], None]) -> None:
        self._gone = call

    def answer(self, answer: Answer, stand: Stand, *, body: bytes) -> None:
        if not self._lost:
            self._gone = None
            self._channel.answered(self, head_of(answer, stand), body)

    def connectionLost(self, reason: Failure) -> None:  # called by twisted.web
        del reason
        self._lost = True
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()


class FastChannel(Channel):
    """Speaks HTTP/1.1 with one client, plain requests the short way."""

    site: FastHost

    def connectionMade(self) -> None:
        """Begin."""
        super().connectionMade()
        self._secure = bool(self.isSecure())

    def dataReceived(self, data: bytes) -> None:
        """Take bytes: the short way where they are one plain request and nothing is under way."""
        if self._state is State.IDLE and not (
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
            site.listening
            and body_bytes <= site.limits.body_bytes_max
            and site.budget.has_room(body_bytes)
        )

    def _take(self, plain: Plain) -> None:
        self._state = State.ANSWERING
        self._handlingRequest = True
        self.setRawMode()  # what comes before the answer is kept, and read after it
        self._body_bytes = len(plain.body)
        self.site.budget.take(self._body_bytes)
        exchange = _PlainExchange(self)
        self.requests.append(cast("LimitedRequest", exchange))
        path, query, target = split_target(plain.target)
        asked = Asked(plain.method, path, query, target, self._secure, plain.body)
        self.site.take(asked, exchange)

    def answered(self, exchange: _PlainExchange, head: bytes, body: bytes) -> None:
        """Send the answer of the request in hand and wait for the next one."""
        self.transport.write(head + body)
        self.count_unsent(len(body))
        if self._dataBuffer or self._waitingForTransport:
            self.requestDone(cast("LimitedRequest", exchange))
            return
        # As requestDone, where nothing came meanwhile and nothing was paused.
        self._release_body()
        self.requests.clear()
        self._handlingRequest = False
        self.line_mode = 1
        self._wait_for_next()
