"""A request and its answer as plain values: handlers take the one and return the other.

Nothing here reads or writes a connection, so every handler is a function that can be called in a
test; :mod:`raftdb.http.dispatch` alone touches twisted.web's request. They are Structs, as is all that
is made for each request: a NamedTuple costs three times as much to make.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "JSON",
    "TEXT",
    "Request",
    "Response",
    "error_answer",
    "json_answer",
    "raw_http",
    "readable_answer",
]

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request that has arrived completely.

    :param method: as sent, in capitals for all methods that mean anything
    :param path: the raw path, percent signs and all, without scheme, authority and query
    :param query: the raw query, without the question mark; empty also if there was none
    :param target: path and query exactly as sent, for a redirect that keeps them
    :param secure: whether it came over TLS
    :param body: its bytes
    """

    method: bytes
    path: bytes
    query: bytes
    target: bytes
    secure: bool
    body: bytes


class Response(msgspec.Struct, frozen=True):
    """What is sent back; the length and the position headers are added when it is written.

    :param content_type: empty exactly if the body is
    """

    status: int
    body: bytes = b""
    content_type: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _Error(msgspec.Struct):
    code: str
    message: str


class _ErrorBody(msgspec.Struct):
    error: _Error


def json_answer(value: object, status: int = 200) -> Response:
    """Answer with ``value`` as JSON and a newline, for people with a terminal."""
    return Response(status, msgspec.json.encode(value) + b"\n", JSON)


def readable_answer(value: object) -> Response:
    """Answer with ``value`` as indented JSON: it is long, and people read it."""
    return Response(200, msgspec.json.format(msgspec.json.encode(value)) + b"\n", JSON)


def error_answer(
    status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Response:
    """Answer with an error: JSON for the eye, ``Raftdb-Error`` for a program.

    :param code: a stable name, lower case with underscores
    :param message: what is wrong and what would be right
    """
    body = msgspec.json.encode(_ErrorBody(_Error(code, message))) + b"\n"
    return Response(status, body, JSON, ((b"Raftdb-Error", code.encode()), *headers))


def raw_http(answer: Response) -> bytes:
    """Spell out an answer for a connection that is closed after it."""
    lines = [
        b"HTTP/1.1 %d %b" % (answer.status, _REASONS[answer.status]),
        b"Content-Type: " + answer.content_type,
        b"Content-Length: %d" % len(answer.body),
        b"Connection: close",
        *(b"%b: %b" % header for header in answer.headers),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + answer.body
