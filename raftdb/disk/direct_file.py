"""One file of the operating system, written past its page cache: the log, where Linux lets us.

A write through the page cache and its fdatasync are two steps of a log's disk, and the kernel does
much for either: it copies, marks pages, looks for them again, and has them written by one thread
and waited for by another. Opened with ``O_DIRECT`` and ``O_DSYNC`` a file is written by one step,
from our memory to the disk, which ends when the disk has emptied its cache too, or has written past
it: open(2). By io_uring a save takes a third less time then, and a third of the processor's.

That ``O_DSYNC`` is heeded is known of some file systems and not of others (one in user space may take
such a write for a plain one), so it is relied on where it is known: ext4 and XFS sync at the end of
each such write, also where they take it through the page cache after all, as ext4 does that keeps
data in its journal. Elsewhere files are written as :class:`~raftdb.disk.buffered_file.RealFile` does.

A write may go on for a moment after a process that was killed is gone. Whoever starts next finds it
whole, torn or not there, as after a power cut, and goes on in a file of its own
(:func:`~raftdb.storage.recovery.rewrite_log`).
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path

from raftdb.disk.buffered_file import RealFile
from raftdb.disk.files import SECTOR_BYTES, WriteHandle

KNOWN_TO_SYNC = frozenset({b"ext4", b"xfs"})
"""File systems whose writes are durable when they end, if they are to be."""

_ROOM_BYTES = 256 * 1024
"""Of memory for what is written: as much goes to the disk in one step."""

_MOUNTS = Path("/proc/self/mountinfo")
_SEPARATOR = b"-"
"""Between what is told of a mount and what of its file system; no path looks like it."""


class DirectFile(RealFile):
    """Reads go through the page cache, which the kernel keeps true to what is written past it.

    What is written is durable when :meth:`write_at` returns, so that there is nothing to sync; for
    what is not in whole sectors a sync is made then. :func:`open_direct` makes it.

    :param descriptor: of the file, as :class:`RealFile` has it
    :param direct: another one of the same file; both are closed with it
    :param room: memory that begins at a page, for what is written in one step
    """

    def __init__(self, path: str, descriptor: int, direct: int, room: memoryview) -> None:
        super().__init__(path, descriptor)
        self._direct = direct
        self._room = room

    @property
    def door(self) -> WriteHandle | None:
        """The way past the page cache, until the file is closed."""
        return WriteHandle(self._direct, through=True) if self._direct >= 0 else None

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
        # These are no whole sectors, or not of this disk: all of it is written anew.
        written = super()._write(offset, content)
        super().fdatasync()
        return written


def open_direct(path: str, descriptor: int) -> DirectFile | None:
    """Return an open file as one to be written past the page cache, or None where that cannot be.

    What the page cache holds of the file is dropped: a write past it would have to do that, page by
    page. That costs nothing but reading again.
    """
    if sys.platform != "linux" or _file_system(descriptor) not in KNOWN_TO_SYNC:
        return None
    flags = os.O_RDWR | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC
    with suppress(OSError):
        direct = os.open(f"/proc/self/fd/{descriptor}", flags)
        try:
            room = memoryview(mmap.mmap(-1, _ROOM_BYTES))
            # A disk of larger sectors refuses this, as it would refuse to be written so.
            os.preadv(direct, [room[:SECTOR_BYTES]], 0)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            os.close(direct)
            raise
        return DirectFile(path, descriptor, direct, room)
    return None


def _file_system(descriptor: int) -> bytes:
    """Return the kind of file system that an open file is on, as mount(8) has it, or nothing.

    (The C library could tell a number, which Python does not hand on. Where one file system shows
    another's files, as overlays do, this is the one that is asked.) The list is read by bytes, for
    it holds names that any user may have given: proc_pid_mountinfo(5).
    """
    device = os.fstat(descriptor).st_dev
    name = b"%d:%d" % (os.major(device), os.minor(device))
    kinds: set[bytes] = set()
    with suppress(OSError):
        for line in _MOUNTS.read_bytes().split(b"\n"):
            fields = line.split(b" ")
            if fields[2:3] == [name] and _SEPARATOR in fields[:-1]:
                kinds.add(fields[fields.index(_SEPARATOR) + 1])
    return kinds.pop() if len(kinds) == 1 else b""
