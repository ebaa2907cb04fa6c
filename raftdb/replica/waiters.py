"""What all waiting is made of: a Deferred answered at most once, and deadlines in buckets.

This module knows no node and no clock; it is told what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from raftdb.errors import RaftDBError

T = TypeVar("T")


class Waiter(Generic[T]):
    """One Deferred that is answered at most once; a cancelled one swallows its answer.

    Cancelling ends the waiting, never the operation: what is in the log stays in the log.
    """

    __slots__ = ("_deferred",)

    def __init__(self) -> None:
        self._deferred: Deferred[T] | None = Deferred(self._cancelled)

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
            deferred.callback(result)

    def fail(self, error: RaftDBError) -> None:
        """Answer with ``error``, unless answered or cancelled before."""
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            deferred.errback(error)

    def _cancelled(self, _: Deferred[T]) -> None:
        self._deferred = None


class Deadlines(Generic[T]):
    """Things with a time limit, found again in buckets of one granularity.

    A reactor timer per request would cost more than the request's whole way through the core; a
    bucket costs one append, and an item is found at most one granularity late, never early. An
    answered item stays, empty, until its bucket is due.

    :param granularity_s: the width of a bucket in seconds
    """

    def __init__(self, granularity_s: float) -> None:
        self._granularity_s = granularity_s
        self._buckets: dict[int, list[T]] = {}

    def add(self, deadline_s: float, item: T) -> None:
        """Remember ``item`` until ``deadline_s`` on the clock whose time :meth:`due` is told."""
        bucket = math.ceil(deadline_s / self._granularity_s)
        self._buckets.setdefault(bucket, []).append(item)

    def due(self, now_s: float) -> Iterator[T]:
        """Take out and yield everything whose deadline has passed."""
        now = math.floor(now_s / self._granularity_s)
        for bucket in sorted(bucket for bucket in self._buckets if bucket <= now):
            yield from self._buckets.pop(bucket)
