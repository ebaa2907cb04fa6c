"""The way back from an answer to who asked: for twisted.web's requests, and as plain bytes.

The dispatcher knows only :class:`Responder`; which of the two stands behind it is the channel's
choice, and both write the same head.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from twisted.web.http import RESPONSES, datetimeToString
from twisted.web.server import Request as TwistedRequest
from twisted.web.server import version as server_version

from raftdb.http.messages import Response

__all__ = ["Fields", "NodeHeaders", "Responder", "TwistedResponder", "head_of"]

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]


class NodeHeaders(Protocol):
    """Header fields that say where the node stands when a response is written."""

    def fields(self) -> Fields:
        """Return the fields."""

    def lines(self) -> bytes:
        """Return the same as the lines of a head, each with CR LF in front."""


class Responder(Protocol):
    """One request that waits for its answer."""

    def when_gone(self, call: Callable[[], None]) -> None:
        """Have ``call`` called if the client goes before its answer is written; asked once."""

    def answer(self, answer: Response, stand: NodeHeaders, *, body: bytes) -> None:
        """Write ``answer``, with ``stand`` among its header fields; once, and not after it went.

        :param body: what is sent of the answer's body, which gives the length in any case: nothing
            for a HEAD request
        """


class TwistedResponder:
    """The way back to one of twisted.web's requests."""

    def __init__(self, request: TwistedRequest) -> None:
        self._request = request

    def when_gone(self, call: Callable[[], None]) -> None:
        """Hear of the connection's end from the request."""
        self._request.notifyFinish().addErrback(lambda _: call())

    def answer(self, answer: Response, stand: NodeHeaders, *, body: bytes) -> None:
        """Write the answer and finish the request."""
        request = self._request
        request.setResponseCode(answer.status)
        headers = request.responseHeaders
        for name, value in (*answer.headers, *stand.fields()):
            headers.setRawHeaders(name, [value])
        if answer.content_type:
            headers.setRawHeaders(b"Content-Type", [answer.content_type])
        headers.setRawHeaders(b"Content-Length", [b"%d" % len(answer.body)])
        end = getattr(request.channel, "end_with_answer", None)
        if end is not None:  # a channel of another kind knows nothing of a node that stops
            end(request)
        request.write(body)
        request.finish()


_BEGINNINGS = {
    status: b"HTTP/1.1 %d %b\r\nServer: %b\r\nDate: " % (status, reason, server_version)
    for status, reason in RESPONSES.items()
}


class _Today:
    """The value of a Date header, written anew once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def __call__(self) -> bytes:
        # The wall clock, as twisted.web has it: a Date says what time it is, it measures nothing.
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = datetimeToString(second)
        return self._text


_today = _Today()


def head_of(answer: Response, stand: NodeHeaders) -> bytes:
    """Return the head of an answer on a connection that stays open."""
    further = b""
    for name, value in answer.headers:
        further += b"\r\n%b: %b" % (name, _one_line(value))
    return b"%b%b%b%b%b\r\nContent-Length: %d\r\n\r\n" % (
        _BEGINNINGS[answer.status],
        _today(),
        further,
        stand.lines(),
        answer.content_type and b"\r\nContent-Type: " + answer.content_type,
        len(answer.body),
    )


def _one_line(value: bytes) -> bytes:
    """Return ``value`` without line breaks, which would begin another field."""
    return b" ".join([line.strip() for line in value.splitlines()])
