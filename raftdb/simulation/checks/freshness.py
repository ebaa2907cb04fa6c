"""How old answers may be: the promises of the levels ``default`` and ``stale``, checked afterwards.

A store revision places every answer in the one order of all writes, so age can be judged without a
search. What is linearizable is :mod:`raftdb.simulation.checks.linearizability`'s question.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sighting:
    """One answered read.

    :param level: ``stale``, ``default`` or ``consistent``
    :param boot: which node answered, in which of its lives
    :param asked_s: when it was asked for
    :param answered_s: when it was answered
    :param revision: of the store it was read from
    """

    level: str
    boot: str
    asked_s: float
    answered_s: float
    revision: int


@dataclass(slots=True)
class Freshness:
    """Records acknowledged writes and answered reads, in the order of time."""

    reported_addresses: list[Sighting] = field(default_factory=list)
    _acknowledged_s: list[float] = field(default_factory=list)
    _newest: list[int] = field(default_factory=list)

    def acknowledged(self, now_s: float, revision: int) -> None:
        """Note that a write was acknowledged with the revision it made."""
        newest = self._newest[-1] if self._newest else 0
        self._acknowledged_s.append(now_s)
        self._newest.append(max(newest, revision))

    def seen(self, sighting: Sighting) -> None:
        """Note an answered read."""
        self.reported_addresses.append(sighting)

    def older_than(self, bound_s: float) -> Sighting | None:
        """Return the first ``default`` read that misses what was acknowledged before its bound.

        It must show what was acknowledged ``bound_s`` before the answer, or before the question if
        that was earlier: a read that had to ask the leader is as old as its question.
        """
        for sighting in self.reported_addresses:
            if sighting.level == "default":
                at_least_s = min(sighting.asked_s, sighting.answered_s - bound_s)
                count = bisect_left(self._acknowledged_s, at_least_s)
                if count and self._newest[count - 1] > sighting.revision:
                    return sighting
        return None

    def backwards(self) -> Sighting | None:
        """Return the first ``stale`` read that shows less than one before it on the same boot."""
        newest: dict[str, int] = {}
        for sighting in self.reported_addresses:
            if sighting.level == "stale":
                if sighting.revision < newest.get(sighting.boot, 0):
                    return sighting
                newest[sighting.boot] = sighting.revision
        return None
