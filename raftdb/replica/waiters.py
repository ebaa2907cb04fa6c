"""What all waiting is made of: a Deferred answered at most once, and deadlines in buckets.

This module knows no node and no clock; it is told what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

from raftdb.errors import RaftDBError

T = TypeVar("T")

SWEEP_MIN = 1_000
"""Items with a deadline, below which nobody looks for those that are answered."""


class Waits(Protocol):
    """What can have a deadline."""

    @property
    def waits(self) -> bool:
        """Whether there is still somebody to answer."""


W = TypeVar("W", bound=Waits)


class Count:
    """How many wait who were neither answered nor have gone."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Waiter(Generic[T]):
    """One Deferred that is answered at most once; a cancelled one swallows its answer.

    Cancelling ends the waiting, never the operation: what is in the log stays in the log.

    :param waiting: counts it until then; None for no interest in how many there are
    """

    __slots__ = ("_deferred", "_waiting")

    def __init__(self, waiting: Count | None = None) -> None:
        self._deferred: Deferred[T] | None = Deferred(self._cancelled)
        self._waiting = Count() if waiting is None else waiting
        self._waiting.count += 1

    @property
    def deferred(self) -> Deferred[T]:
        """What the caller waits on; only before the answer."""
        assert self._deferred is not None
        return self._deferred

    @property
    def waits(self) -> bool:
        """Whether there is still somebody to answer."""
        return self._deferred is not None

    def succeed(self, result: T) -> None:
        """Answer with ``result``, unless answered or cancelled before."""
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            self._waiting.count -= 1
            deferred.callback(result)

    def fail(self, error: RaftDBError) -> None:
        """Answer with ``error``, unless answered or cancelled before."""
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            self._waiting.count -= 1
            deferred.errback(error)

    def _cancelled(self, _: Deferred[T]) -> None:
        self._deferred = None
        self._waiting.count -= 1


class Deadlines(Generic[W]):
    """Things with a time limit, found again in buckets of one granularity.

    A reactor timer per request would cost more than the request's whole way through the core; a
    bucket costs one append, and an item is found at most one granularity late, never early. Answered
    items stay until their bucket is due, or until they are more than those that wait: a hundred
    thousand of them, of ten seconds of writes, would take 7 MB.

    :param granularity_s: the width of a bucket in seconds
    """

    def __init__(self, granularity_s: float) -> None:
        self._granularity_s = granularity_s
        self._buckets: dict[int, list[W]] = {}
        self._count = 0
        self._sweep_at = SWEEP_MIN

    def __len__(self) -> int:
        return self._count

    def add(self, deadline_s: float, item: W) -> None:
        """Remember ``item`` until ``deadline_s`` on the clock whose time :meth:`due` is told."""
        bucket = math.ceil(deadline_s / self._granularity_s)
        self._buckets.setdefault(bucket, []).append(item)
        self._count += 1
        if self._count >= self._sweep_at:
            self._sweep()

    def due(self, now_s: float) -> Iterator[W]:
        """Take out and yield everything whose deadline has passed."""
        now = math.floor(now_s / self._granularity_s)
        for bucket in sorted(bucket for bucket in self._buckets if bucket <= now):
            items = self._buckets.pop(bucket, [])  # whoever is told may add, and that may sweep
            self._count -= len(items)
            yield from items

    def _sweep(self) -> None:
        """Forget what is answered; the next time comes when there is as much again."""
        swept = {at: [item for item in items if item.waits] for at, items in self._buckets.items()}
        self._buckets = {at: items for at, items in swept.items() if items}
        self._count = sum(map(len, self._buckets.values()))
        self._sweep_at = max(SWEEP_MIN, 2 * self._count)
