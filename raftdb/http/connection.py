"""One client's connection, with an end to everything: bytes, time, patience.

twisted.web re-arms its timeout with each byte, spools a body to disk without limit, and closes on
malformed input without a word. This channel gives each part of a request its own deadline, refuses
a body while it arrives, and tells a refused client why before it goes.

However it ends, it closes only its own side, and goes on reading for a while: to close a socket with
unread bytes resets the connection, and the reset overtakes the last answer.
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
from raftdb.http.connections import Age
from raftdb.http.limits import Limits
from raftdb.http.messages import error_answer, raw_http
from raftdb.http.precedence import URGENT_BODY_BYTES_MAX, asks_urgently

_LENGTH_LINE_MAX = 1000
_TLS_HANDSHAKE = b"\x16"
"""The first byte of every TLS connection (RFC 8446, 5.1), and of no HTTP request."""

_RETRY_AFTER = ((b"Retry-After", b"1"),)

__all__ = ["ANSWERING", "IDLE", "Connection", "Host", "LimitedRequest"]


class Host(Protocol):
    """What a channel shares with all others of its site."""

    limits: Limits
    budget: Budget

    @property
    def persistent(self) -> bool:
        """Whether connections stay open after an answer; if not, each ends with its next one."""

    def now(self) -> float:
        """The monotonic time in seconds."""

    def opened(self, channel: Connection) -> bool:
        """Take note of a connection; False if it may ask only what is urgent."""

    def closed(self, channel: Connection) -> None:
        """Forget a connection."""

    def met_tls(self, channel: Connection) -> None:
        """Say that a client speaks TLS where none is spoken."""


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
        """Begin; a connection too many may ask only what is urgent."""
        self._state = IDLE
        self._deadline = self.site.now() + self.site.limits.idle_timeout_s
        self._send_deadline: float | None = None
        self._body_bytes = 0
        self._unsent_bytes = 0
        self._resting = False
        self._is_new = True  # until its first answer
        super().connectionMade()
        self._urgent_only = not self.site.opened(self)

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
        elif self._state is IDLE:
            self._end(limits.linger_s)
            self._close_side()
        else:
            # Not loseConnection: it waits for a client that leaves its last answer untaken, perhaps
            # for ever.
            self.transport.abortConnection()

    # Giving way: see raftdb.http.connections.

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is heard on it."""
        return self._state is ENDING

    def idleness(self) -> Age | None:
        """Rank it among those that wait for nothing: first the unused, then the longest idle."""
        return (not self._is_new, self._deadline) if self._state is IDLE else None

    def uselessness(self) -> Age | None:
        """Rank it among those whose client is not waiting for an answer that is being made."""
        if self._state is ANSWERING:
            return None
        return (2 if self._state is RECEIVING else 1 if self._state is IDLE else 0, self._deadline)

    def give_way(self) -> None:
        """End it for the sake of another; whatever it has just asked is surely not done."""
        self._overloaded("too many connections are open")

    def abort(self) -> None:
        """End it at once."""
        self._state = ENDING
        self.transport.abortConnection()

    def take_leave(self) -> None:
        """End it because the node stops; whatever is unread of it is surely not done."""
        if self._state is not ANSWERING:
            text = "the node is stopping; nothing was done"
            self.refuse(503, "shutting_down", text, _RETRY_AFTER)

    @property
    def is_expected(self) -> bool:
        """Whether its client is about to ask, to be answered, or to close after its last answer."""
        return self._is_new or self._state is not IDLE

    # Arriving: twisted.web calls these in this order.

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first one of a request starts its clock."""
        if self._state is ENDING:
            return
        begins = self._is_new and self._state is IDLE
        if begins and data[:1] == _TLS_HANDSHAKE and not self.isSecure():
            self.site.met_tls(self)
            self._refuse_malformed("this port speaks HTTP without TLS, and TLS came")
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
        if self._urgent_only and not asks_urgently(self._path):
            self._overloaded("too many connections are open")
            return
        if self.length is not None and not self._admits(self.length):
            return
        super().allHeadersReceived()

    def checkPersistence(self, request: AnyRequest, version: bytes) -> bool:
        """Whether another request may follow; not on a node that is about to stop.

        Nor on a connection too many. A client that learns it from its answer asks elsewhere; one that learns it from a reset
        connection cannot know what became of its write.
        """
        if self.may_go_on:
            return bool(super().checkPersistence(request, version))
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    @property
    def may_go_on(self) -> bool:
        """Whether the connection stays open after the answer that comes next."""
        return self.site.persistent and not self._urgent_only

    def end_with_answer(self, request: Request) -> None:
        """Tell the client with this answer that it is the last one, if it has become so meanwhile."""
        if not self.may_go_on:
            self.persistent = 0
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])

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
        self._is_new = False
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
        """End after the last answer, heard or not; what still comes is read and not listened to."""
        if self._state is not ENDING:
            self._end(self.site.limits.send_timeout_s)
            self._close_side()

    def refuse(
        self, status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Say why, close our side, and read for a moment more."""
        if self._state is ENDING:
            return
        self._end(self.site.limits.linger_s)
        self._release_body()
        self.persistent = 0
        self.transport.write(raw_http(error_answer(status, code, message, headers)))
        self._close_side()

    def _close_side(self) -> None:
        """Close our side of the connection when everything is sent; the client's end ends it."""
        transport = self.transport
        cast("IConsumer", transport).unregisterProducer()
        self._networkProducer.resumeProducing()  # what is never read would reset it all the same
        if IHalfCloseableDescriptor.providedBy(transport) and not self.isSecure():
            transport.loseWriteConnection()
        else:
            transport.loseConnection()  # TLS cannot be closed by half

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  # twisted.web's name
        """Refuse a malformed head or chunk, where twisted.web says nothing but 400."""
        self._refuse_malformed(
            "this is not well-formed HTTP/1.1, or its head has more than"
            f" {self.totalHeadersSize} bytes or {self.maxHeaders} lines"
        )

    def _refuse_malformed(self, text: str) -> None:
        self.refuse(400, "malformed_request", text)

    def _admits(self, body_bytes: int) -> bool:
        """Whether a body may grow to this size; if not, the connection is refused."""
        limits = self.site.limits
        if body_bytes > limits.body_bytes_max:
            self.refuse(413, "too_large", f"a body has at most {limits.body_bytes_max} bytes")
            return False
        if not (
            self.site.budget.has_room(body_bytes - self._body_bytes)
            or (body_bytes <= URGENT_BODY_BYTES_MAX and asks_urgently(self._path))
        ):
            self._overloaded("too many bytes are in flight")
            return False
        return True

    def _overloaded(self, message: str) -> None:
        self.refuse(503, "overloaded", message, _RETRY_AFTER)

    def _end(self, within_s: float) -> None:
        """Listen no more; what came with the last request is dropped at once, not line by line."""
        self._state = ENDING
        self._buffer = b""
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
