"""How a connection to a node comes about: by address or name, over IPv4 or IPv6, with TLS or without.

Twisted's ``HostnameEndpoint`` is not used. It refuses names with an underscore, and it tells that a
connection was refused 0.3 s later than it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
)
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from raftdb.outbound.cause import handshake_failed

__all__ = ["NeverConnected", "Ways"]

NEXT_ADDRESS_S = 0.25
"""A name's next address is tried beside the one before where that has not answered by then [R1]."""
# [R1] RFC 8305, section 5


class NeverConnected(ConnectError):
    """Something failed before there was a connection to send anything on."""

    def __init__(self, string: str) -> None:
        super().__init__(string=string)

    def __str__(self) -> str:
        """Return the reason alone."""
        return str(self.args[0])


@implementer(IAgentEndpointFactory)
class Ways:
    """Twisted's way for each URL.

    :param reactor: Twisted's
    :param connect_timeout_s: for each address of a name
    """

    def __init__(self, reactor: Any, connect_timeout_s: float) -> None:
        self._reactor = reactor
        self._timeout_s = connect_timeout_s
        self._policy = BrowserLikePolicyForHTTPS()

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802  # twisted.web's name
        """Return the way to whoever a URL names."""
        host = uri.host.decode("ascii")
        plain = self._plain(host, uri.port)
        if uri.scheme == b"http":
            return plain
        creator = self._policy.creatorForNetloc(uri.host, uri.port)
        return cast("IStreamClientEndpoint", _Shaken(wrapClientTLS(creator, plain)))

    def _plain(self, host: str, port: int) -> IStreamClientEndpoint:
        if isIPAddress(host):
            return TCP4ClientEndpoint(self._reactor, host, port, self._timeout_s)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self._reactor, host, port, self._timeout_s)
        return cast("IStreamClientEndpoint", _Named(self._reactor, host, port, self._plain))


@implementer(IStreamClientEndpoint)
class _Named:
    """All addresses of a name, in the resolver's order; the first that answers has won."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        plain: Callable[[str, int], IStreamClientEndpoint],
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._plain = plain

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803  # Twisted's name
        """Resolve, then dial."""
        race = _Race(self._reactor, self._host, self._port, self._dial(protocolFactory))
        self._reactor.nameResolver.resolveHostName(race, self._host, portNumber=self._port)
        return race.won

    def _dial(self, factory: IProtocolFactory) -> Callable[[str], Deferred[IProtocol]]:
        return lambda address: self._plain(address, self._port).connect(factory)


@implementer(IResolutionReceiver)
class _Race:
    """The addresses of one name, dialled one after the other until one answers.

    :ivar won: fires with the protocol that was connected first, or with the last failure
    """

    def __init__(
        self, reactor: Any, host: str, port: int, dial: Callable[[str], Deferred[IProtocol]]
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._dial = dial
        self._left: list[str] = []
        self._pending: list[Deferred[IProtocol]] = []
        self._timer: IDelayedCall | None = None
        self._over = False
        self.won: Deferred[IProtocol] = Deferred(self._cancelled)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803  # Twisted's names
        """Nothing to do: what is resolved can not be taken back."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802  # Twisted's name
        """Note an address."""
        if isinstance(address, IPv4Address | IPv6Address):
            self._left.append(address.host)

    def resolutionComplete(self) -> None:  # noqa: N802  # Twisted's name
        """Begin with the first address."""
        self._left.reverse()
        if not self._left:
            self._finish(Failure(DNSLookupError(f"the name {self._host} has no address")))
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._over or not self._left:
            return
        address = self._left.pop()
        if self._left:
            self._timer = self._reactor.callLater(NEXT_ADDRESS_S, self._go_on)
        dialled = self._dial(address)
        self._pending.append(dialled)
        dialled.addCallbacks(self._connected, self._failed, (dialled,), errbackArgs=(dialled,))

    def _connected(self, protocol: IProtocol, dialled: Deferred[IProtocol]) -> None:
        self._pending.remove(dialled)
        self._finish(protocol)

    def _failed(self, failure: Failure, dialled: Deferred[IProtocol]) -> None:
        self._pending.remove(dialled)
        if self._over:
            return
        if self._left:
            self._stop_timer()
            self._go_on()
        elif not self._pending:
            self._finish(failure)

    def _cancelled(self, _won: Deferred[IProtocol]) -> None:
        name = HostnameAddress(self._host.encode("ascii"), self._port)
        self._finish(Failure(ConnectingCancelledError(name)))

    def _finish(self, result: IProtocol | Failure) -> None:
        if self._over:
            return
        self._over = True
        self._stop_timer()
        for dialled in self._pending[:]:
            dialled.cancel()
        self.won.callback(result)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


@implementer(IStreamClientEndpoint)
class _Shaken:
    """A way over TLS that is connected when both sides have shaken hands, not before.

    twisted.web would write its request into a handshake that fails, and nobody could tell
    afterwards that it never left.
    """

    def __init__(self, tls: IStreamClientEndpoint) -> None:
        self._tls = tls

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803  # Twisted's name
        """Dial and shake hands."""
        greeters: list[_Greeter] = []
        shaken: Deferred[IProtocol] = Deferred(lambda _: _give_up(dialled, greeters))

        def failed(failure: Failure) -> None:
            if not shaken.called:
                shaken.errback(failure)

        def connected(protocol: IProtocol) -> None:
            greeters.append(cast("_Greeter", protocol))

        dialled = self._tls.connect(Factory.forProtocol(lambda: _Greeter(protocolFactory, shaken)))
        dialled.addCallbacks(connected, failed)
        return shaken


def _give_up(dialled: Deferred[IProtocol], greeters: Iterable[_Greeter]) -> None:
    dialled.cancel()
    for greeter in greeters:
        greeter.give_up()


@implementer(IHandshakeListener)
class _Greeter(Protocol):
    """Stands between TLS and HTTP, and lets HTTP begin when the handshake is done."""

    _inner: IProtocol | None = None

    def __init__(self, factory: IProtocolFactory, shaken: Deferred[IProtocol]) -> None:
        self._factory = factory
        self._shaken = shaken

    def handshakeCompleted(self) -> None:  # noqa: N802  # Twisted's name
        """Begin."""
        if self._shaken.called:
            return
        transport = cast("Any", self.transport)
        self._inner = cast("IProtocol", self._factory.buildProtocol(transport.getPeer()))
        self._inner.makeConnection(transport)
        self._shaken.callback(self._inner)

    def dataReceived(self, data: bytes) -> None:  # Twisted's name
        """Pass on."""
        assert self._inner is not None, "data before the handshake"
        self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # Twisted's name
        """Pass on, or tell that there never was a connection for HTTP."""
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self._shaken.called:
            self._shaken.errback(Failure(NeverConnected(handshake_failed(reason.value))))

    def give_up(self) -> None:
        """End the waiting."""
        if not self._shaken.called:
            text = "the TLS handshake was not answered; a port without TLS takes http:// alone"
            self._shaken.errback(Failure(NeverConnected(text)))
            cast("Any", self.transport).abortConnection()
