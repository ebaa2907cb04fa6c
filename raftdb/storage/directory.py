"""The data directory of a node: who may use it, whose it is, how it begins and how it comes back.

::

    lock          locked while a process uses the directory
    identity      whose it is; written last
    wal/          the log: NNNNNNNNNNNNNNNN.log, and spares
    snapshots/    INDEX-TERM.snapshot

Everything here blocks, and happens before the node speaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from twisted.python.failure import Failure

from raftdb.disk.files import FileSystem, Lock
from raftdb.disk.work import Run
from raftdb.errors import Corrupt, StorageError
from raftdb.raft.types import ZERO, Entry, HardState
from raftdb.storage.batch import SALT_BYTES
from raftdb.storage.durable import DurableStorage
from raftdb.storage.evidence import check_complete
from raftdb.storage.filler import Filler
from raftdb.storage.identity import IDENTITY_NAME, Identity, read_identity, write_identity
from raftdb.storage.limits import StorageLimits
from raftdb.storage.ownership import (
    LOCK_NAME,
    LOG_NAME,
    SNAPSHOTS_NAME,
    check_beginnings,
    check_leftovers,
    check_part,
    is_snapshot_file,
    refuse_foreign,
)
from raftdb.storage.record import Record
from raftdb.storage.recovery import (
    Held,
    Recovered,
    Tail,
    has_history,
    read_log,
    rewrite_log,
)
from raftdb.storage.replay import Replay
from raftdb.storage.segment import (
    ADVICE,
    HEADER_BYTES,
    SegmentHeader,
    segment_name,
    segment_number,
    spare_name,
)
from raftdb.storage.snapshots import SnapshotStore, delete_parts, keep_usable, read_snapshots
from raftdb.storage.space import Spare, begin_segment, make_spare, make_zeroed, set_mark
from raftdb.storage.wal import Wal

_STAYING = (LOCK_NAME, IDENTITY_NAME)


class DataDirectory:
    """A directory that is locked for this process; :meth:`open` makes one.

    :param identity: whose it is, or None where it is empty
    """

    def __init__(self, files: FileSystem, path: str, lock: Lock, identity: Identity | None) -> None:
        self._files = files
        self._lock = lock
        self.path = path
        self.identity = identity

    @classmethod
    def open(cls, files: FileSystem, path: str) -> DataDirectory:
        """Make the directory where it is missing, lock it, and read whose it is.

        :raises StorageError: where another process uses it, it holds something else or a log that is
            nobody's, or it cannot be used
        :raises Corrupt: where the identity is damaged
        """
        try:
            _make_directories(files, path)
            # Before anything is changed, its mode included: it may be somebody else's.
            names = files.list(path)
            if IDENTITY_NAME in names:
                read_identity(files, path)
            else:
                _refuse_history(files, path)
                refuse_foreign(files, path, names)
            files.mkdir(path)
            lock = files.lock(os.path.join(path, LOCK_NAME))
        except BlockingIOError as error:
            raise StorageError(
                f"{path} is in use by another process: stop that one, or give this one its own"
                " directory"
            ) from error
        except (FileExistsError, NotADirectoryError) as error:
            raise StorageError(
                f"{path} cannot be used as a data directory: {error.filename or path} is a file;"
                " give the node a directory of its own"
            ) from error
        except PermissionError as error:
            raise StorageError(
                f"{path} cannot be used as a data directory: {error}; it must belong to the user"
                " that runs the node"
            ) from error
        except OSError as error:
            raise StorageError(f"{path} cannot be used as a data directory: {error}") from error
        try:
            identity = read_identity(files, path)
            if identity is None:
                # Now, not when the directory is made somebody's: a cluster that has taken the node in
                # by then has removed the member whose log this is.
                _beginnings(files, path)
                check_part(files, path)
        except BaseException:
            lock.close()
            raise
        return cls(files, path, lock, identity)

    def create(
        self,
        identity: Identity,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[Entry] = (),
        limits: StorageLimits | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Make the empty directory this member's, with a log that begins with ``entries``.

        The identity comes last: if the process dies before, the directory is still empty.

        :param hard_state: in force from the start; its commit may cover the entries
        :raises StorageError: where somebody's log is in it
        """
        assert self.identity is None, "the directory is somebody's already"
        limits = (limits or StorageLimits()).check()
        try:
            _sync_above(self._files, self.path)
            self._remove_beginnings()
            self.check_room(limits)
            self._begin_log(identity, Record(hard_state, None, entries), limits, entropy)
            write_identity(self._files, self.path, identity)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be set up: {error}") from error
        self.identity = identity

    def check_room(self, limits: StorageLimits) -> None:
        """See to it that the empty directory can be made somebody's, and be started on afterwards.

        :raises StorageError: where the file system has less room, naming what it needs
        """
        need = 2 * limits.segment_bytes
        free = self._files.free_bytes(self.path)
        if free < need:
            raise StorageError(
                f"{self.path} cannot be set up: {need} bytes have to be free on its file system, for"
                f" the log and for the room that each start needs, and {free} are. Make room, or"
                " take a smaller --segment-bytes"
            )

    def recover(
        self,
        *,
        run: Run,
        fill: Run,
        crash: Callable[[Failure], None],
        limits: StorageLimits | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> DurableStorage:
        """Read the log and the snapshots, make durable again what was read, and open for writing.

        This may be called in any thread; what it returns belongs to the reactor's. Where it fails
        the directory is still to be closed.

        :param run: the writer thread's; not used before the first save
        :param fill: the filler thread's; likewise
        :param crash: ends the process; is called in the reactor's thread where a sync fails, or
            files are gone, that no save waits for
        :raises Corrupt: where anything else than a torn tail is wrong; nothing is changed then
        :raises StorageError: where the files are another node's or version's, or the disk fails
        """
        assert self.identity is not None, "create the directory first"
        limits = (limits or StorageLimits()).check()
        try:
            return self._recover(self.identity, run, Filler(fill, crash), limits, entropy)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be recovered: {error}") from error

    def close(self) -> None:
        """Give the directory back, where no storage was made of it."""
        self._lock.close()

    def _recover(
        self,
        identity: Identity,
        run: Run,
        fill: Filler,
        limits: StorageLimits,
        entropy: Callable[[int], bytes],
    ) -> DurableStorage:
        files, owner = self._files, identity.owner
        # The identity, too, may be in the page cache alone [R4]: 1. the process that made the directory
        # is killed between rename and fsync; 2. the next one finds the identity, votes and
        # acknowledges; 3. the power fails, and the log it rests on is nobody's.
        files.fsync_dir(self.path)
        directory = os.path.join(self.path, SNAPSHOTS_NAME)
        found = read_snapshots(files, directory, owner, limits)
        log_directory = os.path.join(self.path, LOG_NAME)
        log = read_log(files, log_directory, owner)
        check_leftovers(files, log_directory, log.leftovers)
        own = [snapshot.metadata for snapshot in found if not snapshot.received]
        check_complete(log, log_directory, own, directory)
        usable = log.replay.usable(snapshot.metadata for snapshot in found)
        if not usable and log.replay.base != ZERO:
            raise Corrupt(
                directory,
                0,
                f"the log begins after {log.replay.base}, and no snapshot reaches it; {ADVICE}",
            )
        delete_parts(files, directory)
        recovered = rewrite_log(files, log_directory, log, limits)
        kept = keep_usable(files, directory, usable, limits.snapshots_kept)
        return DurableStorage(
            identity=identity,
            memory=log.replay.storage(kept),
            wal=Wal(
                files,
                log_directory,
                recovered=recovered,
                limits=limits,
                entropy=entropy,
            ),
            snapshots=SnapshotStore(
                files, directory, owner=owner, run=fill, limits=limits, kept=kept
            ),
            run=run,
            fill=fill,
            root={self.path: [name for name in files.list(self.path) if name in _STAYING]},
            limits=limits,
            lock=self._lock,
        )

    def _begin_log(
        self,
        identity: Identity,
        record: Record,
        limits: StorageLimits,
        entropy: Callable[[int], bytes],
    ) -> None:
        """Make the first segment, and in it the first batch if there is anything to say."""
        files = self._files
        for name in (LOG_NAME, SNAPSHOTS_NAME):
            files.mkdir(os.path.join(self.path, name))
        files.fsync_dir(self.path)
        directory = os.path.join(self.path, LOG_NAME)
        header = SegmentHeader(
            owner=identity.owner,
            number=1,
            size=limits.segment_bytes,
            sequence=1,
            salt=entropy(SALT_BYTES),
            chain=b"",
            previous=ZERO,
            hard_state=HardState(),
        )
        spare = Spare(os.path.join(directory, spare_name(0)), 0, header.size)
        make_zeroed(files, spare.path, spare.size)
        path = os.path.join(directory, segment_name(1))
        file, chain = begin_segment(files, directory, path, spare, header)
        set_mark(files, directory, 1)
        # The first start needs it, and should not find out that there is no room any more.
        make_spare(files, directory, 1, header.size, free_bytes_min=0)
        tail = Tail(file, path, header, HEADER_BYTES, 1, chain)
        recovered = Recovered(Replay(), [Held(1, 0)], tail, [], mark=1)
        wal = Wal(files, directory, recovered=recovered, limits=limits, entropy=entropy)
        if record.hard_state is not None or record.entries:
            wal.append(record)()
        wal.abandon()

    def _remove_beginnings(self) -> None:
        """Remove what an interrupted creation left, and nothing that ever was in use."""
        files = self._files
        log = os.path.join(self.path, LOG_NAME)
        names = _beginnings(files, self.path)
        for name in names:
            files.unlink(os.path.join(log, name))
        if names:
            files.fsync_dir(log)


def _beginnings(files: FileSystem, path: str) -> Sequence[str]:
    """Return the names in the log of a directory without an identity: an interrupted creation's.

    :raises StorageError: where anything of it ever was in use, or is not ours
    """
    _refuse_history(files, path)
    log = os.path.join(path, LOG_NAME)
    names = files.list(log)
    check_beginnings(files, log, names)
    return names


def _refuse_history(files: FileSystem, path: str) -> None:
    """Refuse a directory without an identity in which there is somebody's log, or a snapshot."""
    log = os.path.join(path, LOG_NAME)
    names = files.list(log)
    first = segment_name(1)
    if (
        any(is_snapshot_file(name) for name in files.list(os.path.join(path, SNAPSHOTS_NAME)))
        or any(segment_number(name) is not None and name != first for name in names)
        or (first in names and has_history(files, os.path.join(log, first)))
    ):
        raise StorageError(
            f"{path} holds a log but no file named {IDENTITY_NAME}: restore that file, or"
            " move the directory away and let the node join as a new member"
        )


def _make_directories(files: FileSystem, path: str) -> None:
    """Make a directory and those above it, durably, where they are missing."""
    if files.is_dir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    _make_directories(files, parent)
    files.mkdir(path)
    files.fsync_dir(parent)


def _sync_above(files: FileSystem, path: str) -> None:
    """Make durable again that a directory is where it is [R4]: who made it may have died before that.

    All the way up, for nobody knows from where on it was made. What may not be read is somebody
    else's, and was not made here.
    """
    above = os.path.dirname(os.path.abspath(path))
    with suppress(PermissionError):
        files.fsync_dir(above)
    if above != os.path.dirname(above):
        _sync_above(files, above)
