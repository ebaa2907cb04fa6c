"""An end to all waiting with one timer: everybody waits equally long, so the first one is due first.

A timer for each request costs more than its way through the whole core.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")


class RequestDeadlines(Generic[T]):
    """Cancels what has not fired in time.

    :param clock: monotonic
    :param patience_s: how long each may take
    """

    def __init__(self, clock: IReactorTime, patience_s: float) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._until: dict[Deferred[T], float] = {}  # in the order of the deadlines
        self._call: IDelayedCall | None = None

    def begin(self, deferred: Deferred[T]) -> None:
        """Cancel ``deferred`` in time, unless :meth:`end` comes before."""
        self._until[deferred] = self._clock.seconds() + self._patience_s
        if self._call is None:
            self._call = self._clock.callLater(self._patience_s, self._due)

    def end(self, deferred: Deferred[T]) -> None:
        """Forget ``deferred``; harmless if it is not known."""
        self._until.pop(deferred, None)

    def _due(self) -> None:
        self._call = None
        now_s = self._clock.seconds()
        for deferred, until_s in list(self._until.items()):
            if until_s > now_s:
                if self._call is None:
                    self._call = self._clock.callLater(until_s - now_s, self._due)
                break
            self._until.pop(deferred, None)
            deferred.cancel()
