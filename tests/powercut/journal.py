"""What a disk was told: each write, and each order to empty its cache, in order."""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct
from typing import NamedTuple

DISK_NAME = "disk"
"""Of the file that is the disk."""

_RECORD = Struct("<?QI")
"""Whether it is an order to empty the cache, else a write: its offset and length; the bytes follow."""


class Event(NamedTuple):
    """What reached the disk.

    :param end: of its record in the journal; whoever looks at the journal's size then knows what
        reached the disk before
    :param content: of a write, or None for an order to empty the cache
    """

    end: int
    offset: int
    content: bytes | None


def read_journal(path: Path) -> list[Event]:
    """Return everything that reached the disk."""
    image, events, at = path.read_bytes(), [], 0
    while at < len(image):
        is_order, offset, length = _RECORD.unpack_from(image, at)
        begin = at + _RECORD.size
        at = begin + length
        events.append(Event(at, offset, None if is_order else image[begin:at]))
    return events


def write_record(journal: int, offset: int = 0, content: bytes | None = None) -> None:
    """Note a write, or an order to empty the cache, in an open journal."""
    os.write(journal, _RECORD.pack(content is None, offset, len(content or b"")) + (content or b""))
