"""The snapshots of a data directory: which are kept, which are in use, what each file is called.

A file gets its final name only when all of it is durable, and is never changed afterwards. Two
complete snapshots are kept; one that is being read or streamed is *pinned* and stays until it is
let go. A snapshot received from a peer is a *candidate* until the log says that it is installed:
until then its file has another name than one of the own state, which proves how far the log has to
go (:mod:`raftdb.storage.evidence`).

Bookkeeping happens in the reactor's thread, files are touched in the filler's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from raftdb.disk.files import File, FileSystem
from raftdb.errors import Compacted, StorageError
from raftdb.raft.types import EntryID, SnapshotMetadata
from raftdb.storage.filler import Filler
from raftdb.storage.limits import StorageLimits
from raftdb.storage.ownership import is_snapshot_file
from raftdb.storage.segment import Owner
from raftdb.storage.snapshot_file import Prelude, SnapshotFileReader

_SUFFIX = ".snapshot"
_RECEIVED_SUFFIX = ".received"
_PART_SUFFIX = ".part"
_DIGITS = 16


def snapshot_name(last: EntryID) -> str:
    """Return the file name of a complete snapshot of this node's state."""
    return f"{last.index:0{_DIGITS}d}-{last.term:0{_DIGITS}d}{_SUFFIX}"


def received_name(last: EntryID) -> str:
    """Return the file name of a complete snapshot from a peer, until it is installed."""
    return snapshot_name(last).removesuffix(_SUFFIX) + _RECEIVED_SUFFIX


class Found(NamedTuple):
    """A complete snapshot on the disk.

    :param received: from a peer, and not known to be installed
    """

    metadata: SnapshotMetadata
    received: bool


