"""The one type of everything a node wants of Twisted's reactor."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorTime


class Reactor(IReactorCore, IReactorTime, IReactorFromThreads):
    """A clock, sockets by way of endpoints, and calls from threads."""
