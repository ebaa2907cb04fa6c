"""A disk that remembers: a file in a file system of ours, which writes down what reaches it.

A loop device over that file is a disk to the kernel. It turns what a file system asks of a disk into
writes of the file, and the order to empty the disk's cache into an fsync of the file. So the journal
made here tells what a real disk was told and when, and what it may have lost at any moment: whatever
was written after the last order.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from mfusepy import (  # type: ignore[import-not-found, import-untyped, unused-ignore]  # of make powercut alone
    FUSE,
    FuseOSError,
    Operations,
)

from tests.powercut.journal import DISK_NAME, write_record


class Remembering(Operations):  # type: ignore[misc, unused-ignore]  # as above
    """The file system.

    :param image: an open file, which holds what is read
    :param journal: an open file, to be appended to
    """

    use_ns = True

    def __init__(self, image: int, journal: int) -> None:
        self._image = image
        self._journal = journal

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Describe the directory or the file."""
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        if path != f"/{DISK_NAME}":
            raise FuseOSError(errno.ENOENT)
        size = os.fstat(self._image).st_size
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

    def open(self, path: str, flags: int) -> int:
        """Whoever opens it has the same file."""
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Return what was written."""
        return os.pread(self._image, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Remember a write."""
        os.pwrite(self._image, data, offset)
        write_record(self._journal, offset, data)
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Remember an order."""
        write_record(self._journal)
        return 0


if __name__ == "__main__":
    _, _mount, _image, _journal = sys.argv
    FUSE(
        Remembering(
            os.open(_image, os.O_RDWR),
            os.open(_journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
        ),
        _mount,
        foreground=True,
        nothreads=True,
        direct_io=True,
    )
