"""One file of the operating system, read and written through its page cache."""

from __future__ import annotations

import errno
import os
import sys

from raftdb.disk.files import FailedSync, WriteHandle

if sys.platform != "win32":
    import fcntl


class RealFile:
    """A file of the operating system."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def door(self) -> WriteHandle | None:
        """The file itself, until it is closed, where a sync of data alone is enough."""
        if sys.platform == "linux" and self._descriptor >= 0:
            return WriteHandle(self._descriptor, through=False)
        return None

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
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                raise FailedSync(error.errno, error.strerror, self._path) from error
        else:
            full_sync(self._descriptor, self._path)

    def fsync(self) -> None:
        """Make everything of the file durable."""
        full_sync(self._descriptor, self._path)

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


def full_sync(descriptor: int, path: str) -> None:
    """Sync through the drive's own cache where an fsync alone stops in front of it (macOS).

    :raises FailedSync: naming ``path``
    """
    try:
        _sync(descriptor)
    except OSError as error:
        raise FailedSync(error.errno, error.strerror, path) from error


def _sync(descriptor: int) -> None:
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
