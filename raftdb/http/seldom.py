"""What strangers can cause is logged seldom: a log that they can fill tells nobody anything."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

INTERVAL_S = 60.0


class Seldom:
    """Says whether something that happens again and again is to be told now.

    :param clock: monotonic
    :param interval_s: the least time between two that are told
    """

    def __init__(self, clock: IReactorTime, interval_s: float = INTERVAL_S) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._next_s = float("-inf")

    def may_tell(self) -> bool:
        """Whether it is to be told; if so, what follows is not for a while."""
        now_s = self._clock.seconds()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._interval_s
        return True
