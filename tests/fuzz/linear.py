"""Whether a parser's work grows as its input: measured in CPU time, by how it grows and not by how long.

The time of this thread alone counts, the least of several runs, and a growth is judged only where the
work is long enough to be told from noise. Inputs grow step by step, so what takes a minute at full
length is found at a fraction of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FACTOR = 4
GROWTH_MAX = 9.0
"""Of the time, where the input grows fourfold: 4 is linear, 16 is quadratic, 64 is cubic."""

NOISE_S = 0.004
"""What is quicker is not judged."""

RUNS = 3


def cpu_s(run: Callable[[bytes], object], data: bytes, runs: int = RUNS) -> float:
    """Return the least CPU time that ``run`` takes for ``data``, in seconds."""
    least_s = float("inf")
    for _ in range(runs):
        began_s = time.thread_time()
        run(data)
        least_s = min(least_s, time.thread_time() - began_s)
    return least_s


def check_linear(
    run: Callable[[bytes], object], make: Callable[[int], bytes], *, bytes_max: int
) -> None:
    """Check that the work for ``make(n)`` is linear in ``n``.

    :param make: returns an input of about so many bytes
    :param bytes_max: how many at most; ``n`` begins far below and grows by ``FACTOR``
    :raises AssertionError: naming the lengths and the times
    """
    length = bytes_max
    while length > FACTOR * 16:
        length //= FACTOR
    before_s = cpu_s(run, make(length), 1)
    while length * FACTOR <= bytes_max:
        length *= FACTOR
        took_s = cpu_s(run, make(length), 1)
        if took_s > max(GROWTH_MAX * before_s, NOISE_S):
            # Perhaps the machine's doing, or a collection of garbage: not if it is so every time.
            before_s = cpu_s(run, make(length // FACTOR))
            took_s = cpu_s(run, make(length))
            assert took_s <= max(GROWTH_MAX * before_s, NOISE_S), (
                f"{make(64)!r}: {length // FACTOR} bytes take {before_s * 1000:.2f} ms,"
                f" {length} bytes {took_s * 1000:.2f} ms"
            )
        before_s = took_s
