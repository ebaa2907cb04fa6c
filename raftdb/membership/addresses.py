"""What a member may be called and where it may live: ids and ``host:port``.

Both are checked before they can reach a log or a redirect, and then kept and shown exactly as they
were given. Names are not resolved here: a member may be announced before its name exists.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from raftdb.errors import InvalidRequest

ADDRESS_CHARACTERS_MAX = 260
"""Of one address: a DNS name has at most 253 characters, a port five."""

ID_CHARACTERS_MAX = 128
"""Of one member id."""

_ID = re.compile(r"[A-Za-z0-9._:@-]+")
_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)


class HostPort(NamedTuple):
    """An address taken apart.

    :param host: a name or an IP address, IPv6 without its brackets
    :param port: ``1 <= port <= 65535``
    """

    host: str
    port: int


def split_address(address: str) -> HostPort:
    """Take ``host:port`` or ``[v6]:port`` apart.

    :raises InvalidRequest: where it is neither; the message says what would be right
    """
    match = _ADDRESS.fullmatch(address) if len(address) <= ADDRESS_CHARACTERS_MAX else None
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        raise InvalidRequest(
            f"{address[:ADDRESS_CHARACTERS_MAX]!r} is no address: it must be host:port, such as"
            " node01.example.org:8091, 192.0.2.1:8091 or [2001:db8::1]:8091"
        )
    return HostPort(match["v6"] or match["host"], int(match["port"]))


def check_address(address: str) -> str:
    """Return ``address`` itself where it is ``host:port``.

    :raises InvalidRequest: where it is not
    """
    split_address(address)
    return address


def check_id(name: str) -> str:
    """Return ``name`` itself where it may be a member's id.

    :raises InvalidRequest: where it may not
    """
    if len(name) > ID_CHARACTERS_MAX or _ID.fullmatch(name) is None:
        raise InvalidRequest(
            f"{name[:ID_CHARACTERS_MAX]!r} cannot be a member's id: it must be 1 to"
            f" {ID_CHARACTERS_MAX} characters of A-Z a-z 0-9 . _ : @ -"
        )
    return name
