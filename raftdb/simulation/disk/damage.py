"""What a disk does to synced data, once in a while: bits flip, a write lands somewhere else, one is lost.

And what people and repairs of a file system do to it: the log's last segment is gone.

Only damage that a start must notice: to batches of the log behind which there are others. (The loss
of the last one cannot be told from a torn write by one node alone.) The power is off meanwhile.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from raftdb.disk.files import SECTOR_BYTES
from raftdb.errors import StorageError
from raftdb.simulation.disk.lossy_disk import LossyDisk
from raftdb.storage.batch import read_header
from raftdb.storage.recovery import read_log
from raftdb.storage.segment import (
    HEADER_BYTES,
    Owner,
    decode_header,
    segment_name,
    segment_number,
)


class _Extent(NamedTuple):
    """Where a batch is."""

    path: str
    begin: int
    end: int


class LogDamage:
    """Damages the log of one data directory.

    :param disk: its disk
    :param directory: of the log
    :param owner: of the log
    :param rng: draws what, and where
    """

    def __init__(self, disk: LossyDisk, directory: str, owner: Owner, rng: Random) -> None:
        self._disk = disk
        self._directory = directory
        self._owner = owner
        self._rng = rng

    def flip(self) -> str | None:
        """Flip a bit of a header or a batch; return where, None where the log is bad already."""
        ends = self._ends()
        if not ends:
            return None
        path = self._rng.choice(list(ends))
        bit = self._rng.randrange(8 * ends[path])
        self._disk.flip(path, bit)
        return f"bit {bit} of {path}"

    def misdirect(self) -> str | None:
        """Let a batch's write have gone elsewhere, or nowhere; its place has the zeros of before.

        :returns: what happened, None where there are no two batches
        """
        batches = [
            batch for path, end in self._ends().items() for batch in self._batches(path, end)
        ]
        if len(batches) < 2:
            return None
        source = self._rng.choice(batches[:-1])
        content = bytearray(self._disk.contents(source.path))
        stray = bytes(content[source.begin : source.end])
        content[source.begin : source.end] = bytes(len(stray))
        self._disk.overwrite(source.path, bytes(content))
        told = f"the write of {source.path} from {source.begin} to {source.end}"
        if self._rng.random() < 0.2:
            return f"{told} is lost"
        paths = [f"{self._directory}/{name}" for name in self._disk.list(self._directory)]
        path = self._rng.choice(paths)
        content = bytearray(self._disk.contents(path))
        sectors = (len(content) - len(stray)) // SECTOR_BYTES
        places = [at * SECTOR_BYTES for at in range(sectors + 1)]
        if path == source.path:
            places.remove(source.begin)
        if not places:
            return f"{told} is lost"
        at = self._rng.choice(places)
        content[at : at + len(stray)] = stray
        self._disk.overwrite(path, bytes(content))
        return f"{told} is at {at} of {path}"

    def behead(self) -> str | None:
        """Remove the last segment; return its name.

        :returns: None where the log is bad already, or the disk does not know yet that the segment
            was begun: then a log without it looks like one that never went further
        """
        try:
            log = read_log(self._disk, self._directory, self._owner)
        except StorageError:
            return None
        if log.mark != log.header.number:
            return None
        path = f"{self._directory}/{segment_name(log.header.number)}"
        self._disk.unlink(path)
        self._disk.fsync_dir(self._directory)
        return f"{path} is gone"

    def _ends(self) -> dict[str, int]:
        """Return the segments, each with the end of its last batch; nothing for a bad log."""
        try:
            log = read_log(self._disk, self._directory, self._owner)
        except StorageError:
            return {}
        names = [name for name in self._disk.list(self._directory) if segment_number(name)]
        paths = [f"{self._directory}/{name}" for name in names]
        ends = {path: len(self._disk.contents(path).rstrip(b"\0")) for path in paths}
        ends[paths[-1]] = log.end.offset
        return ends

    def _batches(self, path: str, end: int) -> list[_Extent]:
        image = self._disk.contents(path)
        header, _ = decode_header(image[:HEADER_BYTES], path)
        found: list[_Extent] = []
        at = HEADER_BYTES
        while at < end:
            batch = read_header(image, at, header.salt)
            assert batch is not None, "the log was just read"
            found.append(_Extent(path, at, at + batch.extent))
            at += batch.extent
        return found
