"""How fresh is what this node knows: the leader's rounds by sending time, the last leader contact.

A leader that answers from its own store without a round promises at most T of staleness [13]. T
counts from when the acknowledged round was *sent*, not from when the answers came: a follower may
have answered, voted for somebody else, and seen newer writes acknowledged while its answer was
still under way. Times are of the monotonic clock, told by the caller.
"""

from __future__ import annotations

from collections import deque

ROUNDS_MAX = 1024
"""Rounds whose sending time is remembered; a leader without answers steps down long before."""


class Rounds:
    """When each heartbeat round of the present term was sent."""

    def __init__(self) -> None:
        self._term = 0
        self._sent: deque[tuple[int, float]] = deque(maxlen=ROUNDS_MAX)

    def sent(self, term: int, round_: int, now_s: float) -> None:
        """Note that everything up to ``round_`` of ``term`` leaves now, if that is news."""
        if term != self._term:
            self._term = term
            self._sent.clear()
        if round_ > (self._sent[-1][0] if self._sent else 0):
            self._sent.append((round_, now_s))

    def age_s(self, term: int, acknowledged: int, now_s: float) -> float | None:
        """Return how long ago the acknowledged round was sent, or None if that is not known.

        Rounds that began between two turns left together, under the latest one's number: so the
        stamp to use is that of the latest remembered round not beyond ``acknowledged``.
        """
        if term != self._term or acknowledged == 0:
            return None
        while len(self._sent) > 1 and self._sent[1][0] <= acknowledged:
            self._sent.popleft()
        if not self._sent or self._sent[0][0] > acknowledged:
            return None
        return now_s - self._sent[0][1]


class Contact:
    """When this node last heard from the leader it follows."""

    def __init__(self) -> None:
        self._heard_s: float | None = None

    def heard(self, now_s: float) -> None:
        """Note that a message of the present leader has just arrived."""
        self._heard_s = now_s

    def age_s(self, now_s: float) -> float | None:
        """Return how long ago a leader was heard, None for never."""
        return None if self._heard_s is None else now_s - self._heard_s
