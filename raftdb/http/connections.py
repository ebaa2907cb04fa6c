"""All connections of a site: how many there may be, and which one gives way to a new one.

Connections that wait for nothing must not keep a client out, and no crowd may keep health and the
cluster's own requests out. So an idle connection gives way to a new one; where none is idle, a few
more are let in to ask what is urgent; and where those are too many, the oldest of them goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from raftdb.http.limits import Limits

__all__ = ["Connection", "Connections"]

Age = tuple[int, float]
"""What ranks connections that may go: the smallest goes first."""


class Connection(Protocol):
    """What this module has to know of a connection."""

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is heard on it."""

    def idleness(self) -> Age | None:
        """Return how little is lost with it, or None while a request is under way."""

    def uselessness(self) -> Age | None:
        """Return the same where even a request that has begun may be lost, or None."""

    def give_way(self) -> None:
        """End it, saying why."""

    def abort(self) -> None:
        """End it at once."""


class Connections:
    """The connections that are open, in the order of their coming.

    :param limits: ``connections_max`` and ``refusals_max`` are of interest here
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[Connection, None] = {}

    def __len__(self) -> int:
        """Return how many are open, those included that are ending."""
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        """Yield those that were open at the beginning."""
        return iter(list(self._open))

    def make_room(self) -> bool:
        """Have room for one more, whatever it wants; False if all are at work for someone."""
        if len(self._open) < self._limits.connections_max + self._limits.refusals_max:
            return True
        victim = self._first(lambda one: one.uselessness())
        if victim is None:
            return False
        self.remove(victim)
        victim.abort()
        return True

    def add(self, connection: Connection) -> bool:
        """Take note of a connection; False if it is one too many, and may ask only what is urgent."""
        self._open[connection] = None
        if len(self._open) <= self._limits.connections_max:
            return True
        heard = sum(not one.is_ending for one in self._open)
        if heard <= self._limits.connections_max:
            return True
        victim = self._first(lambda one: None if one is connection else one.idleness())
        if victim is None:
            return False
        victim.give_way()
        return True

    def remove(self, connection: Connection) -> None:
        """Forget a connection; harmless if it is not known."""
        self._open.pop(connection, None)

    def _first(self, age: Callable[[Connection], Age | None]) -> Connection | None:
        """Return the connection that ranks first, of those that are ranked at all."""
        ranked = ((age(one), one) for one in self._open)
        chosen: tuple[Age, Connection] | None = None
        for rank, one in ranked:
            if rank is not None and (chosen is None or rank < chosen[0]):
                chosen = (rank, one)
        return None if chosen is None else chosen[1]
