"""A connection that sends at once what the kernel takes at once.

Twisted's keeps what is written until the reactor finds the socket writable: two calls of epoll_ctl
and a way through the reactor for each answer, 4 of the 14 us that an exchange over a bare connection
costs. The rest, and everything out of the ordinary, is Twisted's as before.
"""

from __future__ import annotations

from twisted.internet.interfaces import IListeningPort
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ClientFactory
from twisted.internet.tcp import Client, Connection, Connector, Port, Server
from zope.interface import directlyProvides, providedBy

__all__ = ["ImmediateClient", "ImmediateServer", "make_prompt", "prompt_reactor"]


class _Immediate(Connection):
    """One connection.

    Invariant: bytes leave in the order they were written, so nothing is sent past what still waits.
    """

    def write(self, data: bytes) -> None:
        """Send ``data``, now as far as possible."""
        # Whether nothing waits, nothing ends, and nobody counts on a turn of the reactor.
        if not (
            self.dataBuffer
            or self._tempDataBuffer
            or not self.connected
            or self.disconnecting
            or self._writeDisconnecting
            or self._writeDisconnected
            or (self.producer is not None and not self.streamingProducer)
        ):
            try:
                sent = self.socket.send(data)
            except OSError:
                # The kernel is full, or it is no matter of the writer's: the reactor meets the error
                # with what is kept, and tells the protocol in a call of its own.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)


class ImmediateServer(_Immediate, Server):
    """A connection that was accepted."""


class ImmediateClient(_Immediate, Client):
    """A connection that was dialled."""


def make_prompt(port: IListeningPort) -> None:
    """Have what ``port`` accepts from now on send at once, if it is TCP, with TLS on top or not."""
    if isinstance(port, Port) and port.transport is Server:
        port.transport = ImmediateServer


def prompt_reactor(reactor: object) -> object:
    """Return a reactor whose dialled TCP connections send at once; any other one as it is."""
    return _ImmediateReactor(reactor) if isinstance(reactor, PosixReactorBase) else reactor


class _ImmediateReactor:
    """A reactor in all but the class of its connections."""

    def __init__(self, reactor: PosixReactorBase) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> object:
        return getattr(self._reactor, name)

    def connectTCP(  # Twisted's name
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,  # Twisted's name
    ) -> Connector:
        """Dial, as the reactor does."""
        connector = _ImmediateConnector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector


class _ImmediateConnector(Connector):
    def _makeTransport(self) -> Client:  # Twisted's name
        return ImmediateClient(self.host, self.port, self.bindAddress, self, self.reactor)
