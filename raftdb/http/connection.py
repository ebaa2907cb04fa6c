"""One client's connection, with an end to everything: bytes, time, patience.

twisted.web re-arms its timeout with each byte, spools a body to disk without limit, and closes on
malformed input without a word. This channel gives each part of a request its own deadline, refuses
a body while it arrives, and tells a refused client why before it goes.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import Final, Protocol, cast

from twisted.internet.interfaces import IConsumer, IHalfCloseableDescriptor, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as AnyRequest
from twisted.web.server import Request

from raftdb.http.budget import Budget
from raftdb.http.limits import Limits
from raftdb.http.messages import error_answer, raw_http

_LENGTH_LINE_MAX = 1000

__all__ = ["ANSWERING", "IDLE", "Connection", "Host", "LimitedRequest"]


class Host(Protocol):
    """What a channel shares with all others of its site."""

    limits: Limits
    budget: Budget

    @property
    def listening(self) -> bool:
        """Whether new connections are taken; if not, old ones end with their next answer."""

    def now(self) -> float:
        """The monotonic time in seconds."""

    def opened(self, channel: Connection) -> bool:
        """Take note of a connection; False if it is one too many."""

    def closed(self, channel: Connection) -> None:
        """Forget a connection."""


class ConnectionState(Enum):
    """What a connection is doing; each but ANSWERING has a deadline of its own."""

    IDLE = "idle"
    RECEIVING = "receiving"
    ANSWERING = "answering"
    ENDING = "ending"


IDLE: Final = (
    ConnectionState.IDLE
)  # by names of their own: to ask an Enum takes 100 ns in Python 3.11
RECEIVING: Final = ConnectionState.RECEIVING
ANSWERING: Final = ConnectionState.ANSWERING
ENDING: Final = ConnectionState.ENDING


class LimitedRequest(Request):
    """A request whose body is counted as it arrives."""

    channel: Connection

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, unless the connection has been refused meanwhile."""
        if self.channel.take_body(len(data)):
            super().handleContentChunk(data)


