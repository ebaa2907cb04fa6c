"""Log space: files filled with zeros ahead of need, and how one of them becomes a segment.

Everything blocks. A segment is written once from end to end with zeros and synced before it is
used, so that writing a batch changes neither its length nor its extents, and fdatasync is enough.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from raftdb.disk.files import File, FileSystem
from raftdb.storage.limits import StorageLimits
from raftdb.storage.segment import (
    HEADER_BYTES,
    SegmentHeader,
    encode_header,
    mark_name,
    mark_number,
    spare_name,
    spare_number,
    unfinished_spare_name,
)

_ZEROS_BYTES = 1024 * 1024


class Spare(NamedTuple):
    """A file of zeros, durable, waiting to become a segment.

    :param number: in its name; 0 for one that is made on the spot
    """

    path: str
    number: int
    size: int


def make_zeroed(files: FileSystem, path: str, size: int, content: bytes = b"") -> None:
    """Make a durable file of ``content`` and zeros; where that fails nothing is left behind.

    :raises OSError: ``ENOSPC`` where there is no room
    """
    file = files.open(path, create=True)
    try:
        file.write_at(0, content)
        zeros = bytes(min(size, _ZEROS_BYTES))
        for offset in range(len(content), size, _ZEROS_BYTES):
            file.write_at(offset, zeros[: size - offset])
        file.fsync()
    except OSError:
        file.close()
        with suppress(OSError):
            files.unlink(path)
        raise
    file.close()


def make_spare(
    files: FileSystem, directory: str, number: int, size: int, *, free_bytes_min: int
) -> Spare:
    """Make a spare segment, if the file system keeps its free bytes.

    It gets its name when all of it is durable, so that the next start may take it over [R4].

    :param number: of the spare, 1 or more
    :param free_bytes_min: of the file system, left free by it
    :raises OSError: ``ENOSPC`` where there is no room, found out before a byte is written
    """
    unfinished = os.path.join(directory, unfinished_spare_name(number))
    if files.free_bytes(directory) < size + free_bytes_min:
        raise OSError(errno.ENOSPC, "no room to reserve log space", unfinished)
    make_zeroed(files, unfinished, size)
    path = os.path.join(directory, spare_name(number))
    try:
        files.rename(unfinished, path)
    except OSError:
        with suppress(OSError):
            files.unlink(unfinished)
        raise
    files.fsync_dir(directory)
    return Spare(path, number, size)


def spares_left(
    files: FileSystem, directory: str, names: Iterable[str], limits: StorageLimits
) -> list[Spare]:
    """Return the spares that an earlier process made and did not use.

    Not those that were to become a segment when it died: the header is written before the name.
    Nor number 0, which is made on the spot, under its name from the start. Nor one that cannot be
    read: nothing is lost with it, and no start should fail for it.
    """
    found: list[Spare] = []
    for name in names:
        number = spare_number(name)
        if not number or len(found) == limits.spare_segments:
            continue
        path = os.path.join(directory, name)
        with suppress(OSError):
            if _is_untouched(files, path, limits.segment_bytes):
                found.append(Spare(path, number, limits.segment_bytes))
    return found


def _is_untouched(files: FileSystem, path: str, size: int) -> bool:
    file = files.open(path)
    try:
        return file.size() == size and file.read_at(0, HEADER_BYTES) == bytes(HEADER_BYTES)
    finally:
        file.close()


def begin_segment(
    files: FileSystem, directory: str, path: str, spare: Spare, header: SegmentHeader
) -> tuple[File, bytes]:
    """Make a spare a segment; return it open, and the digest that begins its chain.

    The header is durable before the name, and the name before the first batch. So a file with a
    segment's name has a whole header, and what recovery finds damaged there was damaged later.
    (The file is closed in between because Windows renames no open file.)
    """
    block, digest = encode_header(header)
    file = files.open(spare.path)
    try:
        file.write_at(0, block)
        file.fdatasync()
    finally:
        file.close()
    files.rename(spare.path, path)
    files.fsync_dir(directory)
    return files.open(path, sectors=True), digest


def set_mark(files: FileSystem, directory: str, number: int) -> None:
    """Note durably which segment was begun last; its own name must be durable before. Blocks.

    Were the mark durable first, a healthy log would be refused: 1. the segment gets its name; 2. so
    does the mark; 3. the power fails, and of the two only the mark is kept.
    """
    path = os.path.join(directory, mark_name(number))
    marks = [name for name in files.list(directory) if mark_number(name) is not None]
    if marks:
        files.rename(os.path.join(directory, marks[-1]), path)
    else:
        files.open(path, create=True).close()
    files.fsync_dir(directory)
