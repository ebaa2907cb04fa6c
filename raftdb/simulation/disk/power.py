"""How the power fails: after a number of further operations of the disk, or at a named durable step.

What a disk then keeps is :mod:`raftdb.simulation.disk.lossy_disk`'s question.
"""

from __future__ import annotations

from raftdb.simulation.disk.lossy_disk import LossyDisk


class PowerFailure(BaseException):
    """The power is gone in the middle of a piece of work; nobody catches that."""


class FusedDisk(LossyDisk):
    """A lossy disk whose power can fail after a number of further operations."""

    fuse: int | None = None

    def unlink(self, path: str) -> None:
        """Remove a name, if there is power."""
        self._burn()
        super().unlink(path)

    def check_writable(self, path: str) -> None:
        """Let a write pass, if there is power."""
        self._burn()
        super().check_writable(path)

    def fails_sync(self) -> bool:
        """Let a sync pass, if there is power."""
        self._burn()
        return super().fails_sync()

    def _burn(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise PowerFailure


def _points(*steps: str) -> tuple[str, ...]:
    return tuple(f"{when} {step}" for step in steps for when in ("before", "after"))


LIFE = _points(
    *("create spare", "write spare", "fsync spare", "fdatasync spare", "rename spare"),
    *("write log", "fdatasync log", "unlink log", "rename begun", "fsync_dir wal"),
    *("create part", "write part", "fsync part", "rename part", "unlink part"),
    *("rename received", "unlink snapshot", "fsync_dir snapshots"),
)
"""The durable steps of a node that runs, as :mod:`raftdb.disk.failpoints` names them.

A segment is a spare of zeros that gets a header and a name; batches are written and synced; the old
ones are deleted. A snapshot, own or received, is a part until all of it is durable.
"""

START = _points(
    *("create copy", "write copy", "fsync copy", "rename copy", "unlink copy", "rename begun"),
    *("unlink spare", "unlink part", "unlink snapshot", "fsync_dir wal", "fsync_dir snapshots"),
    "fsync_dir directory",
)
"""Those of a start: the last segment is copied, what was never part of the log is removed."""

BEGINNING = _points(
    *("mkdir directory", "mkdir wal", "mkdir snapshots", "fsync_dir directory"),
    *("create spare", "write spare", "fsync spare", "fdatasync spare", "rename spare"),
    *("fsync_dir wal", "create begun", "write log", "fdatasync log"),
    *("create identity-part", "write identity-part", "fsync identity-part"),
    "rename identity-part",
)
"""Those of the making of a data directory; the identity comes last."""


class Trap:
    """A failpoint: lets the power fail when a durable step is come to, by its name."""

    def __init__(self) -> None:
        self._point: str | None = None
        self._skipped = 0
        self.sprung: str | None = None
        """Where the power failed; nothing more is done until :meth:`disarm`."""

    def arm(self, point: str, skipped: int = 0) -> None:
        """Wait for ``point``, after having let it pass so many times; replaces the one before."""
        self._point = point
        self._skipped = skipped

    def disarm(self) -> None:
        """Wait for nothing, and let there be power."""
        self._point = self.sprung = None

    def __call__(self, point: str) -> None:
        """Take note of a step; raise :class:`PowerFailure` where it is the one, and ever after."""
        if self.sprung is None and point == self._point:
            self._skipped -= 1
            if self._skipped < 0:
                self.sprung = point
        if self.sprung is not None:
            raise PowerFailure(self.sprung)
