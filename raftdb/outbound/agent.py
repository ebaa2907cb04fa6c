"""treq's and twisted.web's parts, put together so that nothing is repeated, renamed or logged."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Self

from hyperlink import EncodedURL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, _HTTP11ClientFactory

from raftdb.outbound.ways import NeverConnected, Ways

__all__ = ["HttpPool", "http_agent", "verbatim"]


class _QuietFactory(_HTTP11ClientFactory):
    """Twisted's, without two log lines a connection."""

    noisy = False


class HttpPool(HTTPConnectionPool):
    """Connections; whatever fails before there is one is a ``ConnectError`` or its kin.

    :param reactor: Twisted's
    :param keep: how many to one node are kept open when nothing is asked on them
    :param keep_s: for how long
    """

    _factory = _QuietFactory
    retryAutomatically = False  # noqa: N815  # Twisted's name

    def __init__(self, reactor: Any, *, keep: int = 0, keep_s: int = 0) -> None:
        super().__init__(reactor, persistent=keep > 0)
        self.maxPersistentPerHost = keep
        self.cachedConnectionTimeout = keep_s

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Deferred[Any]:  # noqa: N802  # Twisted's name
        """Return a connection that nothing was sent on yet."""
        return super().getConnection(key, endpoint).addErrback(_never_connected)


def http_agent(reactor: Any, pool: HTTPConnectionPool, connect_timeout_s: float) -> Agent:
    """Make an agent that reaches every :func:`~raftdb.outbound.origin.http_origin`."""
    agent: Agent = Agent.usingEndpointFactory(reactor, Ways(reactor, connect_timeout_s), pool)
    return agent


class _Verbatim(EncodedURL):
    """A URL that is ASCII already: treq need not, and must not, take its host for an IDNA name."""

    def to_uri(self) -> Self:
        """Return itself."""
        return self


def verbatim(url: str) -> EncodedURL:
    """Return a percent-encoded URL as treq sends it without a change.

    :raises ValueError: if it cannot be parsed
    """
    return _Verbatim.from_text(url)


def _never_connected(failure: Failure) -> Failure:
    if failure.check(ConnectError, ConnectingCancelledError, DNSLookupError):
        return failure
    raise NeverConnected(str(failure.value) or type(failure.value).__name__) from failure.value
