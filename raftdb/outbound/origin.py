"""What people write for a node's HTTP address, as ``scheme://host:port``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hyperlink import EncodedURL
from twisted.internet.abstract import isIPv6Address

from raftdb.errors import InvalidRequest

__all__ = ["DEFAULT_PORT", "http_origin", "http_origins"]

DEFAULT_PORT = 8091
"""Of an address without a scheme; a URL has its scheme's."""

_PORTS = {"http": 80, "https": 443}
_CHARACTERS_MAX = 300
_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[\w.-]{1,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?/?",
)


def http_origin(text: object) -> str:
    """Return one address as ``scheme://host:port``; IPv6 keeps its brackets.

    :param text: ``host``, ``host:port``, ``[v6]:port`` or a URL without a path; space around it is
        ignored, so that a line's end in a script's variable does no harm
    :raises InvalidRequest: where it is none of them; the message says what would be right
    """
    if not isinstance(text, str):
        raise InvalidRequest(
            f"an endpoint is a text such as localhost:8091, not {type(text).__name__}"
        )
    stripped = text.strip()
    match = _ADDRESS.fullmatch(stripped) if len(stripped) <= _CHARACTERS_MAX else None
    if match is None or (match["v6"] and not isIPv6Address(match["v6"])):
        raise InvalidRequest(_wrong(stripped))
    scheme = match["scheme"]
    port = int(match["port"]) if match["port"] else _PORTS.get(scheme, DEFAULT_PORT)
    if not 1 <= port <= 65_535:
        raise InvalidRequest(_wrong(stripped))
    host = f"[{match['v6']}]" if match["v6"] else _ascii(match["host"], stripped)
    return f"{scheme or 'http'}://{host}:{port}"


def http_origins(endpoints: object) -> tuple[str, ...]:
    """Return several addresses, each once, in the order given.

    :param endpoints: a text, in which commas separate them, or an iterable of such texts
    :raises InvalidRequest: where one of them is none, or where there is none at all
    """
    if isinstance(endpoints, str):
        endpoints = (endpoints,)
    if not isinstance(endpoints, Iterable) or isinstance(endpoints, (bytes, bytearray)):
        raise InvalidRequest(
            f"endpoints are texts such as localhost:8091, not {type(endpoints).__name__}"
        )
    found: dict[str, None] = {}
    for several in endpoints:
        if not isinstance(several, str):
            http_origin(several)  # which says what is wrong
            continue
        if not several.strip(", \t\r\n"):
            raise InvalidRequest(_wrong(several))
        for one in several.split(","):
            if one.strip():
                found[http_origin(one)] = None
    if not found:
        raise InvalidRequest("a client needs at least one endpoint, such as localhost:8091")
    return tuple(found)


def _ascii(host: str, text: str) -> str:
    """Return a name as the network knows it; only names beyond ASCII are IDNA's business."""
    if host.isascii():
        return host
    try:
        return str(EncodedURL(scheme="http", host=host).to_uri().host)
    except UnicodeError as bad:
        raise InvalidRequest(f"{_wrong(text)} ({bad})") from bad


def _wrong(text: str) -> str:
    return (
        f"{text[:_CHARACTERS_MAX]!r} is no endpoint; one is HOST:PORT, [IPV6]:PORT or"
        " http://HOST:PORT, such as localhost:8091 or [::1]:8091"
    )