class Connection(HTTPChannel):
    """Speaks HTTP/1.1 with one client.

    Invariant: ``site.budget`` includes ``_body_bytes`` and ``_unsent_bytes`` until they are
    given back, at the latest when the connection is lost.
    """

    site: Host
    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Begin, or refuse a connection too many."""
        self._state = IDLE
        self._deadline = self.site.now() + self.site.limits.idle_timeout_s
        self._send_deadline: float | None = None
        self._body_bytes = 0
        self._unsent_bytes = 0
        self._resting = False
        super().connectionMade()
        if not self.site.opened(self):
            self._overloaded("too many connections are open")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give everything back, and answer nothing of what is still here: a turn may be due."""
        self._state = ENDING
        self._release_body()
        self._release_unsent()
        self.site.closed(self)
        super().connectionLost(reason)

    def check(self, now: float) -> None:
        """End what took too long; called about once a second."""
        limits = self.site.limits
        if self._send_deadline is not None and now >= self._send_deadline:
            self.transport.abortConnection()
        elif self._state is ANSWERING or now < self._deadline:
            return
        elif self._state is RECEIVING:
            text = f"the request did not arrive within {limits.receive_timeout_s:g} s"
            self.refuse(408, "request_timeout", text)
        else:
            # Idle, or ending and not yet ended. Not loseConnection: it waits for a client that
            # leaves its last answer untaken, perhaps for ever.
            self.transport.abortConnection()

    # Arriving: twisted.web calls these in this order.

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first one of a request starts its clock."""
        if self._state is ENDING:
            return
        self._begin()
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the head."""
        if self._state is ENDING:
            return
        self._begin()
        if line[:1] in (b" ", b"\t"):
            # A folded header (RFC 9112, 5.2), which twisted.web joins and others read otherwise.
            self._respondToBadRequestAndDisconnect()
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that has no end."""
        del line
        text = f"a line of the head has more than {self.MAX_LENGTH} bytes"
        self.refuse(431, "head_too_large", text)

    def headerReceived(self, line: bytes) -> bool:
        """Take a header; Python refuses to read a number of thousands of digits."""
        if len(line) > _LENGTH_LINE_MAX and line[:15].lower() == b"content-length:":
            self._admits(sys.maxsize)
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        """Refuse a body by its announced length, before a 100-continue invites it."""
        if self.length is not None and not self._admits(self.length):
            return
        super().allHeadersReceived()

    def checkPersistence(self, request: AnyRequest, version: bytes) -> bool:
        """Whether another request may follow; not on a node that is about to stop.

        A client that learns it from its answer asks elsewhere; one that learns it from a reset
        connection cannot know what became of its write.
        """
        if self.site.listening:
            return bool(super().checkPersistence(request, version))
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def rawDataReceived(self, data: bytes) -> None:
        """Take a part of the body, or what follows the request being answered."""
        if self._state is not ENDING:
            super().rawDataReceived(data)

    def take_body(self, count: int) -> bool:
        """Count ``count`` bytes of the body in; False if they are too many."""
        if self._state is ENDING or not self._admits(self._body_bytes + count):
            return False
        self._body_bytes += count
        self.site.budget.take(count)
        return True

    def allContentReceived(self) -> None:
        """Have the request answered."""
        if self._state is ENDING:
            return
        self._state = ANSWERING
        super().allContentReceived()

    # Answering and sending.

    def requestDone(self, request: Request) -> None:
        """Wait for the next request; some of it may be here already."""
        self._release_body()
        self._wait_for_next()
        behind = bool(self._buffer or any(self._dataBuffer))
        self.paused = behind
        super().requestDone(request)
        if behind and self._state is not ENDING:
            self._rest()

    def _wait_for_next(self) -> None:
        self._state = IDLE
        self._deadline = self.site.now() + self.site.limits.idle_timeout_s

    def _rest(self) -> None:
        """Leave what the client has pipelined for a later turn.

        twisted.web would answer all of it at once, whether or not the client takes the answers: a
        few KiB of requests become gigabytes, and the event loop stands still meanwhile.
        """
        self._networkProducer.pauseProducing()
        if not self._waitingForTransport and not self._resting:
            self._resting = True
            self.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Take the next pipelined request, if the connection still wants it."""
        self._resting = False
        if self._state is ENDING or not self.paused or self._waitingForTransport:
            return
        self.paused = False
        self._networkProducer.resumeProducing()
        self.dataReceived(b"")

    def write(self, data: bytes) -> None:
        """Send a part of an answer."""
        super().write(data)
        self.count_unsent(len(data))

    def count_unsent(self, count: int) -> None:
        """Count bytes of an answer that the client does not take yet."""
        if self._send_deadline is not None:
            self._unsent_bytes += count
            self.site.budget.take(count)

    def pauseProducing(self) -> None:
        """Note that the client does not take its answer as fast as we give it."""
        if self._send_deadline is None:
            self._send_deadline = self.site.now() + self.site.limits.send_timeout_s
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Note that it has taken all of it."""
        self._send_deadline = None
        self._release_unsent()
        super().resumeProducing()
        if self.paused:
            self._rest()

    # Ending.

    def loseConnection(self) -> None:
        """End after the last answer, heard or not; nothing more is listened to."""
        self._end(self.site.limits.send_timeout_s)
        super().loseConnection()

    def refuse(
        self, status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Say why, close our side, and listen for a moment more.

        Closing with unread bytes would reset the connection, and the reset overtakes the answer.
        """
        if self._state is ENDING:
            return
        self._end(self.site.limits.linger_s)
        self._release_body()
        self.persistent = 0
        transport = self.transport
        cast("IConsumer", transport).unregisterProducer()
        transport.write(raw_http(error_answer(status, code, message, headers)))
        if IHalfCloseableDescriptor.providedBy(transport) and not self.isSecure():
            transport.loseWriteConnection()
        else:
            transport.loseConnection()  # TLS cannot be closed by half

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  # twisted.web's name
        """Refuse a malformed head or chunk, where twisted.web says nothing but 400."""
        text = (
            "this is not well-formed HTTP/1.1, or its head has more than"
            f" {self.totalHeadersSize} bytes or {self.maxHeaders} lines"
        )
        self.refuse(400, "malformed_request", text)

    def _admits(self, body_bytes: int) -> bool:
        """Whether a body may grow to this size; if not, the connection is refused."""
        limits = self.site.limits
        if body_bytes > limits.body_bytes_max:
            self.refuse(413, "too_large", f"a body has at most {limits.body_bytes_max} bytes")
            return False
        if not self.site.budget.has_room(body_bytes - self._body_bytes):
            self._overloaded("too many bytes are in flight")
            return False
        return True

    def _overloaded(self, message: str) -> None:
        self.refuse(503, "overloaded", message, ((b"Retry-After", b"1"),))

    def _end(self, within_s: float) -> None:
        self._state = ENDING
        self._deadline = self.site.now() + within_s

    def _begin(self) -> None:
        if self._state is IDLE:
            self._state = RECEIVING
            self._deadline = self.site.now() + self.site.limits.receive_timeout_s

    def _release_body(self) -> None:
        self.site.budget.give(self._body_bytes)
        self._body_bytes = 0

    def _release_unsent(self) -> None:
        self.site.budget.give(self._unsent_bytes)
        self._unsent_bytes = 0
