"""Log space: files filled with zeros ahead of need, and how one of them becomes a segment.

Everything blocks. A segment is written once from end to end with zeros and synced before it is
used, so that writing a batch changes neither its length nor its extents, and fdatasync is enough.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import NamedTuple

from raftdb.storage.files import File, FileSystem
from raftdb.storage.limits import StorageLimits
from raftdb.storage.segment import SegmentHeader, encode_header

_ZEROS_BYTES = 1024 * 1024


class Spare(NamedTuple):
    """A file of zeros, durable, waiting to become a segment."""

    path: str
    file: File
    size: int


def make_zeroed(files: FileSystem, path: str, size: int) -> Spare:
    """Make a durable file of zeros; where that fails nothing is left behind.

    :raises OSError: ``ENOSPC`` where there is no room
    """
    file = files.open(path, create=True)
    try:
        zeros = bytes(min(size, _ZEROS_BYTES))
        for offset in range(0, size, _ZEROS_BYTES):
            file.write_at(offset, zeros[: size - offset])
        file.fsync()
    except OSError:
        file.close()
        with suppress(OSError):
            files.unlink(path)
        raise
    return Spare(path, file, size)


def make_spare(files: FileSystem, path: str, directory: str, limits: StorageLimits) -> Spare:
    """Make a spare segment, if the file system keeps its free bytes.

    :raises OSError: ``ENOSPC`` where there is no room, found out before a byte is written
    """
    size = limits.segment_bytes
    if files.free_bytes(directory) < size + limits.free_bytes_min:
        raise OSError(errno.ENOSPC, "no room to reserve log space", path)
    return make_zeroed(files, path, size)


def begin_segment(
    files: FileSystem, directory: str, path: str, spare: Spare, header: SegmentHeader
) -> bytes:
    """Make a spare a segment; return the digest that begins its chain.

    The header is durable before the name, and the name before the first batch. So a file with a
    segment's name has a whole header, and what recovery finds damaged there was damaged later.
    """
    block, digest = encode_header(header)
    spare.file.write_at(0, block)
    spare.file.fdatasync()
    files.rename(spare.path, path)
    files.fsync_dir(directory)
    return digest
