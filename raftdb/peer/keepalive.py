"""Whether the other end of a connection is still alive, as far as silence can tell."""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


class Keepalive:
    """Pings an idle or blocked connection and declares it dead when its patience ends.

    On ``control`` a Ping must be answered within the patience, whatever else arrives: it may be
    that the other side speaks but does not hear. So one is sent now and then to those who speak all
    the time as well. On ``bulk`` a Ping may stand behind megabytes, so there any progress buys time.

    :param idle_s: silence after which a Ping is sent
    :param proof_s: after the last answer, when a Ping is sent although there is no silence
    :param patience_s: how long to wait for its answer
    :param progress_counts: whether any progress restarts the patience
    :param is_blocked: whether the transport has asked to pause
    :param ping: sends one and fires when it is answered
    :param dead: called at most once
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        idle_s: float,
        proof_s: float = math.inf,
        patience_s: float,
        progress_counts: bool,
        is_blocked: Callable[[], bool],
        ping: Callable[[], Deferred[dict[str, object]]],
        dead: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._idle_s = idle_s
        self._proof_s = proof_s
        self._patience_s = patience_s
        self._progress_counts = progress_counts
        self._is_blocked = is_blocked
        self._ping = ping
        self._dead = dead
        self._progress_at_s = clock.seconds()
        self._answered_at_s = clock.seconds()
        self._pinged_at_s: float | None = None
        self._stopped = False
        self._timer = clock.callLater(idle_s / 2, self._beat)

    def progressed(self) -> None:
        """Note that bytes came, or that the transport took some."""
        self._progress_at_s = self._clock.seconds()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped = True
        if self._timer.active():
            self._timer.cancel()

    def _beat(self) -> None:
        if self._is_overdue():
            # After a pause of our own process, timers run before the sockets are read: look again
            # when what has arrived meanwhile was read, or a stalled node cuts healthy connections.
            self._timer = self._clock.callLater(0, self._verdict)
            return
        if self._pinged_at_s is None and self._is_time():
            self._pinged_at_s = self._clock.seconds()
            # A Ping that cannot be sent is as good as unanswered.
            self._ping().addCallbacks(self._answered, lambda _: None)
        if not self._stopped:
            self._timer = self._clock.callLater(self._idle_s / 2, self._beat)

    def _is_time(self) -> bool:
        now_s = self._clock.seconds()
        return (
            now_s - self._progress_at_s >= self._idle_s
            or now_s - self._answered_at_s >= self._proof_s
            or self._is_blocked()
        )

    def _verdict(self) -> None:
        if self._is_overdue():
            self._dead()
        else:
            self._beat()

    def _is_overdue(self) -> bool:
        if self._pinged_at_s is None:
            return False
        since_s = self._pinged_at_s
        if self._progress_counts:
            since_s = max(since_s, self._progress_at_s)
        return self._clock.seconds() - since_s >= self._patience_s

    def _answered(self, _: object) -> None:
        self._answered_at_s = self._clock.seconds()
        self._pinged_at_s = None
