"""Reading the log after a start, and making durable again what was read. Blocks.

Segments are read in order; all but the last one must be whole to their last byte. In the last one a
torn tail is cut, by the rule in :mod:`raftdb.storage.tail`. Then the valid part of the last segment
is copied into a new file, which is synced and takes the old one's name, before the node speaks [R4]:

1. the process writes a batch and the fsync fails, so it ends without acknowledging anything;
2. the kernel keeps the batch in its page cache, marked clean, though the disk does not have it;
3. the process starts again, reads the batch from the cache and acknowledges it to the leader;
4. the power fails, and an acknowledged entry is gone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from raftdb.codec import decode_entries, decode_hard_state, decode_snapshot_metadata
from raftdb.disk.files import File, FileSystem
from raftdb.errors import Corrupt, RemoteProtocolError, StorageError
from raftdb.storage.batch import FORMAT, Kind, Place, read_header, read_payload
from raftdb.storage.filler import passes
from raftdb.storage.limits import StorageLimits
from raftdb.storage.record import Record, split_record
from raftdb.storage.replay import Replay
from raftdb.storage.segment import (
    ADVICE,
    HEADER_BYTES,
    Owner,
    SegmentHeader,
    copy_name,
    decode_header,
    is_leftover,
    mark_number,
    segment_name,
    segment_number,
)
from raftdb.storage.space import Spare, make_spare, make_zeroed, set_mark, spares_left
from raftdb.storage.tail import later_batch, objection, used_bytes

_KINDS = frozenset(Kind)


class Held(NamedTuple):
    """A segment on the disk.

    :param before: the last index of the log when the segment began
    """

    number: int
    before: int


class Tail(NamedTuple):
    """Where writing goes on.

    :param offset: in the segment's file, of the next batch
    :param sequence: of the next batch
    :param chain: the digest of the last batch, or of the segment's header
    """

    file: File
    path: str
    header: SegmentHeader
    offset: int
    sequence: int
    chain: bytes


class Recovered(NamedTuple):
    """A log that may be written on.

    :param spares: that the process before left behind
    :param mark: the number of the last segment that was begun, as it is noted on the disk
    """

    replay: Replay
    held: list[Held]
    tail: Tail
    spares: list[Spare]
    mark: int


class _End(NamedTuple):
    """How far the reading of a segment got."""

    offset: int
    sequence: int
    chain: bytes


class ReadLog(NamedTuple):
    """What the log's files hold, as they are.

    :param valid: of the last segment
    :param leftovers: names of files that are not part of the log
    :param mark: the number of the last segment that was begun, as far as it was noted; 0 for never
    """

    replay: Replay
    held: list[Held]
    header: SegmentHeader
    end: _End
    valid: bytes
    leftovers: list[str]
    mark: int


def read_log(files: FileSystem, directory: str, owner: Owner) -> ReadLog:
    """Read the log and change nothing.

    :raises Corrupt: where anything else than a torn tail is wrong
    :raises StorageError: where the files are another node's, or another version's
    """
    names = files.list(directory)
    numbers = sorted(n for n in map(segment_number, names) if n is not None)
    if not numbers:
        raise Corrupt(directory, 0, f"the log's segments are missing; {ADVICE}")
    replay: Replay | None = None
    held: list[Held] = []
    end: _End | None = None
    for number in numbers:
        path = os.path.join(directory, segment_name(number))
        image = _read(files, path)
        header, digest = decode_header(image[:HEADER_BYTES], path)
        _check_header(header, number, len(image), owner, path)
        if replay is None:
            replay = Replay(header.previous, header.hard_state)
        elif end is None or (header.sequence, header.chain) != (end.sequence, end.chain):
            raise Corrupt(path, 0, f"it does not continue the segment before it; {ADVICE}")
        held.append(Held(number, replay.last.index))
        reader = _SegmentReader(path, image, header, replay)
        end = reader.read(digest, last=number == numbers[-1])
    assert replay is not None
    assert end is not None
    return ReadLog(
        replay,
        held,
        header,
        end,
        image[: end.offset],
        [name for name in names if is_leftover(name)],
        max((number for number in map(mark_number, names) if number is not None), default=0),
    )


def rewrite_log(
    files: FileSystem, directory: str, log: ReadLog, limits: StorageLimits
) -> Recovered:
    """Copy the valid part of the last segment into a new file that takes its place [R4].

    Where there is no room for it the copy is made of a spare, and the room that the old file leaves
    behind is reserved again for the next start.

    :raises StorageError: where there is no spare either
    """
    spares = spares_left(files, directory, log.leftovers, limits)
    kept = [spare.path for spare in spares]
    for path in [os.path.join(directory, name) for name in log.leftovers]:
        if path not in kept:
            files.unlink(path)
    header, end = log.header, log.end
    path = os.path.join(directory, segment_name(header.number))
    copy = os.path.join(directory, copy_name(header.number))
    used = _make_copy(files, copy, log, spares)
    files.rename(copy, path)
    files.fsync_dir(directory)
    if used is not None and not spares:
        with suppress(OSError):
            number = used.number + 1
            spares.append(make_spare(files, directory, number, used.size, free_bytes_min=0))
    if log.mark != header.number:
        set_mark(files, directory, header.number)
    file = files.open(path, sectors=True)
    tail = Tail(file, path, header, end.offset, end.sequence, end.chain)
    return Recovered(log.replay, log.held, tail, spares, header.number)


def _make_copy(files: FileSystem, copy: str, log: ReadLog, spares: list[Spare]) -> Spare | None:
    """Make the copy; return the spare that it was made of, which is a spare no longer."""
    size = log.header.size
    try:
        make_zeroed(files, copy, size, log.valid)
    except OSError as error:
        if not passes(error):
            raise
    else:
        return None
    fitting = [spare for spare in spares if spare.size == size]
    if fitting:
        spare = fitting[-1]
        spares.remove(spare)
        files.rename(spare.path, copy)
        file = files.open(copy)
        try:
            file.write_at(0, log.valid)
            file.fsync()
        finally:
            file.close()
        return spare
    for spare in spares:
        files.unlink(spare.path)
    spares.clear()
    try:
        make_zeroed(files, copy, size, log.valid)
    except OSError as error:
        if not passes(error):
            raise
        directory = os.path.dirname(copy)
        raise StorageError(
            f"{error}: a start rewrites the last segment of the log, for which {size} bytes have to"
            f" be free in {directory}, and {files.free_bytes(directory)} are. Nothing is lost: make"
            " room there and start again"
        ) from error
    return None


def has_history(files: FileSystem, path: str) -> bool:
    """Tell whether a first segment holds more than the one batch that its creation writes."""
    image = _read(files, path)
    header, _ = decode_header(image[:HEADER_BYTES], path)
    return later_batch(image, Place(1, HEADER_BYTES, 2), header.salt) is not None


class _SegmentReader:
    """Reads one segment's batches into a replay."""

    def __init__(self, path: str, image: bytes, header: SegmentHeader, replay: Replay) -> None:
        self._path = path
        self._image = image
        self._header = header
        self._replay = replay
        self._hard_state = b""

    def read(self, chain: bytes, *, last: bool) -> _End:
        """Read all batches; stop before one that closed the log, so that it is not copied."""
        end = _End(HEADER_BYTES, self._header.sequence, chain)
        while end.offset < len(self._image):
            batch = self._batch(end)
            if batch is None:
                self._check_rest(end, closed=False, last=last)
                break
            kind, after = batch
            if kind == Kind.CLOSE:
                self._check_rest(after, closed=True, last=last)
                break
            end = after
        if self._hard_state:
            self._replay.apply(Record(decode_hard_state(self._hard_state)))
        return end

    def _batch(self, end: _End) -> tuple[int, _End] | None:
        """Apply the batch at ``end``; return its kind and what follows, or None for a bad one."""
        image, salt = self._image, self._header.salt
        header = read_header(image, end.offset, salt)
        place = Place(self._header.number, end.offset, end.sequence)
        if header is None or header.place != place:
            return None
        if header.format != FORMAT or header.kind not in _KINDS:
            raise StorageError(
                f"{self._path} at byte {end.offset}: a batch of format {header.format} and kind"
                f" {header.kind} is unknown to this program: start the newer one"
            )
        payload = read_payload(image, header, salt=salt, chain=end.chain)
        if payload is None:
            return None
        try:
            parts = split_record(payload)
            # Only the last hard state counts, so only that one is decoded.
            self._hard_state = parts.hard_state or self._hard_state
            snapshot = decode_snapshot_metadata(parts.snapshot) if parts.snapshot else None
            self._replay.apply(Record(None, snapshot, decode_entries(parts.entries)))
        except RemoteProtocolError as error:
            raise self._corrupt(end.offset, str(error)) from error
        return header.kind, _End(end.offset + header.extent, end.sequence + 1, header.digest)

    def _check_rest(self, end: _End, *, closed: bool, last: bool) -> None:
        """Refuse what follows the last valid batch, unless it is nothing or a torn write."""
        used = used_bytes(self._image)
        if used <= end.offset:
            return
        if not last:
            raise self._corrupt(
                end.offset, f"batch {end.sequence} is damaged, and a later segment follows"
            )
        place = Place(self._header.number, end.offset, end.sequence)
        found = objection(self._image, place, salt=self._header.salt, closed=closed)
        if found is not None:
            raise self._corrupt(found.offset, found.what)

    def _corrupt(self, offset: int, what: str) -> Corrupt:
        return Corrupt(self._path, offset, f"{what}; {ADVICE}")


def _check_header(header: SegmentHeader, number: int, size: int, owner: Owner, path: str) -> None:
    if header.owner != owner:
        raise StorageError(
            f"{path} belongs to {header.owner.member} of cluster {header.owner.cluster_id:032x},"
            f" this directory to {owner.member} of cluster {owner.cluster_id:032x}: files of two"
            " data directories are mixed"
        )
    if header.number != number:
        raise Corrupt(path, 0, f"it is segment {header.number} under another name; {ADVICE}")
    if header.size != size:
        raise Corrupt(path, size, f"it should have {header.size} bytes; {ADVICE}")


def _read(files: FileSystem, path: str) -> bytes:
    file = files.open(path)
    try:
        return file.read_at(0, file.size())
    finally:
        file.close()
