"""Bytes on their way out: a transport that asks to pause gets no more, and waiting has a limit.

Whatever leaves a connection leaves here, in order: a second way to the transport could put an
answer into the middle of a box. What finds no room is dropped and told, so that a peer that does not
read costs bounded memory and the core sends again what was lost [R16].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IAddress, IPushProducer
from zope.interface import implementer


class ByteTransport(Protocol):
    """What we need of a transport: Twisted's for TCP and TLS have it, and those in memory."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def loseConnection(self) -> None:
        """Close when everything is written."""

    def abortConnection(self) -> None:
        """Close now."""

    def getPeer(self) -> IAddress:
        """Say where the other side is."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell ``producer`` from now on when to pause."""

    def unregisterProducer(self) -> None:
        """Tell it no more."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send small pieces at once (True)."""


@implementer(IPushProducer)
class Outbox:
    """A bounded queue in front of one transport.

    Invariant: bytes wait only while the transport has asked to pause.

    :param transport: where the bytes go; it is told to pause us through this object
    :param bytes_max: waiting at a time, beyond which :meth:`write` refuses; a single box that the
        transport pauses in may be larger
    :param write_bytes_max: handed over at once; a transport that has taken that much and asks for
        more has made progress, however big the box is that they belong to
    :param progressed: called whenever the transport asks for more
    """

    def __init__(
        self,
        transport: ByteTransport,
        *,
        bytes_max: int,
        write_bytes_max: int,
        progressed: Callable[[], None],
    ) -> None:
        self._transport = transport
        self.bytes_max = bytes_max
        self._write_bytes_max = write_bytes_max
        self._progressed = progressed
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._closed = False

    @property
    def is_paused(self) -> bool:
        """Whether the transport wants nothing at the moment."""
        return self._paused

    @property
    def waiting_bytes(self) -> int:
        """How much waits."""
        return self._waiting_bytes

    def write(self, data: bytes) -> bool:
        """Send ``data`` now or when the transport wants it; False where there is no room."""
        goes_at_once = not (self._waiting or self._paused or self._closed)
        if goes_at_once and len(data) <= self._write_bytes_max:
            self._transport.write(data)
            return True
        full = self._paused and self._waiting_bytes + len(data) > self.bytes_max
        if self._closed or full:
            return False
        for begin in range(0, len(data), self._write_bytes_max):
            self._waiting.append(data[begin : begin + self._write_bytes_max])
        self._waiting_bytes += len(data)
        self._flush()
        return True

    def close(self) -> None:
        """Forget what waits and take nothing more."""
        self._closed = True
        self._waiting.clear()
        self._waiting_bytes = 0

    def pauseProducing(self) -> None:
        """Hear that the transport has enough."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Hear that the transport wants more."""
        self._paused = False
        self._progressed()
        self._flush()

    def stopProducing(self) -> None:
        """Hear that the transport is gone."""
        self.close()

    def _flush(self) -> None:
        while self._waiting and not self._paused:
            piece = self._waiting.popleft()
            self._waiting_bytes -= len(piece)
            self._transport.write(piece)
