"""One snapshot being written, read, streamed to a peer or received from one: Deferreds over files.

Each object is used by one party, which waits for an answer before it asks again. The files are
touched by the filler thread only.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from raftdb.disk.files import File
from raftdb.errors import Corrupt, RemoteProtocolError, StorageError
from raftdb.raft.types import EntryID, SnapshotMetadata
from raftdb.storage.snapshot_file import Prelude, SnapshotFileReader, SnapshotFileWriter
from raftdb.storage.snapshots import SnapshotStore, check_cluster, discard_part

READ_BYTES = 1 << 20
"""About how much of a snapshot is read in one piece of work."""


class SnapshotWriting:
    """A snapshot of the own state being written; nothing of it is visible before ``commit``.

    :param committed: is told when the file is durable under its name
    """

    def __init__(
        self,
        store: SnapshotStore,
        metadata: SnapshotMetadata,
        committed: Callable[[SnapshotMetadata], None],
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._committed = committed
        self._part = store.new_part()
        self._file: File | None = None
        self._writer: SnapshotFileWriter | None = None

    def write(self, section: str, chunk: bytes) -> Deferred[None]:
        """Append a chunk to a section.

        Fails with :class:`OSError` (``ENOSPC``) where there is no room: abort then.
        """
        return self._store.run(partial(self._write, section, chunk))

    def commit(self) -> Deferred[None]:
        """Make it durable under its name, and delete all but the two newest snapshots."""
        if self._metadata.last.index <= self._store.newest.last.index:
            # One that a peer sent was installed meanwhile; an older one is of no use to anybody.
            return self.abort()
        return self._store.run(self._finish).addCallback(self._note)

    def abort(self) -> Deferred[None]:
        """Forget it and remove what was written."""
        return self._store.run(self._discard)

    def _open(self) -> SnapshotFileWriter:
        if self._writer is None:
            self._file = self._store.files.open(self._part, create=True)
            owner = self._store.owner
            prelude = Prelude(self._metadata, owner.cluster_id, owner.group)
            self._writer = SnapshotFileWriter(self._file, prelude, self._store.limits)
        return self._writer

    def _write(self, section: str, chunk: bytes) -> None:
        self._open().write(section, chunk)

    def _finish(self) -> None:
        self._open().finish()
        assert self._file is not None
        self._file.close()
        self._store.publish(self._part, self._store.path(self._metadata.last))

    def _note(self, _: None) -> Deferred[None]:
        store, metadata = self._store, self._metadata
        if metadata.last.index <= store.newest.last.index:
            return store.run(store.forget(metadata.last))
        self._committed(metadata)
        return store.run(store.created(metadata))

    def _discard(self) -> None:
        if self._file is not None:
            discard_part(self._store.files, self._part, self._file)


class SnapshotReading:
    """A durable snapshot being read, its checksums verified chunk by chunk."""

    def __init__(
        self, store: SnapshotStore, metadata: SnapshotMetadata, file: File, path: str
    ) -> None:
        self.metadata = metadata
        self._store = store
        self._file = file
        self._reader = SnapshotFileReader(file, path, store.limits)
        self._read: deque[tuple[str, bytes] | None] = deque()
        self._open = True

    def read(self) -> Deferred[tuple[str, bytes] | None]:
        """Fire with the next (section, chunk) in the order of writing, or None at the end.

        Several are read at a time: to go to the filler and back costs as much as to take a chunk in.
        Fails with :class:`Corrupt` where the file is not what was written.
        """
        if self._read:
            return succeed(self._read.popleft())
        return self._store.run(self._read_ahead).addCallback(self._took)

    def _read_ahead(self) -> list[tuple[str, bytes] | None]:
        """Read chunks until they are :data:`READ_BYTES` or the end is reached. Blocks."""
        pieces: list[tuple[str, bytes] | None] = []
        bytes_count = 0
        while bytes_count < READ_BYTES:
            piece = self._reader.read()
            pieces.append(piece)
            if piece is None:
                break
            bytes_count += len(piece[1])
        return pieces

    def _took(self, pieces: list[tuple[str, bytes] | None]) -> tuple[str, bytes] | None:
        self._read.extend(pieces)
        return self._read.popleft()

    def close(self) -> None:
        """Let go of the file; again is allowed."""
        if self._open:
            self._open = False
            _let_go(self._store, self.metadata.last, self._file)


class SnapshotSource:
    """The bytes of a durable snapshot, to be streamed to a peer.

    :param size: of the file, in bytes
    """

    def __init__(self, store: SnapshotStore, last: EntryID, file: File, size: int) -> None:
        self.size = size
        self._store = store
        self._last = last
        self._file = file
        self._open = True

    def read_at(self, offset: int, count: int) -> Deferred[bytes]:
        """Fire with bytes ``[offset, offset + count)``, fewer only at the end."""
        return self._store.run(partial(self._file.read_at, offset, count))

    def close(self) -> None:
        """Let go of the file, which may then be deleted; again is allowed."""
        if self._open:
            self._open = False
            _let_go(self._store, self._last, self._file)


class SnapshotReceiving:
    """A snapshot file coming in from a peer, byte for byte.

    Before it is committed it is read back and every checksum verified; what is then durable is
    still only a candidate, until the core accepts it and the log installs it.

    :param size: how many bytes the sender has announced
    """

    def __init__(self, store: SnapshotStore, metadata: SnapshotMetadata, size: int) -> None:
        self._store = store
        self._metadata = metadata
        self._size = size
        self._part = store.new_part()
        self._file: File | None = None
        self._received = 0
        self._synced = 0

    def write(self, offset: int, content: bytes) -> Deferred[None]:
        """Take the next bytes; they come in order and without gaps.

        Fails with :class:`RemoteProtocolError` where they do not, and with :class:`OSError`
        (``ENOSPC``), before anything is written, where there is no room for all of it; abort then.
        """
        end = offset + len(content)
        if offset != self._received or end > self._size:
            return fail(
                RemoteProtocolError(
                    f"snapshot bytes [{offset}, {end}) came where [{self._received}, {self._size})"
                    " were due"
                )
            )
        self._received = end
        return self._store.run(partial(self._write, offset, content))

    async def _commit(self) -> None:
        store = self._store
        if self._received != self._size:
            raise RemoteProtocolError(
                f"the snapshot ended after {self._received} of {self._size} bytes"
            )
        try:
            reader = await store.run(self._sync_and_read_back)
            while not await store.run(partial(reader.verify_slice, store.limits.slice_bytes)):
                pass
        except StorageError as error:
            what = error.what if isinstance(error, Corrupt) else error
            raise RemoteProtocolError(
                f"the snapshot that was received is unusable: {what}"
            ) from error
        await store.run(self._publish)
        await store.run(store.received(self._metadata))

    def commit(self) -> Deferred[None]:
        """Verify it and make it durable under its name.

        Fails with :class:`RemoteProtocolError` where it is not a whole snapshot of this cluster at
        the place that was announced; abort then.
        """
        return Deferred.fromCoroutine(self._commit())

    def abort(self) -> Deferred[None]:
        """Forget it and remove what was received."""
        return self._store.run(self._discard)

    def _write(self, offset: int, content: bytes) -> None:
        if self._file is None:
            self._check_room()
            self._file = self._store.files.open(self._part, create=True)
        self._file.write_at(offset, content)
        if offset + len(content) - self._synced >= self._store.limits.sync_bytes:
            self._file.fdatasync()
            self._synced = offset + len(content)

    def _check_room(self) -> None:
        free = self._store.files.free_bytes(self._store.directory)
        if free < self._size:
            raise OSError(
                errno.ENOSPC,
                f"no room for a snapshot of {self._size} bytes: {free} are free,"
                f" {self._size - free} more are needed",
                self._store.directory,
            )

    def _sync_and_read_back(self) -> SnapshotFileReader:
        if self._file is None:
            raise StorageError("it is empty")
        self._file.fsync()
        reader = SnapshotFileReader(self._file, self._part, self._store.limits)
        check_cluster(reader.prelude, self._store.owner, self._part)
        if reader.prelude.metadata != self._metadata:
            raise StorageError(f"it holds the state at {reader.prelude.metadata.last}")
        return reader

    def _publish(self) -> None:
        assert self._file is not None
        self._file.close()
        self._store.publish(self._part, self._store.received_path(self._metadata.last))

    def _discard(self) -> None:
        if self._file is not None:
            discard_part(self._store.files, self._part, self._file)


def open_reading(store: SnapshotStore, last: EntryID) -> Deferred[SnapshotReading]:
    """Pin the snapshot that ends at ``last`` and open it for reading."""
    path = store.pin(last)
    metadata = next(kept for kept in store.kept if kept.last == last)

    def work() -> SnapshotReading:
        return SnapshotReading(store, metadata, store.files.open(path), path)

    return store.run(work).addErrback(_not_opened, store, last)


def open_source(store: SnapshotStore, last: EntryID) -> Deferred[SnapshotSource]:
    """Pin the snapshot that ends at ``last`` and open it for streaming."""
    path = store.pin(last)

    def work() -> SnapshotSource:
        file = store.files.open(path)
        return SnapshotSource(store, last, file, file.size())

    return store.run(work).addErrback(_not_opened, store, last)


def _let_go(store: SnapshotStore, last: EntryID, file: File) -> None:
    """Close the file behind whatever still reads it, then delete what is kept no longer."""
    store.run.alone(file.close)
    store.run.alone(store.unpin(last))


def _not_opened(failure: Failure, store: SnapshotStore, last: EntryID) -> Failure:
    """Let go of a pin whose file could not be opened."""
    store.run.alone(store.unpin(last))
    return failure
