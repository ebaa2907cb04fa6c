"""How many requests of one client are under way at one node: the others wait for a place.

A thousand writes at once are a thousand connections otherwise, more than a node takes, and most of
them end in refusals and doubt.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from raftdb.errors import Overloaded

__all__ = ["Places"]


class Places:
    """So many places at each node, given away in the order in which they are asked for.

    :param clock: ends the waiting
    :param count: of the places at one node, at least 1
    """

    def __init__(self, clock: IReactorTime, count: int) -> None:
        self._clock = clock
        self._count = count
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, dict[Deferred[None], None]] = {}

    async def take(self, origin: str, left_s: float) -> None:
        """Take a place; :meth:`give_back` frees it.

        :param left_s: how long to wait for one
        :raises Overloaded: none became free in time
        """
        taken = self._taken.get(origin, 0)
        if taken < self._count:
            self._taken[origin] = taken + 1
            return
        place: Deferred[None] = Deferred()
        waiting = self._waiting.setdefault(origin, {})
        waiting[place] = None

        def give_up() -> None:
            del waiting[place]
            place.errback(
                Overloaded(
                    f"{self._count} requests of this client are under way to {origin}, and none"
                    f" ended within {left_s:.3g} s"
                )
            )

        timer = self._clock.callLater(left_s, give_up)
        try:
            await place
        finally:
            waiting.pop(place, None)
            if timer.active():
                timer.cancel()

    def give_back(self, origin: str) -> None:
        """Free a place: whoever waits longest has it next.

        Not within this call, or a thousand requests that fail at once would be a thousand frames.
        """
        if self._waiting.get(origin):
            self._clock.callLater(0, self._hand_over, origin)
        else:
            self._free(origin)

    def _hand_over(self, origin: str) -> None:
        waiting = self._waiting[origin]
        if not waiting:
            self._free(origin)
            return
        place = next(iter(waiting))
        del waiting[place]
        place.callback(None)

    def _free(self, origin: str) -> None:
        self._taken[origin] -= 1
        if not self._taken[origin]:
            del self._taken[origin]
            self._waiting.pop(origin, None)
