"""The log's writing end: a place for each batch, segments one after the other, deletion behind.

Two threads meet here, and share nothing but values. The reactor's thread *plans*: it gives a batch
its place, begins a segment where the batch does not fit, and knows what room is left, all of it
without waiting. What it returns is *work*, a callable for the writer thread, which alone touches
the current file and the chain of digests. Pieces of work run in the order they were planned, each
after the end of the one before; where one is a write and a sync only, the writer may have them done
by somebody else, without its thread (:class:`~raftdb.storage.limits.SplitWrite`).

After the first failure nothing is written any more, for after a failed fsync nobody knows what the
disk holds: a second fsync that succeeds proves nothing. The process has to end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from raftdb.disk.files import FileSystem, WriteHandle
from raftdb.disk.work import PositionedWrite, SplitWrite
from raftdb.errors import StorageError
from raftdb.storage.batch import SALT_BYTES, Kind, Place, encode, extent_for
from raftdb.storage.limits import StorageLimits
from raftdb.storage.record import Record, encode_record
from raftdb.storage.recovery import Held, Recovered
from raftdb.storage.segment import HEADER_BYTES, SegmentHeader, segment_name, spare_name
from raftdb.storage.space import Spare, begin_segment, make_spare, make_zeroed, set_mark


class _Batch(NamedTuple):
    """One batch with its place.

    :param extent: its bytes in the file
    :param begins: the header of the segment it opens, its chain still unknown, or None
    :param spare: what that segment is made of, or None to make the file on the spot
    """

    payload: bytes
    kind: Kind
    place: Place
    extent: int
    index_range: tuple[int, int]
    salt: bytes
    begins: SegmentHeader | None
    spare: Spare | None


class Append(SplitWrite):
    """The work that makes one batch durable."""

    def __init__(self, wal: Wal, batch: _Batch) -> None:
        self._wal = wal
        self._batch = batch
        self._digest = b""

    def __call__(self) -> None:
        """Write and sync it, in a new segment where it begins one. Blocks."""
        self._wal.write(self._batch)

    @property
    def bytes_count(self) -> int:
        """Of the batch in the file."""
        return self._batch.extent

    def begin(self) -> PositionedWrite | None:
        """Return its bytes and their place, unless a segment has to be begun for it."""
        door = self._wal.door
        if self._batch.begins is not None or door is None:
            return None
        content, self._digest = self._wal.encode(self._batch)
        return PositionedWrite(door, self._batch.place.offset, content)

    def end(self, error: OSError | None) -> None:
        """Go on behind it, or never again; raises :class:`StorageError` then."""
        self._wal.wrote(self._digest, error)


class Wal:
    """The write-ahead log of one data directory, after its recovery.

    :param directory: where the segments are
    :param recovered: what recovery found; writing goes on at its tail
    :param entropy: returns so many random bytes, for the salts of new segments
    """

    def __init__(
        self,
        files: FileSystem,
        directory: str,
        *,
        recovered: Recovered,
        limits: StorageLimits,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._files = files
        self.directory = directory
        self._limits = limits
        self._entropy = entropy
        tail = recovered.tail
        # The reactor's side: where the next batch goes.
        self._header = tail.header
        self._offset = tail.offset
        self._sequence = tail.sequence
        self._last = recovered.replay.last
        self._hard_state = recovered.replay.hard_state
        self._held = list(recovered.held)
        self._spares = list(recovered.spares)
        self._spares_made = max((spare.number for spare in self._spares), default=0)
        self._short = False
        """Whether there was no room for the last spare that was to be made."""
        self._mark = recovered.mark
        # The writer's side.
        self._file = tail.file
        self._path = tail.path
        self._chain = tail.chain
        self._failed = False

    @property
    def spares(self) -> int:
        """How many spare segments are ready."""
        return len(self._spares)

    def has_room(self, payload_bytes: int) -> bool:
        """Tell whether a batch of this size fits into reserved space, votes aside [R18].

        Where there is no room for more spares, the last one is not for writing: the next start
        needs it, to rewrite the segment that is the last one then.
        """
        need = extent_for(payload_bytes) + self._limits.reserve_bytes
        if self._offset + need <= self._header.size:
            return True
        if self._short and len(self._spares) == 1:
            return False
        return any(HEADER_BYTES + need <= spare.size for spare in self._spares)

    def append(self, record: Record, kind: Kind = Kind.SAVE) -> Callable[[], None]:
        """Give the record its place at once; the work returned makes it durable.

        The work raises :class:`StorageError` where that fails; the process must end then.
        """
        payload = encode_record(record)
        extent = extent_for(len(payload))
        begins: SegmentHeader | None = None
        spare: Spare | None = None
        if self._offset + extent > self._header.size:
            begins, spare = self._begin(extent)
        batch = _Batch(
            payload=payload,
            kind=kind,
            place=Place(self._header.number, self._offset, self._sequence),
            extent=extent,
            index_range=record.index_range,
            salt=self._header.salt,
            begins=begins,
            spare=spare,
        )
        self._offset += extent
        self._sequence += 1
        self._last = record.last or self._last
        self._hard_state = record.hard_state or self._hard_state
        return Append(self, batch)

    def close(self) -> Callable[[], None]:
        """Return the work that writes a closing batch and lets go of the file.

        Where the segment is full it only lets go: a segment is not begun to say that it is over.
        """
        record = Record(None)
        if self._offset + extent_for(len(encode_record(record))) > self._header.size:
            return self.abandon
        write = self.append(record, Kind.CLOSE)

        def work() -> None:
            try:
                write()
            finally:
                self.abandon()

        return work

    def abandon(self) -> None:
        """Let go of the current file as it is; only when no work is under way."""
        self._failed = True
        self._file.close()

    def drop(self, index: int) -> Callable[[], None] | None:
        """Forget the segments all of whose live entries are at or below ``index``.

        A segment may go when the next one began with a log that ended there: whatever is still
        valid in it is below. Returns the work that deletes the files, or None for none.
        """
        count = 0
        while count + 1 < len(self._held) and self._held[count + 1].before <= index:
            count += 1
        doomed, self._held = self._held[:count], self._held[count:]
        return partial(self._delete, doomed) if doomed else None

    def spare_work(self) -> Callable[[], Spare]:
        """Return the filler's work that makes the next spare."""
        self._spares_made += 1
        return partial(
            make_spare,
            self._files,
            self.directory,
            self._spares_made,
            self._limits.segment_bytes,
            free_bytes_min=self._limits.free_bytes_min,
        )

    def add_spare(self, spare: Spare | None) -> None:
        """Take what the filler has made; None where it has found no room."""
        self._short = spare is None
        if spare is not None:
            self._spares.append(spare)

    @property
    def segments(self) -> list[str]:
        """The names of the segments that are durable and kept."""
        return [segment_name(held.number) for held in self._held if held.number <= self._mark]

    def mark_work(self) -> Callable[[], None] | None:
        """Return the filler's work that notes which segment was begun last; None where it is noted.

        To be asked when the last batch is durable, and so its segment's name.
        """
        old, self._mark = self._mark, self._header.number
        if old == self._mark:
            return None
        return partial(set_mark, self._files, self.directory, self._mark)

    def _begin(self, extent: int) -> tuple[SegmentHeader, Spare | None]:
        """Plan the next segment, of a spare if one is ready and large enough."""
        fits = [spare for spare in self._spares if HEADER_BYTES + extent <= spare.size]
        spare = fits[0] if fits else None
        if spare is not None:
            self._spares.remove(spare)
        size = max(self._limits.segment_bytes, HEADER_BYTES + extent)
        self._header = SegmentHeader(
            owner=self._header.owner,
            number=self._header.number + 1,
            size=size if spare is None else spare.size,
            sequence=self._sequence,
            salt=self._entropy(SALT_BYTES),
            chain=b"",
            previous=self._last,
            hard_state=self._hard_state,
        )
        self._offset = HEADER_BYTES
        self._held.append(Held(self._header.number, self._last.index))
        return self._header, spare

    # -- the writer's side --

    @property
    def door(self) -> WriteHandle | None:
        """Of the current file, where others may write it; None after a failure, too."""
        return None if self._failed else self._file.door

    def write(self, batch: _Batch) -> None:
        """Make a batch durable. Blocks."""
        if self._failed:
            raise StorageError("the log failed before and takes nothing more")
        try:
            if batch.begins is not None:
                self._rotate(batch.begins, batch.spare)
            content, digest = self.encode(batch)
            self._file.write_at(batch.place.offset, content)
            self._file.fdatasync()
        except OSError as error:
            self.wrote(b"", error)
        else:
            self.wrote(digest, None)

    def encode(self, batch: _Batch) -> tuple[bytes, bytes]:
        """Return the bytes of the batch that comes next, and the digest that it will leave."""
        first, last = batch.index_range
        return encode(
            batch.payload,
            kind=batch.kind,
            place=batch.place,
            first=first,
            last=last,
            salt=batch.salt,
            chain=self._chain,
        )

    def wrote(self, digest: bytes, error: OSError | None) -> None:
        """Go on behind the batch with this digest; after an error there is no going on."""
        if error is None:
            self._chain = digest
            return
        self._failed = True
        raise StorageError(
            f"the log cannot be written: {self._path}: {error}; what was not acknowledged may"
            " be lost, and the process has to end"
        ) from error

    def _rotate(self, header: SegmentHeader, spare: Spare | None) -> None:
        if spare is None:
            # The filler is behind; or the batch is larger than any spare.
            path = os.path.join(self.directory, spare_name(0))
            spare = Spare(path, 0, header.size)
            make_zeroed(self._files, path, header.size)
        self._file.close()
        self._path = os.path.join(self.directory, segment_name(header.number))
        whole = header._replace(chain=self._chain)
        self._file, self._chain = begin_segment(
            self._files, self.directory, self._path, spare, whole
        )

    def _delete(self, doomed: Iterable[Held]) -> None:
        """Delete the oldest first, each durably: a gap in the numbers would look like a loss."""
        for held in doomed:
            self._files.unlink(os.path.join(self.directory, segment_name(held.number)))
            self._files.fsync_dir(self.directory)
