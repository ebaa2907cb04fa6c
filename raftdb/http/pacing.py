"""A share of each reactor turn for HTTP, so that no crowd of clients holds up a heartbeat.

Twisted handles every readable socket before it looks at its timers again: a hundred requests that
take 20 ms each would stop the node's clock for two seconds, and cost a leader its leadership.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

SHARE_S = 0.01
"""Of one turn; a fifth of the longest stall that the timing of elections allows for."""


class Pacer:
    """Says who may work in this turn and who waits for one of the next, in order.

    It counts the work itself and not the turns, which nobody tells it of: when a share has been
    used up, be it over many turns, who comes next waits for the next one. So as long as there is
    little to do, this costs no call of the reactor.

    :param clock: monotonic, read while working
    :param share_s: how long work may go on in one turn before the rest waits
    """

    def __init__(self, clock: IReactorTime, share_s: float = SHARE_S) -> None:
        self._clock = clock
        self._share_s = share_s
        self._worked_s = 0.0
        self._turning = False
        self._queue: deque[Deferred[None]] = deque()

    def may_work(self) -> bool:
        """Whether there is still time in this turn, and nobody has been waiting for it."""
        return not self._queue and self._worked_s <= self._share_s

    def worked(self, seconds: float) -> None:
        """Note how long a piece of work took."""
        self._worked_s += seconds

    def turn(self) -> Deferred[None]:
        """Return a Deferred that fires in a turn with time for it, never at once."""
        waiter: Deferred[None] = Deferred()
        self._queue.append(waiter)
        if not self._turning:
            self._turning = True
            self._clock.callLater(0, self._turn)
        return waiter

    def _turn(self) -> None:
        """Begin a turn: let those who waited work, as many as there is time for."""
        began_s = self._clock.seconds()
        while self._queue and self._clock.seconds() - began_s <= self._share_s:
            waiter = self._queue.popleft()
            if not waiter.called:
                waiter.callback(None)
        self._worked_s = self._clock.seconds() - began_s
        self._turning = bool(self._queue)
        if self._turning:
            self._clock.callLater(0, self._turn)
