"""A disk in memory that forgets: what was not synced may be lost, torn or reordered at a crash.

It keeps two pictures of everything: what reads see (the page cache) and what the platter holds.
The rule of the game:

- a write is on the platter after the file's fdatasync or fsync; at a power loss each 512-byte
  sector of it is there or not, as the seed decides, or the whole of it is cut off at some byte;
- a new, renamed or removed name is on the platter after its directory's fsync; at a power loss each
  such change is there or not, in the order they were made;
- after an fsync that *failed* reads still see what was written and later syncs succeed, but the
  platter never gets it, unless it is written anew (Linux does just that);
- a killed process loses its open files and its locks; only a power loss loses what was not synced.

What was synced stays, until a test lets it rot.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from raftdb.disk.files import SECTOR_BYTES, FailedSync


class _Range(NamedTuple):
    """Bytes ``[begin, end)`` written and not synced."""

    begin: int
    end: int


class _Inode:
    """A file's contents, twice."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.platter = bytearray()
        self.dirty: list[_Range] = []

    def write(self, offset: int, content: bytes) -> None:
        end = offset + len(content)
        if len(self.cache) < end:
            self.cache.extend(bytes(end - len(self.cache)))
        self.cache[offset:end] = content
        self.dirty.append(_Range(offset, end))

    def sync(self) -> None:
        for begin, end in self.dirty:
            self._settle(begin, end)
        self.dirty.clear()

    def lose_power(self, rng: Random) -> None:
        """Let some of what was not synced reach the platter, then forget the rest."""
        style = rng.randrange(4)
        for begin, end in self.dirty:
            if style == 0:
                self._settle(begin, rng.randint(begin, end))
            elif style == 1:
                self._settle_sectors(begin, end, lambda: rng.random() < 0.5)
            elif style == 2:
                self._settle(begin, end)
        self.dirty.clear()
        self.cache = bytearray(self.platter)

    def _settle_sectors(self, begin: int, end: int, settles: Callable[[], bool]) -> None:
        first = begin - begin % SECTOR_BYTES
        for sector in range(first, end, SECTOR_BYTES):
            if settles():
                self._settle(max(begin, sector), min(end, sector + SECTOR_BYTES))

    def _settle(self, begin: int, end: int) -> None:
        if len(self.platter) < end:
            self.platter.extend(bytes(end - len(self.platter)))
        self.platter[begin:end] = self.cache[begin:end]


class _Change(NamedTuple):
    """One change of a directory that is not synced: ``inode`` is that of a new name, or a moved one.

    A renaming brings its file along, whatever became of the changes before it: no file system gives
    the new name to a file that had the old name once.
    """

    name: str
    inode: _Inode | None = None
    moved_to: str | None = None

    def make(self, names: dict[str, _Inode]) -> None:
        if self.inode is None:
            names.pop(self.name, None)
        elif self.moved_to is None:
            names[self.name] = self.inode
        else:
            if names.get(self.name) is self.inode:
                del names[self.name]
            names[self.moved_to] = self.inode


class _Directory:
    """The names of one directory, twice."""

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self.cache: dict[str, _Inode] = {}
        self.platter: dict[str, _Inode] = {}
        self.changes: list[_Change] = []

    def change(self, change: _Change) -> None:
        change.make(self.cache)
        self.changes.append(change)

    def sync(self) -> None:
        for change in self.changes:
            change.make(self.platter)
        self.changes.clear()

    def lose_power(self, rng: Random) -> None:
        for change in self.changes:
            if rng.random() < 0.5:
                change.make(self.platter)
        self.changes.clear()
        self.cache = dict(self.platter)
        for inode in self.cache.values():
            inode.lose_power(rng)