def read_snapshots(
    files: FileSystem, directory: str, owner: Owner, limits: StorageLimits
) -> list[Found]:
    """Return what the complete snapshots stand for; their contents are checked when read.

    :raises Corrupt: where a file's first bytes are damaged, or it has another one's name
    :raises StorageError: where a file is another cluster's, or another version's
    """
    found: list[Found] = []
    for name in files.list(directory):
        if not is_snapshot_file(name) or name.endswith(_PART_SUFFIX):
            continue
        path = os.path.join(directory, name)
        file = files.open(path)
        try:
            prelude = SnapshotFileReader(file, path, limits).prelude
        finally:
            file.close()
        check_cluster(prelude, owner, path)
        received = name.endswith(_RECEIVED_SUFFIX)
        last = prelude.metadata.last
        if name != (received_name(last) if received else snapshot_name(last)):
            raise StorageError(f"{path} holds the snapshot {snapshot_name(last)}")
        found.append(Found(prelude.metadata, received))
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
        run: Filler,
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
        """Return where a complete snapshot of this node's state lies."""
        return os.path.join(self.directory, snapshot_name(last))

    def received_path(self, last: EntryID) -> str:
        """Return where a complete snapshot from a peer lies until it is installed."""
        return os.path.join(self.directory, received_name(last))

    def new_part(self) -> str:
        """Return a path for a file that is not complete yet."""
        self._parts += 1
        return os.path.join(self.directory, f"{self._parts:0{_DIGITS}d}{_PART_SUFFIX}")

    def publish(self, part: str, path: str) -> None:
        """Give a complete, durable file its name, durably. Blocks."""
        self.files.rename(part, path)
        self.files.fsync_dir(self.directory)

    def created(self, metadata: SnapshotMetadata) -> Callable[[], None]:
        """Note a complete snapshot of the own state; return the work that deletes the excess."""
        if not self._keeps(metadata.last):
            self._kept.append(metadata)
            self._kept.sort(key=lambda kept: kept.last.index)
        return self.prune()

    def received(self, metadata: SnapshotMetadata) -> Callable[[], None]:
        """Note a complete snapshot from a peer, the only one that may be installed next.

        Returns the work that deletes the candidate before it, or this one where it is kept already.
        """
        doomed = self._withdraw(unless=metadata.last)
        if self._keeps(metadata.last):
            doomed.append(self.received_path(metadata.last))
        else:
            self._candidate = metadata
        return self._deletion(doomed)

    def installed(self, metadata: SnapshotMetadata) -> Callable[[], None]:
        """Note that the log now begins with this snapshot, received before.

        Returns the work that gives it its final name and deletes the excess.
        """
        candidate = self._candidate
        if candidate is None or candidate.last != metadata.last:
            return self.created(metadata)
        self._candidate = None
        delete = self.created(metadata)

        def work() -> None:
            self.publish(self.received_path(metadata.last), self.path(metadata.last))
            delete()

        return work

    def has(self, last: EntryID) -> bool:
        """Tell whether a complete file of this name is there, installed or not."""
        candidate = self._candidate
        return self._keeps(last) or (candidate is not None and candidate.last == last)

    def forget(self, last: EntryID) -> Callable[[], None]:
        """Return the work that deletes a complete file nobody needs, if it is not kept."""
        return self._deletion([] if self._keeps(last) else [self.path(last)])

    def prune(self) -> Callable[[], None]:
        """Forget all but the newest and the pinned; return the work that deletes their files."""
        excess = self._kept[: -self.limits.snapshots_kept]
        doomed = [old.last for old in excess if not self._pins.get(old.last)]
        self._kept = [kept for kept in self._kept if kept.last not in doomed]
        paths = [self.path(last) for last in doomed]
        if self._candidate is not None and self._candidate.last.index <= self.newest.last.index:
            paths += self._withdraw(unless=None)
        return self._deletion(paths)

    def pin(self, last: EntryID) -> str:
        """Keep a snapshot's file until :meth:`unpin`; return its path.

        :raises Compacted: where it is not kept any more
        """
        if not self._keeps(last):
            raise Compacted(f"the snapshot at {last} is not kept any more")
        self._pins[last] = self._pins.get(last, 0) + 1
        return self.path(last)

    def unpin(self, last: EntryID) -> Callable[[], None]:
        """Let go of a snapshot; return the work that deletes what is kept no longer."""
        self._pins[last] -= 1
        if not self._pins[last]:
            del self._pins[last]
        return self.prune()

    def _keeps(self, last: EntryID) -> bool:
        return any(kept.last == last for kept in self._kept)

    def _withdraw(self, *, unless: EntryID | None) -> list[str]:
        """Forget the candidate; return the path of its file if that is to go."""
        candidate, self._candidate = self._candidate, None
        if candidate is None or candidate.last == unless:
            return []
        return [self.received_path(candidate.last)]

    def _deletion(self, paths: list[str]) -> Callable[[], None]:
        def work() -> None:
            for path in paths:
                self.files.unlink(path)
            if paths:
                self.files.fsync_dir(self.directory)

        return work


def discard_part(files: FileSystem, path: str, file: File) -> None:
    """Remove what was written of a file that will never be complete. Blocks."""
    file.close()
    with suppress(OSError):
        files.unlink(path)


def delete_parts(files: FileSystem, directory: str) -> None:
    """Delete what was never complete; a start may need the room. Blocks."""
    for name in files.list(directory):
        if is_snapshot_file(name) and name.endswith(_PART_SUFFIX):
            files.unlink(os.path.join(directory, name))


def keep_usable(
    files: FileSystem, directory: str, usable: list[SnapshotMetadata], kept_max: int
) -> list[SnapshotMetadata]:
    """Delete all snapshots but the newest usable ones; return those. Blocks.

    One of those that was received, and lies in the log by now, gets its final name.
    """
    kept = usable[-kept_max:]
    names = files.list(directory)
    for snapshot in kept:
        own, received = snapshot_name(snapshot.last), received_name(snapshot.last)
        if own not in names and received in names:
            files.rename(os.path.join(directory, received), os.path.join(directory, own))
    wanted = [snapshot_name(snapshot.last) for snapshot in kept]
    for name in files.list(directory):
        if is_snapshot_file(name) and name not in wanted:
            files.unlink(os.path.join(directory, name))
    files.fsync_dir(directory)
    return kept
