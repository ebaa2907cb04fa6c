"""How tests look at the disk below a file, and at what the kernel keeps of the file in memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

CACHESTAT = 451
"""The number of a system call, in Linux since 6.5."""

FLUSHES = 15
"""Which number of a block device's ``stat`` counts how often its cache was emptied."""


def flush_counter(path: Path) -> Callable[[], int]:
    """Return what tells how often the disk below ``path`` has emptied its cache, by anybody's wish.

    The test is skipped where that tells nothing: no disk of one's own, no cache, or one that
    can be written past.
    """
    device = path.stat().st_dev
    disk = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not disk.exists():
        pytest.skip("files here are on no disk that counts")
    whole = disk if (disk / "queue").exists() else disk.resolve().parent
    cache, past = ((whole / "queue" / name).read_text().strip() for name in ("write_cache", "fua"))
    if cache != "write back" or past != "0":
        pytest.skip("the disk here has no cache that is emptied")
    return lambda: int((whole / "stat").read_text().split()[FLUSHES])


class Pages(NamedTuple):
    """How many pages of a file are in memory, and of these how many are not on the disk."""

    cached: int
    dirty: int


def pages_of(descriptor: int) -> Pages | None:
    """Ask the kernel; None where it cannot tell."""
    everything = (ctypes.c_uint64 * 2)(0, 0)
    counts = (ctypes.c_uint64 * 5)()  # cached, dirty, under way, evicted, recently evicted
    if ctypes.CDLL(None).syscall(CACHESTAT, descriptor, everything, counts, 0):
        return None
    return Pages(counts[0], counts[1] + counts[2])
