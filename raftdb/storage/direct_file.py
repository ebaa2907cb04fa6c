"""One file of the operating system, written past its page cache: the log, where Linux lets us.

A write through the page cache and its fdatasync are two steps of a log's disk, and the kernel does
much for either: it copies, marks pages, looks for them again, and has them written by one thread
and waited for by another. Opened with ``O_DIRECT`` and ``O_DSYNC`` a file is written by one step,
from our memory to the disk, which ends when the disk has emptied its cache too, or has written past
it: open(2). By io_uring a save takes a third less time then, and a third of the processor's.

That ``O_DSYNC`` is heeded then is known of some file systems and not of others (those in user space
may take it for a plain write), so it is done on those that it is known of: ext4 and XFS, whose
direct writes both go through the kernel's iomap_dio_rw, which syncs before it reports the end. All
others have their files written as :class:`~raftdb.storage.real_file.RealFile` does.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path

from raftdb.storage.batch import SECTOR_BYTES
from raftdb.storage.files import Door
from raftdb.storage.real_file import RealFile

KNOWN_TO_SYNC = frozenset({"ext4", "xfs"})
"""File systems whose direct writes are durable when they end, if they are to be."""

_ROOM_BYTES = 256 * 1024
"""Of memory for what is written: as much goes to the disk in one step."""

_MOUNTS = Path("/proc/self/mountinfo")


class DirectFile(RealFile):
    """Reads go through the page cache, which the kernel keeps true to what is written past it.

    What is written is durable when :meth:`write_at` returns, so that there is nothing to sync; for
    what is not in whole sectors a sync is made then.

    :param descriptor: of the file, as :class:`RealFile` has it
    :param direct: of the same file, from :func:`open_direct`; both are closed with it
    """

    def __init__(self, path: str, descriptor: int, direct: int) -> None:
        super().__init__(path, descriptor)
        self._direct = direct
        self._room = memoryview(mmap.mmap(-1, _ROOM_BYTES))  # it begins with a page

    @property
    def door(self) -> Door | None:
        """The way past the page cache, until the file is closed."""
        return Door(self._direct, through=True) if self._direct >= 0 else None

    def fdatasync(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Close both descriptors; again is allowed."""
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1
        super().close()

    def _write(self, offset: int, content: memoryview) -> int:
        count = min(len(content), _ROOM_BYTES)
        self._room[:count] = content[:count]
        try:
            return os.pwrite(self._direct, self._room[:count], offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        # These are no whole sectors, or not of this disk; it says so before it writes anything.
        written = super()._write(offset, content)
        super().fdatasync()
        return written


def open_direct(descriptor: int) -> int | None:
    """Return a second descriptor of an open file for writes past the page cache, or None.

    What the page cache holds of the file is dropped: a write past it would have to do that, page by
    page. That costs nothing but reading again.
    """
    if sys.platform != "linux" or _file_system(descriptor) not in KNOWN_TO_SYNC:
        return None
    flags = os.O_RDWR | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC
    with suppress(OSError):
        direct = os.open(f"/proc/self/fd/{descriptor}", flags)
        try:
            # A disk of larger sectors refuses this, as it would refuse to be written so.
            os.preadv(direct, [memoryview(mmap.mmap(-1, mmap.PAGESIZE))[:SECTOR_BYTES]], 0)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            os.close(direct)
            raise
        return direct
    return None


def _file_system(descriptor: int) -> str:
    """Return the kind of file system that an open file is on, as mount(8) has it, or nothing.

    (The C library could tell a number, which Python does not hand on. Where one file system shows
    another's files, as overlays do, this is the one that is asked.)
    """
    device = os.fstat(descriptor).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in _MOUNTS.read_text().splitlines():
            fields = line.split()
            if fields[2] == name:
                return fields[fields.index("-") + 1]
    return ""
