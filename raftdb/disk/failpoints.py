"""Named points before and after each durable step, without a line in the code that takes the steps.

A :class:`FailpointFileSystem` stands between storage and the disk and calls ``failpoint`` with a
name such as ``before fdatasync segment`` or ``after rename spare``. What it does there is its own
affair: kill the process, raise, count.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from raftdb.disk.files import File, FileSystem, Lock, WriteHandle

T = TypeVar("T")
Failpoint = Callable[[str], None]

STEPS = ("create", "write", "fdatasync", "fsync", "rename", "unlink", "mkdir", "fsync_dir")
"""What is named; reading and closing change nothing that lasts."""

_ROLES = (".log", ".spare", ".copy", ".begun", ".snapshot", ".received", ".part")


def role_of(path: str) -> str:
    """Return what a path is to storage: ``log``, ``spare``, ``snapshot``, ``identity`` and so on.

    Directories go by their own name, the data directory as ``directory``.
    """
    name = os.path.basename(path)
    for role in _ROLES:
        if name.endswith(role):
            return "identity-part" if name.startswith("identity") else role[1:]
    return name if name in {"identity", "lock", "wal", "snapshots"} else "directory"


class FailpointFileSystem:
    """Passes everything on, and announces what changes the disk.

    :param failpoint: is called with ``before STEP ROLE`` and ``after STEP ROLE``
    """

    def __init__(self, files: FileSystem, failpoint: Failpoint) -> None:
        self._files = files
        self._failpoint = failpoint

    def open(self, path: str, *, create: bool = False, sectors: bool = False) -> File:
        """Pass on; making a file is a step."""

        def opened() -> File:
            return self._files.open(path, create=create, sectors=sectors)

        file = self.step("create", path, opened) if create else opened()
        return _FailpointFile(file, path, self)

    def rename(self, old: str, new: str) -> None:
        """Pass on; named after what the file was before."""
        self.step("rename", old, lambda: self._files.rename(old, new))

    def unlink(self, path: str) -> None:
        """Pass on."""
        self.step("unlink", path, lambda: self._files.unlink(path))

    def mkdir(self, path: str) -> None:
        """Pass on."""
        self.step("mkdir", path, lambda: self._files.mkdir(path))

    def fsync_dir(self, path: str) -> None:
        """Pass on."""
        self.step("fsync_dir", path, lambda: self._files.fsync_dir(path))

    def is_dir(self, path: str) -> bool:
        """Pass on."""
        return self._files.is_dir(path)

    def list(self, path: str) -> list[str]:
        """Pass on."""
        return self._files.list(path)

    def lock(self, path: str) -> Lock:
        """Pass on."""
        return self._files.lock(path)

    def free_bytes(self, path: str) -> int:
        """Pass on."""
        return self._files.free_bytes(path)

    def step(self, step: str, path: str, work: Callable[[], T]) -> T:
        """Take one step between its two points."""
        role = role_of(path)
        self._failpoint(f"before {step} {role}")
        result = work()
        self._failpoint(f"after {step} {role}")
        return result


class _FailpointFile:
    """Announces writes and syncs of one file."""

    def __init__(self, file: File, path: str, files: FailpointFileSystem) -> None:
        self._file = file
        self._path = path
        self._files = files

    @property
    def door(self) -> WriteHandle | None:
        return None

    def read_at(self, offset: int, count: int) -> bytes:
        return self._file.read_at(offset, count)

    def write_at(self, offset: int, content: bytes) -> None:
        self._files.step("write", self._path, lambda: self._file.write_at(offset, content))

    def size(self) -> int:
        return self._file.size()

    def fdatasync(self) -> None:
        self._files.step("fdatasync", self._path, self._file.fdatasync)

    def fsync(self) -> None:
        self._files.step("fsync", self._path, self._file.fsync)

    def close(self) -> None:
        self._file.close()
