"""Ports that are bound before it is known who will answer on them.

A port that is taken has to be noticed before a cluster is founded or joined, but who answers there
depends on how that ends. So a :class:`Listener` listens first and is given its factory later.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IProtocolNegotiationFactory,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port
from twisted.logger import Logger
from zope.interface import implementer

from raftdb.errors import InvalidRequest
from raftdb.node.endpoints import listen_description, resolve_interface
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

    async def open(self, reactor: object, listen: str) -> None:
        """Begin to listen.

        :param listen: as :func:`~raftdb.node.endpoints.listen_description` takes it
        :raises InvalidRequest: where that is not possible
        """
        written = listen_description(listen)
        description = resolve_interface(written)
        try:
            endpoint = serverFromString(reactor, description)
            self._port = cast("Port", await endpoint.listen(self))
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


def _is_hidden(written: str, bound: str) -> bool:
    """Whether a host's name, and no address, was written, and leads no farther than this host."""
    name = written.partition("interface=")[2]
    return (
        written != bound and ":interface=127." in bound and not name.lower().startswith("localhost")
    )
