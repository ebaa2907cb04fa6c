"""What storage needs of a file system, as a protocol, and the real one.

Nothing here knows what the bytes mean. The protocol is narrow on purpose: the simulator implements
the same one with a disk that forgets (:mod:`raftdb.simulation.disk`), and storage is proved there.
All methods block; storage calls them from the thread it was given, never from the reactor.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from typing import Protocol

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class File(Protocol):
    """An open file; a handle is used by one thread at a time."""

    @property
    def descriptor(self) -> int | None:
        """By which the system may be asked to write it elsewhere; None where all has to go through here."""

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; fewer only at the end of the file."""

    def write_at(self, offset: int, content: bytes) -> None:
        """Write all of ``content`` at ``offset``; not durable before a sync."""

    def size(self) -> int:
        """Return the length in bytes."""

    def fdatasync(self) -> None:
        """Make the contents durable, and the length; other metadata need not follow."""

    def fsync(self) -> None:
        """Make contents and metadata durable; the name is its directory's business."""

    def close(self) -> None:
        """Let go of the file; what was not synced may still be lost."""


class Lock(Protocol):
    """Exclusive use of something; ends with the process at the latest."""

    def close(self) -> None:
        """Give it back."""


class FileSystem(Protocol):
    """The few operations that storage is built from. Failures are :class:`OSError`."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing.

        :param create: make a new file of mode 0600; an existing one is an error
        """

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step, replacing what had it."""

    def unlink(self, path: str) -> None:
        """Remove a file's name."""

    def mkdir(self, path: str) -> None:
        """Make a directory of mode 0700; where it exists, give it that mode."""

    def fsync_dir(self, path: str) -> None:
        """Make the names in a directory durable."""

    def is_dir(self, path: str) -> bool:
        """Tell whether there is such a directory."""

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; empty where there is no such directory."""

    def lock(self, path: str) -> Lock:
        """Take the one lock on ``path``, without waiting.

        :raises BlockingIOError: where another holds it
        """

    def free_bytes(self, path: str) -> int:
        """Return how many bytes may still be written to the file system that holds ``path``."""


class RealFile:
    """A file of the operating system."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def descriptor(self) -> int | None:
        """The system's number for it, until it is closed; a sync of data alone must be enough here."""
        return self._descriptor if sys.platform == "linux" and self._descriptor >= 0 else None

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``."""
        parts: list[bytes] = []
        while count > 0:
            part = self._read(offset, count)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return b"".join(parts)

    def write_at(self, offset: int, content: bytes) -> None:
        """Write all of ``content``, in as many calls as the system needs."""
        rest = memoryview(content)
        while rest:
            written = self._write(offset, rest)
            if written == 0:
                raise OSError(errno.EIO, "the system wrote nothing", self._path)
            offset += written
            rest = rest[written:]

    def size(self) -> int:
        """Return the length in bytes."""
        return os.fstat(self._descriptor).st_size

    def fdatasync(self) -> None:
        """Make the contents durable, as cheaply as the platform can promise it."""
        if sys.platform == "linux":
            os.fdatasync(self._descriptor)
        else:
            _full_sync(self._descriptor)

    def fsync(self) -> None:
        """Make everything of the file durable."""
        _full_sync(self._descriptor)

    def close(self) -> None:
        """Close the descriptor; again is allowed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self, offset: int, count: int) -> bytes:
        if sys.platform == "win32":
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, count)
        return os.pread(self._descriptor, count, offset)

    def _write(self, offset: int, content: memoryview) -> int:
        if sys.platform == "win32":
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, content)
        return os.pwrite(self._descriptor, content, offset)


class RealFileSystem:
    """The file system of the machine: Linux first, macOS and Windows by their own calls."""

    def open(self, path: str, *, create: bool = False) -> RealFile:
        """Open a file for reading and writing, in binary on every platform."""
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        return RealFile(path, os.open(path, flags, FILE_MODE))

    def rename(self, old: str, new: str) -> None:
        """Rename in one step."""
        os.replace(old, new)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        """Make a directory that only its owner may enter."""
        try:
            os.mkdir(path, DIRECTORY_MODE)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            os.chmod(path, DIRECTORY_MODE)

    def fsync_dir(self, path: str) -> None:
        """Make names durable; Windows cannot open a directory and orders its metadata itself."""
        if sys.platform == "win32":
            return
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            _full_sync(descriptor)
        finally:
            os.close(descriptor)

    def is_dir(self, path: str) -> bool:
        """Tell whether there is such a directory."""
        return os.path.isdir(path)

    def list(self, path: str) -> list[str]:
        """Return the names in a directory."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def lock(self, path: str) -> RealLock:
        """Lock a file that is made for it; the system gives the lock back when a process dies."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EAGAIN, errno.EACCES, errno.EDEADLK}:
                raise BlockingIOError(error.errno, "locked by another process", path) from error
            raise
        return RealLock(descriptor)

    def free_bytes(self, path: str) -> int:
        """Return the space that is left to users without privileges."""
        return shutil.disk_usage(path).free


class RealLock:
    """A lock held through an open descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Give the lock back; again is allowed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _full_sync(descriptor: int) -> None:
    """Sync through the drive's own cache where an fsync alone stops in front of it (macOS)."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            # Some file systems (network, FAT) do not know the call; there fsync is all there is.
            if error.errno not in {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}:
                raise
        else:
            return
    os.fsync(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
