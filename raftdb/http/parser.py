"""Recognises the plain request: whole, alone, and with nothing in it that needs a second thought.

Nearly all requests of a program are plain, and to see that takes two searches and a look into a
cache of header blocks, a tenth of what a general parser does line by line. This is no parser of
HTTP: whatever is not as plain as can be is left to twisted.web's, of which not a byte has been taken
by then. So nothing can be smuggled past it: a plain request ends exactly where the bytes end, and
every header that could say otherwise makes it not plain.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache

import msgspec

__all__ = ["Plain", "read_plain"]

_HEAD_BYTES_MAX = 4096
_FIELDS_MAX = 100
"""Both far within twisted.web's limits, so that what is beyond one of them goes to twisted.web."""

_LINE = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (/[!-~]*+) HTTP/1\.1")
"""It takes nothing back once it has it (``*+``), as no expression may that meets a stranger's bytes."""
_TOKEN = b"!#$%&'*+-.^_`|~" + (string.digits + string.ascii_letters).encode()
_DIGITS = string.digits.encode()
_LENGTH_DIGITS_MAX = 9
_NO_VALUE = (b"\x00", b"\r", b"\n")
_NEVER_PLAIN = {b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"}


class Plain(msgspec.Struct, frozen=True, gc=False):
    """One whole request, which keeps its connection open.

    :param target: begins with a slash; visible ASCII
    """

    method: bytes
    target: bytes
    body: bytes


def read_plain(data: bytes) -> Plain | None:
    """Return the request that ``data`` is, no more and no less, or None if it is not plain."""
    end = data.find(b"\r\n\r\n", 0, _HEAD_BYTES_MAX)
    if end < 0:
        return None
    line_end = data.find(b"\r\n")
    line = _LINE.fullmatch(data, 0, line_end)
    if line is None:
        return None
    body_begin = end + 4
    length = _body_length(data[line_end:end])
    if length is None or body_begin + length != len(data):
        return None
    return Plain(line[1], line[2], data[body_begin:])


@lru_cache(maxsize=256)
def _body_length(fields: bytes) -> int | None:
    """Return how long the body is by these header fields, None where they are not plain.

    A client sends the same fields with every request of a kind, so nearly all are found in the
    cache; it holds at most 256 blocks of 4 KiB.

    :param fields: lines, each with CR LF in front
    """
    length: int | None = None
    lines = fields.split(b"\r\n")[1:]
    if len(lines) > _FIELDS_MAX:
        return None
    for line in lines:
        field = _field(line)
        if field is None:
            return None
        name, value = field
        if name in _NEVER_PLAIN or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        if name == b"content-length":
            if length is not None or not _is_length(value):
                return None
            length = int(value)
    return length or 0


def _field(line: bytes) -> tuple[bytes, bytes] | None:
    """Return a header field's name, in small letters, and its value; None for what is not plain.

    Every step looks at each byte once. An expression with blanks on both sides of a lazy value
    tried every way to share a row of blanks out among the three: 4 KiB of them took a minute.
    """
    name, colon, value = line.partition(b":")
    if not (name and colon) or name.translate(None, _TOKEN):
        return None
    if any(one in value for one in _NO_VALUE):
        return None
    return name.lower(), value.strip(b" \t")


def _is_length(value: bytes) -> bool:
    return 0 < len(value) <= _LENGTH_DIGITS_MAX and not value.translate(None, _DIGITS)
