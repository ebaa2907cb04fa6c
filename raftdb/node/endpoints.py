"""Addresses as Twisted's endpoints: what to listen on, how to dial, with TLS as configuration.

Whoever writes ``host:port`` gets TCP; whoever writes an endpoint description gets what it says.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address
from string import Formatter
from typing import cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import TCP4ClientEndpoint, clientFromString
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IReactorTime,
    IStreamClientEndpoint,
)

from raftdb.errors import InvalidRequest
from raftdb.membership import split_address
from raftdb.node.dialling import EveryAddress
from raftdb.reactor.immediate_write import prompt_reactor

EVERY_ADDRESS = "tcp:host={host}:port={port}"
"""How peers are dialled where nobody wants it otherwise."""

_DESCRIPTION = re.compile(r"(tcp|tcp4|tcp6|ssl|tls|unix|systemd|fd|haproxy):.+", re.DOTALL)
_NAMED = re.compile(r"(tcp:\d+:interface=)([A-Za-z0-9._-]+)")
_DOTTED = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_PORT_ONLY = re.compile(r":([0-9]{1,5})")


def listen_description(listen: str) -> str:
    """Return the endpoint description for what the operator wrote.

    :param listen: a description (``tcp:8091``, ``ssl:443:privateKey=…``), ``host:port`` to listen on
        that host's address, or ``:port`` to listen on every address
    :raises InvalidRequest: where it is none of them
    """
    if _DESCRIPTION.fullmatch(listen):
        return listen
    if match := _PORT_ONLY.fullmatch(listen):
        return f"tcp:{split_address(f'localhost:{match[1]}').port}:interface={_escaped('::')}"
    host, port = split_address(listen)
    return f"tcp:{port}:interface={_escaped(host)}"


def everywhere(description: str) -> int | None:
    """Return the port of a description that means every address, IPv4 and IPv6; else None."""
    match = re.fullmatch(r"tcp:(\d+):interface=\\:\\:", description)
    return int(match[1]) if match else None


def interface_name(description: str) -> str | None:
    """Return the host name in ``interface=``, which has to be resolved; None for an address."""
    match = _NAMED.fullmatch(description)
    return match[2] if match and not _DOTTED.fullmatch(match[2]) else None


def resolve_interface(description: str) -> str:
    """Return the description with a host name in ``interface=`` replaced by its address.

    Sockets are bound to addresses. It blocks on the resolver: call it in a thread.

    :raises OSError: where the name has no address now
    """
    match = _NAMED.fullmatch(description)
    if match is None:
        return description
    found = socket.getaddrinfo(match[2], None, type=socket.SOCK_STREAM)
    addresses = {family: str(sockaddr[0]) for family, _, _, _, sockaddr in reversed(found)}
    address = addresses.get(socket.AF_INET) or addresses[socket.AF_INET6]
    return match[1] + _escaped(address)


def check_advertised(address: str, *, listen: str) -> str:
    """Return ``address`` where others can be told to go there.

    :param listen: the option that says where to listen
    :raises InvalidRequest: where it is no ``host:port``, or its host stands for every address
    """
    host, port = split_address(address)
    if _is_wildcard(host):
        raise InvalidRequest(
            f"{address} stands for every address, and others are told to go there: give a name or"
            f" an address of this host here, and {listen} :{port} to listen on every address"
        )
    return address


def _is_wildcard(host: str) -> bool:
    try:
        found = ip_address(host)
    except ValueError:
        try:
            return socket.inet_aton(host) == bytes(4)  # 0, 0.0, 0x0: what resolvers take for it
        except OSError:
            return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_unspecified
    return found.is_unspecified


def check_dial_template(template: str) -> str:
    """Return ``template`` where it names ``{host}`` and ``{port}`` and nothing else.

    :raises InvalidRequest: where it does not
    """
    try:
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError:
        names = set()
    if names != {"host", "port"} or not _DESCRIPTION.fullmatch(template):
        raise InvalidRequest(
            "--rdial must be a client endpoint with {host} and {port}, such as"
            " tcp:host={host}:port={port} or tls:{host}:{port}:trustRoots=/etc/raftdb"
        )
    return template


def dial(
    reactor: object, template: str, address: str, *, pace_s: float = 0.05
) -> IStreamClientEndpoint:
    """Return the endpoint that reaches the peer at ``address``.

    :param template: as checked by :func:`check_dial_template`; with :data:`EVERY_ADDRESS` a name is
        dialled at all of its addresses, any other does what Twisted does with it
    :param address: ``host:port``
    :param pace_s: after which the next of several addresses is tried
    """
    host, port = split_address(address)
    if template == EVERY_ADDRESS and not _is_ip(host):
        return EveryAddress(
            cast("IReactorTime", reactor),
            cast("IReactorPluggableNameResolver", reactor),
            host,
            endpoint=lambda ip: TCP4ClientEndpoint(prompt_reactor(reactor), ip, port),
            pace_s=pace_s,
        )
    description = template.format(host=_escaped(host), port=port)
    endpoint: IStreamClientEndpoint = clientFromString(prompt_reactor(reactor), description)
    return endpoint


def _is_ip(host: str) -> bool:
    return isIPAddress(host) or isIPv6Address(host)


def _escaped(host: str) -> str:
    """Write an IPv6 address as endpoint descriptions want it."""
    return host.replace(":", "\\:")
