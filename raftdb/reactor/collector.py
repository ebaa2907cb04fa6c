"""Python's garbage collector in this process: what it need not look at, and how long it stops us.

A collection stops everything, heartbeats too. A full one walks every object that can be part of a
cycle; so what stays is frozen, that is taken out of its sight: the modules (150,000 objects, 45 ms a
walk) when the node is built, the state when it is loaded. What the store holds per key is out of its
sight anyway (:mod:`raftdb.state.kv.containers`). Freezing costs nothing, at any size. It is not preceded
by a collection: a start leaves a few hundred objects of garbage behind, less than 100 KiB, and to
find them would take 45 ms of it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable


class Collector:
    """The policy and the measure, from :meth:`start` to :meth:`stop`.

    :param seconds: the monotonic clock
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._began_s: float | None = None
        self.pause_max_s = 0.0
        """The longest collection so far, whatever thread it came in: it stops all of them."""

    def start(self) -> None:
        """Take what is there now out of the collector's sight, and measure from here on."""
        gc.freeze()
        gc.callbacks.append(self._heard)

    def settle(self) -> None:
        """Take what was loaded out of its sight."""
        gc.freeze()

    def stop(self) -> None:
        """Measure no more; what is frozen stays so."""
        if self._heard in gc.callbacks:
            gc.callbacks.remove(self._heard)

    def _heard(self, phase: str, info: dict[str, int]) -> None:
        del info
        if phase == "start":
            self._began_s = self._seconds()
        elif self._began_s is not None:
            self.pause_max_s = max(self.pause_max_s, self._seconds() - self._began_s)
            self._began_s = None
