"""Ports that are bound before it is known who will answer on them.

A port that is taken has to be noticed before a cluster is founded or joined, but who answers there
depends on how that ends. So a :class:`Listener` listens first and is given its factory later.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorSocket,
    IReactorThreads,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.tcp import Port
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from raftdb.errors import InvalidRequest
from raftdb.node.endpoints import (
    everywhere,
    interface_name,
    listen_description,
    resolve_interface,
)
from raftdb.reactor.epoll_pass import hand_on
from raftdb.reactor.immediate_write import make_prompt

BACKLOG = 4096
"""How many connections may wait to be accepted; the kernel lowers it to what it allows itself.

Twisted's default is 50. When a service with hundreds of connections comes to a new leader, the kernel
would drop the rest of them, and each would try again after 0.2 s, 0.6 s, more than a second.
"""

ACCEPTS_MAX = 16
"""How many connections are accepted in one pass of the reactor.

Twisted accepts a hundred, and twenty more with each pass that finds as many: under a flood of
connections single passes grew to half a second, and heartbeats waited behind them.
"""

RESOLVE_PAUSE_S = 0.5
"""Between two questions for the address of a host's own name."""

RESOLVE_TOLD_S = 5.0
"""Between two lines in the log about that."""

LAST_ACCEPTS = BACKLOG // ACCEPTS_MAX
"""How often the port's queue is looked into before it is closed."""


@implementer(IProtocolNegotiationFactory)
class Listener(Factory):
    """Passes each new connection to the factory that answers at the moment.

    :param purpose: for whom it is, as the log says it
    :param protocols: what is spoken behind it, by the names that TLS has for them (ALPN, RFC 7301)
    """

    _log = Logger()
    noisy = False

    def __init__(self, purpose: str, protocols: tuple[bytes, ...] = ()) -> None:
        self._purpose = purpose
        self._protocols = protocols
        self._behind: IProtocolFactory | None = None
        self._port: Port | None = None

    async def open(self, reactor: object, listen: str, *, patience_s: float = 0.0) -> None:
        """Begin to listen.

        :param listen: as :func:`~raftdb.node.endpoints.listen_description` takes it
        :param patience_s: how long a host name may have no address
        :raises InvalidRequest: where that is not possible
        """
        written = listen_description(listen)
        description = await self._resolve(reactor, written, patience_s)
        try:
            self._port = cast("Port", await _listen(reactor, description, self))
            make_prompt(self._port)
            _accept_few(self._port)
            if "backlog=" not in description and isinstance(self._port, Port):
                self._port.socket.listen(BACKLOG)
            hand_on(reactor)
        except (CannotListenError, ValueError, TypeError, OSError, KeyError) as error:
            raise InvalidRequest(
                f"cannot listen for {self._purpose} on {description}: {error}"
            ) from error
        self._log.info("listening for {who} on {where}", who=self._purpose, where=description)
        if _is_hidden(written, description):
            self._log.warn(
                "{name} is a loopback address here, as Debian writes it into /etc/hosts: other"
                " hosts cannot reach this node's port for {who}; give --hlisten or --rlisten",
                name=written.partition("interface=")[2],
                who=self._purpose,
            )

    async def _resolve(self, reactor: object, written: str, patience_s: float) -> str:
        """Wait until the host's name has an address: a network may come up after the node."""
        name = interface_name(written)
        if name is None:
            return written
        left_s, tell_at_s = patience_s, patience_s
        while True:
            try:
                return await _in_a_thread(reactor, written)
            except OSError as error:
                if left_s <= 0:
                    raise InvalidRequest(
                        f"cannot listen on {name}: {error}. Give an address of this host with"
                        " --hlisten or --rlisten; the advertised address may differ from it"
                    ) from error
                if left_s <= tell_at_s:
                    tell_at_s = left_s - RESOLVE_TOLD_S
                    self._log.warn(
                        "cannot listen for {who} yet: {name} has no address ({error}); going on to"
                        " try for {left:.0f} s",
                        who=self._purpose,
                        name=name,
                        error=error,
                        left=left_s,
                    )
            left_s -= RESOLVE_PAUSE_S
            await deferLater(cast("IReactorTime", reactor), RESOLVE_PAUSE_S)

    def lead_to(self, factory: IProtocolFactory) -> None:
        """Let ``factory`` answer from now on; connections made before stay where they are."""
        if self._behind is not None:
            self._behind.doStop()
        self._behind = factory
        factory.doStart()

    async def close(self) -> None:
        """Accept nothing new; what is connected stays connected.

        Who has connected as far as the kernel knows is let in first: closing the port would reset
        the connection, and the client could not tell whether its request had been read.
        """
        port, self._port = self._port, None
        if port is None:
            return
        for _ in range(LAST_ACCEPTS):
            port.doRead()  # Twisted accepts only a few at a time
        await maybeDeferred(port.stopListening)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Answer a connection, or hang up where nobody is there to answer."""
        if self._behind is None or addr is None:
            return None
        return cast("Protocol | None", self._behind.buildProtocol(addr))

    def acceptableProtocols(self) -> list[bytes]:
        """Name what is spoken here, before it is known who will answer.

        Without it TLS ends in an alert with every client that asks, as curl does.
        """
        return list(self._protocols)

    def stopFactory(self) -> None:
        """Take leave of who answered."""
        if self._behind is not None:
            self._behind.doStop()
            self._behind = None


def _accept_few(port: IListeningPort) -> None:
    if not isinstance(port, Port):
        return
    accept = port.doRead

    def accept_few() -> object:
        port.numberAccepts = min(port.numberAccepts, ACCEPTS_MAX)
        return accept()

    vars(port)["doRead"] = accept_few


async def _in_a_thread(reactor: object, description: str) -> str:
    """Resolve without holding the reactor up, where it has threads: a signal may come meanwhile."""
    if not IReactorThreads.providedBy(reactor):
        return resolve_interface(description)
    return await deferToThreadPool(reactor, reactor.getThreadPool(), resolve_interface, description)


async def _listen(reactor: object, description: str, factory: Listener) -> IListeningPort:
    """Listen; on every address of both families where that is meant, whatever the system's habit."""
    port = everywhere(description)
    if port is not None and IReactorSocket.providedBy(reactor):
        with suppress(_NoIPv6), _on_every_address(port) as listener:
            return reactor.adoptStreamPort(
                listener.fileno(),
                socket.AF_INET6,
                factory,  # type: ignore[arg-type]  # a Factory is all that is used of it
            )
        description = f"tcp:{port}"
    return cast("IListeningPort", await serverFromString(reactor, description).listen(factory))


class _NoIPv6(Exception):
    """This system has none."""


def _on_every_address(port: int) -> socket.socket:
    """Return a socket that listens to IPv6 and IPv4; it does not block.

    :raises _NoIPv6: where the system has none
    :raises OSError: where the port is taken
    """
    try:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError as error:
        raise _NoIPv6 from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            raise _NoIPv6 from error
        raise
    return listener


def _is_hidden(written: str, bound: str) -> bool:
    """Whether a host's name, and no address, was written, and leads no farther than this host."""
    name = written.partition("interface=")[2]
    return (
        written != bound and ":interface=127." in bound and not name.lower().startswith("localhost")
    )
