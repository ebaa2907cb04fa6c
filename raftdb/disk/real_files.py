"""The file system of the machine: Linux first, macOS and Windows by their own calls."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
import sys

from raftdb.disk.buffered_file import RealFile, full_sync
from raftdb.disk.direct_file import open_direct

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})


class RealFileSystem:
    """The file system of the machine: Linux first, macOS and Windows by their own calls.

    :param reserve: so many descriptors are kept for these files: where others of the process, or of
        the machine, have taken all, a segment can still be begun
    """

    def __init__(self, *, reserve: int = 0) -> None:
        self._wanted = reserve
        self._reserve: list[int] = []
        self._refill()

    def open(self, path: str, *, create: bool = False, sectors: bool = False) -> RealFile:
        """Open a file for reading and writing, in binary on every platform."""
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        descriptor = self._descriptor(path, flags)
        direct = open_direct(path, descriptor) if sectors else None
        return RealFile(path, descriptor) if direct is None else direct

    def rename(self, old: str, new: str) -> None:
        """Rename in one step."""
        pathlib.Path(old).replace(new)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        pathlib.Path(path).unlink()

    def mkdir(self, path: str) -> None:
        """Make a directory that only its owner may enter."""
        try:
            pathlib.Path(path).mkdir(mode=DIRECTORY_MODE)
        except FileExistsError:
            if not pathlib.Path(path).is_dir():
                raise
            pathlib.Path(path).chmod(DIRECTORY_MODE)

    def fsync_dir(self, path: str) -> None:
        """Make names durable; Windows cannot open a directory and orders its metadata itself."""
        if sys.platform == "win32":
            return
        descriptor = self._descriptor(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            full_sync(descriptor, path)
        finally:
            os.close(descriptor)
            self._refill()

    def is_dir(self, path: str) -> bool:
        """Tell whether there is such a directory."""
        return pathlib.Path(path).is_dir()

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

    def release(self) -> None:
        """Give the reserve back."""
        self._wanted = 0
        while self._reserve:
            os.close(self._reserve.pop())

    def _descriptor(self, path: str, flags: int) -> int:
        """Open a file, at the cost of the reserve where there is no descriptor left.

        Another thread may take what was just given back, so that it may cost more than one.
        """
        while True:
            try:
                descriptor = os.open(path, flags, FILE_MODE)
            except OSError as error:
                if error.errno not in _EXHAUSTED or not self._reserve:
                    raise
                os.close(self._reserve.pop())
            else:
                self._refill()
                return descriptor

    def _refill(self) -> None:
        while len(self._reserve) < self._wanted:
            try:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return


class RealLock:
    """A lock held through an open descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Give the lock back; again is allowed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
