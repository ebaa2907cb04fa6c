"""The snapshots of a data directory: which are kept, which are in use, what each file is called.

A file gets its final name only when all of it is durable, and is never changed afterwards. Two
complete snapshots are kept; one that is being read or streamed is *pinned* and stays until it is
let go. A snapshot received from a peer is a *candidate* until the log says that it is installed.

Bookkeeping happens in the reactor's thread, files are touched in the filler's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from raftdb.errors import Compacted, StorageError
from raftdb.raft.types import EntryID, SnapshotMetadata
from raftdb.storage.files import File, FileSystem
from raftdb.storage.limits import Run, StorageLimits
from raftdb.storage.segment import Owner
from raftdb.storage.snapshot_file import Prelude, SnapshotFileReader

_SUFFIX = ".snapshot"
_PART_SUFFIX = ".part"
_DIGITS = 16


def snapshot_name(last: EntryID) -> str:
    """Return the file name of a complete snapshot."""
    return f"{last.index:0{_DIGITS}d}-{last.term:0{_DIGITS}d}{_SUFFIX}"


def read_snapshots(
    files: FileSystem, directory: str, owner: Owner, limits: StorageLimits
) -> list[SnapshotMetadata]:
    """Return what the complete snapshots stand for; their contents are checked when read.

    :raises Corrupt: where a file's first bytes are damaged, or it has another one's name
    :raises StorageError: where a file is another cluster's, or another version's
    """
    found: list[SnapshotMetadata] = []
    for name in files.list(directory):
        if not name.endswith(_SUFFIX):
            continue
        path = os.path.join(directory, name)
        file = files.open(path)
        try:
            prelude = SnapshotFileReader(file, path, limits).prelude
        finally:
            file.close()
        check_cluster(prelude, owner, path)
        if snapshot_name(prelude.metadata.last) != name:
            raise StorageError(f"{path} holds the snapshot {snapshot_name(prelude.metadata.last)}")
        found.append(prelude.metadata)
    return found


def check_cluster(prelude: Prelude, owner: Owner, path: str) -> None:
    """Refuse a snapshot of another cluster.

    :raises StorageError: naming both
    """
    if (prelude.cluster_id, prelude.group) != (owner.cluster_id, owner.group):
        raise StorageError(
            f"{path} is of cluster {prelude.cluster_id:032x}, this directory of cluster"
            f" {owner.cluster_id:032x}"
        )


class SnapshotStore:
    """The snapshots of one data directory.

    :param run: the filler
    :param kept: the usable snapshots that recovery found, by index; all others are deleted
    """

    def __init__(
        self,
        files: FileSystem,
        directory: str,
        *,
        owner: Owner,
        run: Run,
        limits: StorageLimits,
        kept: list[SnapshotMetadata],
    ) -> None:
        self.files = files
        self.directory = directory
        self.owner = owner
        self.run = run
        self.limits = limits
        self._kept = kept
        self._candidate: SnapshotMetadata | None = None
        self._pins: dict[EntryID, int] = {}
        self._parts = 0

    @property
    def newest(self) -> SnapshotMetadata:
        """The newest complete snapshot of this node's state; index 0 for none."""
        return self._kept[-1] if self._kept else SnapshotMetadata()

    @property
    def kept(self) -> list[SnapshotMetadata]:
        """All complete snapshots of this node's state, by index, pinned ones included."""
        return list(self._kept)

    @property
    def compact_index(self) -> int:
        """How far the log may be dropped: the oldest kept snapshot, if it is not the only one."""
        if len(self._kept) < self.limits.snapshots_kept:
            return 0
        return self._kept[0].last.index

    def path(self, last: EntryID) -> str:
        """Return where a complete snapshot lies."""
        return os.path.join(self.directory, snapshot_name(last))

    def new_part(self) -> str:
        """Return a path for a file that is not complete yet."""
        self._parts += 1
        return os.path.join(self.directory, f"{self._parts:0{_DIGITS}d}{_PART_SUFFIX}")

    def publish(self, part: str, last: EntryID) -> None:
        """Give a complete, durable file its name, durably. Blocks."""
        self.files.rename(part, self.path(last))
        self.files.fsync_dir(self.directory)

    def created(self, metadata: SnapshotMetadata) -> Callable[[], None]:
        """Note a complete snapshot of the own state; return the work that deletes the excess."""
        if all(kept.last != metadata.last for kept in self._kept):
            self._kept.append(metadata)
            self._kept.sort(key=lambda kept: kept.last.index)
        return self.prune()

    def received(self, metadata: SnapshotMetadata) -> Callable[[], None]:
        """Note a complete snapshot from a peer, the only one that may be installed next.

        Returns the work that deletes the candidate before it.
        """
        doomed = self._withdraw(unless=metadata.last)
        if all(kept.last != metadata.last for kept in self._kept):
            self._candidate = metadata
        return self._deletion(doomed)

    def installed(self, metadata: SnapshotMetadata) -> Callable[[], None]:
        """Note that the log now begins with this snapshot, received before.

        Returns the work that deletes the excess.
        """
        if self._candidate is not None and self._candidate.last == metadata.last:
            self._candidate = None
        return self.created(metadata)

    def has(self, last: EntryID) -> bool:
        """Tell whether a complete file of this name is there, installed or not."""
        candidate = self._candidate
        return any(kept.last == last for kept in self._kept) or (
            candidate is not None and candidate.last == last
        )

    def forget(self, last: EntryID) -> Callable[[], None]:
        """Return the work that deletes a complete file nobody needs, if it is not kept."""
        return self._deletion([] if self.has(last) else [last])

    def prune(self) -> Callable[[], None]:
        """Forget all but the newest and the pinned; return the work that deletes their files."""
        excess = self._kept[: -self.limits.snapshots_kept]
        doomed = [old.last for old in excess if not self._pins.get(old.last)]
        self._kept = [kept for kept in self._kept if kept.last not in doomed]
        if self._candidate is not None and self._candidate.last.index <= self.newest.last.index:
            doomed += self._withdraw(unless=None)
        return self._deletion(doomed)

    def pin(self, last: EntryID) -> str:
        """Keep a snapshot's file until :meth:`unpin`; return its path.

        :raises Compacted: where it is not kept any more
        """
        if all(kept.last != last for kept in self._kept):
            raise Compacted(f"the snapshot at {last} is not kept any more")
        self._pins[last] = self._pins.get(last, 0) + 1
        return self.path(last)

    def unpin(self, last: EntryID) -> Callable[[], None]:
        """Let go of a snapshot; return the work that deletes what is kept no longer."""
        self._pins[last] -= 1
        if not self._pins[last]:
            del self._pins[last]
        return self.prune()

    def _withdraw(self, *, unless: EntryID | None) -> list[EntryID]:
        """Forget the candidate; return it if its file is to go."""
        candidate, self._candidate = self._candidate, None
        return [] if candidate is None or candidate.last == unless else [candidate.last]

    def _deletion(self, doomed: list[EntryID]) -> Callable[[], None]:
        def work() -> None:
            for last in doomed:
                self.files.unlink(self.path(last))
            if doomed:
                self.files.fsync_dir(self.directory)

        return work


def discard_part(files: FileSystem, path: str, file: File) -> None:
    """Remove what was written of a file that will never be complete. Blocks."""
    file.close()
    with suppress(OSError):
        files.unlink(path)


def delete_unusable(
    files: FileSystem, directory: str, usable: list[SnapshotMetadata], kept_max: int
) -> list[SnapshotMetadata]:
    """Delete parts and all snapshots but the newest usable ones; return those. Blocks."""
    kept = usable[-kept_max:]
    names = [snapshot_name(snapshot.last) for snapshot in kept]
    for name in files.list(directory):
        if name.endswith(_PART_SUFFIX) or (name.endswith(_SUFFIX) and name not in names):
            files.unlink(os.path.join(directory, name))
    files.fsync_dir(directory)
    return kept