class LossyFile:
    """An open file; of no use after the process that opened it was killed.

    :param sectors: whether only whole sectors may be written
    """

    def __init__(self, disk: LossyDisk, inode: _Inode, path: str, *, sectors: bool) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path
        self._sectors = sectors
        self._process = disk.processes
        self._open = True

    @property
    def door(self) -> None:
        """None: no system knows it."""
        return None

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``."""
        self._check()
        self._disk.check_readable(self._path)
        return bytes(self._inode.cache[offset : offset + count])

    def write_at(self, offset: int, content: bytes) -> None:
        """Write into the page cache."""
        self._check()
        whole = not offset % SECTOR_BYTES and not len(content) % SECTOR_BYTES
        assert whole or not self._sectors, "whole sectors were promised"
        self._disk.check_writable(self._path)
        self._disk.take_room(offset + len(content) - len(self._inode.cache), self._path)
        self._inode.write(offset, content)

    def size(self) -> int:
        """Return the length in bytes."""
        self._check()
        return len(self._inode.cache)

    def fdatasync(self) -> None:
        """Bring what was written to the platter, unless a failure is due."""
        self._check()
        if self._disk.fails_sync():
            # The pages are marked clean though they were not written: nobody writes them again.
            self._inode.dirty.clear()
            raise FailedSync(errno.EIO, "the simulated disk failed to sync", self._path)
        self._inode.sync()

    def fsync(self) -> None:
        """Do what fdatasync does."""
        self.fdatasync()

    def close(self) -> None:
        """Close it; what was not synced stays in the page cache."""
        self._open = False

    def _check(self) -> None:
        if not self._open or self._process != self._disk.processes:
            raise OSError(errno.EBADF, "the file is closed", self._path)


class LossyLock:
    """A lock of one process."""

    def __init__(self, disk: LossyDisk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._process = disk.processes

    def close(self) -> None:
        """Give it back; again is allowed."""
        if self._process == self._disk.processes:
            self._disk.unlock(self._path)


class LossyDisk:
    """A file system for one simulated machine. Paths are absolute, with ``/``.

    :param rng: decides what survives a power loss
    :param capacity_bytes: of all files together; None for no bound. May be changed at any time.
    """

    def __init__(self, rng: Random, *, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.processes = 0
        self.syncs_to_fail = 0
        """How many of the next syncs fail, of files and of directories."""
        self.broken = False
        """Whether every read and write fails with EIO."""
        self._rng = rng
        self._directories = {"/": _Directory(durable=True)}
        self._locks: dict[str, None] = {}

    # -- FileSystem --

    def open(self, path: str, *, create: bool = False, sectors: bool = False) -> LossyFile:
        """Open a file, or make one."""
        directory, name = self._split(path)
        if create:
            if name in directory.cache:
                raise FileExistsError(errno.EEXIST, "the file exists", path)
            self.check_writable(path)
            directory.change(_Change(name, _Inode()))
        elif name not in directory.cache:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return LossyFile(self, directory.cache[name], path, sectors=sectors)

    def rename(self, old: str, new: str) -> None:
        """Rename within one directory."""
        directory, name = self._split(old)
        assert self._split(new)[0] is directory, "storage renames within a directory"
        if name not in directory.cache:
            raise FileNotFoundError(errno.ENOENT, "no such file", old)
        self.check_writable(old)
        moved_to = posixpath.basename(new)
        directory.change(_Change(name, directory.cache[name], moved_to))

    def unlink(self, path: str) -> None:
        """Remove a name."""
        directory, name = self._split(path)
        if name not in directory.cache:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        directory.change(_Change(name))

    def mkdir(self, path: str) -> None:
        """Make a directory, if it is missing."""
        self._parent(path)
        self._directories.setdefault(path, _Directory(durable=False))

    def fsync_dir(self, path: str) -> None:
        """Bring the names in a directory to the platter, those of directories too.

        After a failure nothing has come to it; the changes stay where they are.
        """
        directory = self._directory(path)
        if self.fails_sync():
            raise FailedSync(errno.EIO, "the simulated disk failed to sync", path)
        directory.sync()
        for child, directory in self._directories.items():
            if child != path and posixpath.dirname(child) == path:
                directory.durable = True

    def is_dir(self, path: str) -> bool:
        """Tell whether there is such a directory."""
        return path in self._directories

    def list(self, path: str) -> list[str]:
        """Return the names of files and directories in a directory."""
        if path not in self._directories:
            return []
        children = [
            posixpath.basename(child)
            for child in self._directories
            if child != path and posixpath.dirname(child) == path
        ]
        return sorted([*self._directories[path].cache, *children])

    def lock(self, path: str) -> LossyLock:
        """Take a lock, unless somebody of this process has it."""
        self._parent(path)
        if path in self._locks:
            raise BlockingIOError(errno.EAGAIN, "locked", path)
        self._locks[path] = None
        return LossyLock(self, path)

    def free_bytes(self, path: str) -> int:
        """Return what is left of the capacity."""
        self._directory(path)
        return (
            2**62 if self.capacity_bytes is None else max(0, self.capacity_bytes - self.used_bytes)
        )

    # -- faults --

    def kill_process(self) -> None:
        """End the process: open files and locks go, the page cache stays."""
        self.processes += 1
        self._locks.clear()

    def lose_power(self) -> None:
        """End the process and forget what was not synced, as the seed decides."""
        self.kill_process()
        self.syncs_to_fail = 0
        for path in sorted(self._directories):
            directory = self._directories[path]
            lost = posixpath.dirname(path) not in self._directories
            if lost or (not directory.durable and self._rng.random() < 0.5):
                del self._directories[path]
            else:
                directory.durable = True
                directory.lose_power(self._rng)

    def contents(self, path: str) -> bytes:
        """Return what a read would see of a whole file."""
        directory, name = self._split(path)
        return bytes(directory.cache[name].cache)

    def overwrite(self, path: str, content: bytes) -> None:
        """Let a file rot: from now on it holds ``content``, on the platter too."""
        directory, name = self._split(path)
        inode = directory.cache[name]
        inode.cache = bytearray(content)
        inode.platter = bytearray(content)
        inode.dirty.clear()

    def flip(self, path: str, bit: int) -> None:
        """Let one bit of a file rot, counted from the first byte's lowest."""
        content = bytearray(self.contents(path))
        content[bit // 8] ^= 1 << bit % 8
        self.overwrite(path, bytes(content))

    # -- for the open files --

    def check_readable(self, path: str) -> None:
        """Fail where the disk is broken."""
        if self.broken:
            raise OSError(errno.EIO, "the simulated disk is broken", path)

    def check_writable(self, path: str) -> None:
        """Fail where the disk is broken."""
        self.check_readable(path)

    def take_room(self, bytes_count: int, path: str) -> None:
        """Fail where a file cannot grow by so much."""
        if bytes_count > 0 and self.free_bytes(posixpath.dirname(path)) < bytes_count:
            raise OSError(errno.ENOSPC, "the simulated disk is full", path)

    def fails_sync(self) -> bool:
        """Tell whether the sync that is asked for now fails."""
        if self.broken:
            return True
        if self.syncs_to_fail > 0:
            self.syncs_to_fail -= 1
            return True
        return False

    def unlock(self, path: str) -> None:
        """Give a lock back."""
        self._locks.pop(path, None)

    @property
    def used_bytes(self) -> int:
        """What all files take together."""
        return sum(
            len(inode.cache)
            for directory in self._directories.values()
            for inode in directory.cache.values()
        )

    def _split(self, path: str) -> tuple[_Directory, str]:
        return self._parent(path), posixpath.basename(path)

    def _parent(self, path: str) -> _Directory:
        return self._directory(posixpath.dirname(path))

    def _directory(self, path: str) -> _Directory:
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        return self._directories[path]
