"""Reads request targets byte for byte: raw paths, percent signs, parameters, keys.

A key must be reachable whatever it contains, so nothing here normalises: no ``..`` is resolved, no
double slash merged, no ``%2F`` taken for a separator. What is malformed is refused, never guessed.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from raftdb.errors import InvalidRequest

__all__ = ["check_key", "parameters", "percent_decode", "percent_escape_non_ascii", "split_target"]

_NON_ASCII = re.compile(rb"[\x80-\xff]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://[^/?]*")


def split_target(target: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a request target into raw path, raw query, and both together as they stood.

    The absolute form that proxies send (RFC 9112, 3.2.2) loses its scheme and authority.
    """
    match = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if match is not None:
        target = target[match.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    path, _, query = target.partition(b"?")
    return path, query, target


def percent_decode(raw: bytes, what: str) -> bytes:
    """Decode percent escapes once; in a path a ``+`` is a plus sign to everybody.

    :param what: names the text in the message
    :raises InvalidRequest: if a percent sign is not followed by two hexadecimal digits
    """
    if b"%" not in raw:
        return raw
    if _BAD_ESCAPE.search(raw) is not None:
        raise InvalidRequest(
            f"{what}: every % must be followed by two hexadecimal digits (% is %25)"
        )
    return unquote_to_bytes(raw)


def parameters(query: bytes, allowed: tuple[str, ...]) -> dict[str, bytes]:
    """Read a query of which every parameter is known and appears once.

    :returns: the decoded value of each parameter given
    :raises InvalidRequest: for an unknown or repeated name: a typo must not weaken a read; and for a
        ``+`` that is not escaped: half of all libraries write a space so, and the other half itself
    """
    found: dict[str, bytes] = {}
    for part in query.split(b"&"):
        if not part:
            continue
        raw_name, _, raw_value = part.partition(b"=")
        name = percent_decode(raw_name, "the query").decode("utf-8", "replace")
        if name not in allowed:
            raise InvalidRequest(
                f"unknown parameter {name!r:.99}; known here: {', '.join(allowed)}"
            )
        if name in found:
            raise InvalidRequest(f"the parameter {name!r} is given more than once")
        if b"+" in raw_value:
            raise InvalidRequest(
                f"the parameter {name!r} has a raw +, which means a space to some and a plus sign to"
                " others: write %20 for a space, %2B for a plus sign"
            )
        found[name] = percent_decode(raw_value, f"the parameter {name!r}")
    return found


def check_key(key: bytes, bytes_max: int) -> bytes:
    """Return ``key`` if it may be one.

    :raises InvalidRequest: if it is empty or longer than ``bytes_max`` bytes
    """
    if not key:
        raise InvalidRequest(f"the key is empty; a key has 1 to {bytes_max} bytes")
    if len(key) > bytes_max:
        raise InvalidRequest(f"the key has {len(key)} bytes; a key has 1 to {bytes_max} bytes")
    return key


def percent_escape_non_ascii(raw: bytes) -> bytes:
    """Return ``raw`` with every byte that is no ASCII escaped, as a Location header has it."""
    return _NON_ASCII.sub(lambda match: b"%%%02x" % match[0][0], raw)
