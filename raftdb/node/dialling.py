"""A host's name dialled at all of its addresses, IPv4 and IPv6: the first that answers wins.

The listening side binds whatever its name resolves to, so the dialling side must try whatever it
resolves to. Twisted's endpoint for names is not used: it keeps to its pace where an address has
refused, and ends with the error of the last address alone, while *refused* is evidence here [R10].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError, NoRouteError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

ADDRESSES_MAX: Final = 16
"""Of one name; further ones are not tried."""


@implementer(IStreamClientEndpoint)
class EveryAddress:
    """Reaches whoever listens at one of the addresses of ``host``.

    :param clock: for the pace
    :param resolver: resolves names, and is asked once at a time: a name server that hangs must not
        take a thread for every attempt
    :param host: a name
    :param endpoint: makes the way to one address
    :param pace_s: after which the next address is tried besides one that does not answer
    """

    def __init__(
        self,
        clock: IReactorTime,
        resolver: IReactorPluggableNameResolver,
        host: str,
        *,
        endpoint: Callable[[str], IStreamClientEndpoint],
        pace_s: float,
    ) -> None:
        self._clock = clock
        self._resolver = resolver
        self._host = host
        self._endpoint = endpoint
        self._pace_s = pace_s
        self._waiting: list[Deferred[list[str]]] | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Dial; fails with ConnectionRefusedError only where every address has refused.

        An address to which this host has no route at all says nothing, as long as others refuse.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        addresses = await self._addresses()
        if not addresses:
            raise DNSLookupError(f"{self._host} has no address")
        endpoints = [self._endpoint(address) for address in addresses]
        return await _Race(self._clock, endpoints, factory, self._pace_s).run()

    def _addresses(self) -> Deferred[list[str]]:
        """Return the host's addresses, IPv4 first, as who listens on a name prefers it."""
        waiter: Deferred[list[str]] = Deferred()
        if self._waiting is not None:
            self._waiting.append(waiter)
        else:
            self._waiting = [waiter]
            self._resolver.nameResolver.resolveHostName(_Found(self._resolved), self._host)
        return waiter

    def _resolved(self, found: list[IAddress]) -> None:
        v4 = [one.host for one in found if isinstance(one, IPv4Address)]
        v6 = [one.host for one in found if isinstance(one, IPv6Address)]
        addresses = list(dict.fromkeys(v4 + v6))[:ADDRESSES_MAX]
        waiting, self._waiting = self._waiting or [], None
        for waiter in waiting:
            if not waiter.called:  # else nobody waits for it any more
                waiter.callback(addresses)


@implementer(IResolutionReceiver)
class _Found:
    """Gathers what a resolver finds."""

    def __init__(self, done: Callable[[list[IAddress]], None]) -> None:
        self._done = done
        self._addresses: list[IAddress] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Take note of nothing: it is never cancelled, the next attempt may need it."""

    def addressResolved(self, address: IAddress) -> None:
        """Take an address."""
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        """Hand over what was found, perhaps nothing."""
        self._done(self._addresses)


class _Race:
    """Attempts at several addresses, one after the other, until one connects or all have failed.

    :param endpoints: at least one
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoints: Sequence[IStreamClientEndpoint],
        factory: IProtocolFactory,
        pace_s: float,
    ) -> None:
        self._clock = clock
        self._factory = factory
        self._pace_s = pace_s
        self._untried = deque(endpoints)
        self._attempts: dict[int, Deferred[IProtocol]] = {}
        self._errors: list[Failure] = []
        self._timer: IDelayedCall | None = None
        self._over = False
        self._winner: Deferred[IProtocol] = Deferred(lambda _: self._end())

    def run(self) -> Deferred[IProtocol]:
        """Begin; fires with the first connection, or fails with what all attempts came to."""
        self._try_next()
        return self._winner

    def _try_next(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        number = len(self._untried)
        endpoint = self._untried.popleft()
        if self._untried:
            self._timer = self._clock.callLater(self._pace_s, self._try_next)
        attempt = endpoint.connect(self._factory)
        self._attempts[number] = attempt
        attempt.addCallbacks(
            self._connected, self._failed, callbackArgs=(number,), errbackArgs=(number,)
        )

    def _connected(self, protocol: IProtocol, number: int) -> None:
        del self._attempts[number]
        self._end()
        self._winner.callback(protocol)

    def _failed(self, failure: Failure, number: int) -> None:
        self._attempts.pop(number, None)
        if self._over:
            return
        self._errors.append(failure)
        if self._untried:
            self._try_next()
        elif not self._attempts:
            self._end()
            self._winner.errback(_verdict(self._errors))

    def _end(self) -> None:
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for attempt in list(self._attempts.values()):
            attempt.cancel()


def _verdict(errors: Sequence[Failure]) -> Failure:
    """Return the error that stands for all: a refusal only where nothing else speaks against it."""
    telling = [error for error in errors if not error.check(NoRouteError)]
    others = [error for error in telling if not error.check(Refused)]
    return (others or telling or list(errors))[0]
