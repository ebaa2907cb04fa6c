"""How tests look at the disk below a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

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
