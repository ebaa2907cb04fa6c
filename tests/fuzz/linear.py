"""Whether a parser's work grows as its input: measured in CPU time, by how it grows and not by how long.

The time of this thread alone counts, the least of several runs, and a growth is judged only where the
work is long enough to be told from noise. Inputs grow step by step, so what takes a minute at full
length is found at a fraction of it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from functools import _lru_cache_wrapper

FACTOR = 4
GROWTH_MAX = 9.0
"""Of the time, where the input grows fourfold: 4 is linear, 16 is quadratic, 64 is cubic."""

NOISE_S = 0.004
"""What is quicker is not judged."""

RUNS = 3

_KNOWN: list[_lru_cache_wrapper[object]] = []


def cpu_s(
    run: Callable[[bytes], object],
    data: bytes,
    runs: int = RUNS,
    forget: Sequence[_lru_cache_wrapper[object]] = (),
) -> float:
    """Return the least CPU time that ``run`` takes for ``data``, in seconds.

    :param forget: what remembers results, and would take no time for the same data again
    """
    least_s = float("inf")
    for _ in range(runs):
        for remembered in forget:
            remembered.cache_clear()
        began_s = time.thread_time()
        run(data)
        least_s = min(least_s, time.thread_time() - began_s)
    return least_s


def check_linear(
    run: Callable[[bytes], object],
    make: Callable[[int], bytes],
    *,
    bytes_max: int,
    forget: Sequence[_lru_cache_wrapper[object]] = (),
) -> None:
    """Check that the work for ``make(n)`` is linear in ``n``.

    :param make: returns an input of about so many bytes
    :param bytes_max: how many at most; ``n`` begins far below and grows by ``FACTOR``
    :param forget: what remembers results besides raftdb's own functions
    :raises AssertionError: naming the lengths and the times
    """
    forget = (*_caches(), *forget)
    length = bytes_max
    while length > FACTOR * 16:
        length //= FACTOR
    before_s = cpu_s(run, make(length), 1, forget)
    while length * FACTOR <= bytes_max:
        length *= FACTOR
        took_s = cpu_s(run, make(length), 1, forget)
        if took_s > max(GROWTH_MAX * before_s, NOISE_S):
            # Perhaps the machine's doing, or a collection of garbage: not if it is so every time.
            before_s = cpu_s(run, make(length // FACTOR), RUNS, forget)
            took_s = cpu_s(run, make(length), RUNS, forget)
            assert took_s <= max(GROWTH_MAX * before_s, NOISE_S), (
                f"{make(64)!r}: {length // FACTOR} bytes take {before_s * 1000:.2f} ms,"
                f" {length} bytes {took_s * 1000:.2f} ms"
            )
        before_s = took_s


def _find_caches() -> list[_lru_cache_wrapper[object]]:
    """Return every function of raftdb, or of a test, that remembers its results."""
    found = (one for one in gc.get_objects() if isinstance(one, _lru_cache_wrapper))
    return [one for one in found if one.__module__ is None or "raftdb" in one.__module__]


def _caches() -> list[_lru_cache_wrapper[object]]:
    """Return them, looked for once: that takes as long as a collection of garbage."""
    if not _KNOWN:
        _KNOWN.extend(_find_caches())
    return _KNOWN
