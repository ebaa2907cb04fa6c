"""Every limit of storage, with its unit."""

from __future__ import annotations

from typing import NamedTuple

from raftdb.disk.files import SECTOR_BYTES
from raftdb.errors import InvalidRequest
from raftdb.storage.segment import HEADER_BYTES

KiB = 1024
MiB = 1024 * KiB


class StorageLimits(NamedTuple):
    """What bounds the files.

    :param segment_bytes: of one log segment; a batch that is larger gets a segment of its own size
    :param spare_segments: zero-filled ahead of need; a write is admitted only against them [R18]
    :param reserve_bytes: of log space kept back for votes and terms when writes are refused
    :param free_bytes_min: of the file system, left free by the spare segments
    :param snapshots_kept: complete snapshots, the log reaches back to the oldest of them
    :param chunk_bytes_max: of one chunk in a snapshot file
    :param slice_bytes: of a received snapshot verified in one piece of work
    :param drop_entries: of the log in memory, forgotten in one piece of work
    :param drop_bytes: of these; to give 64 MiB back to the system takes longer than half a heartbeat
    :param sync_bytes: of a snapshot written between two syncs, so that none takes long
    """

    segment_bytes: int = 16 * MiB
    spare_segments: int = 2
    reserve_bytes: int = 128 * KiB
    free_bytes_min: int = 16 * MiB
    snapshots_kept: int = 2
    chunk_bytes_max: int = 4 * MiB
    slice_bytes: int = 1 * MiB
    drop_entries: int = 5_000
    drop_bytes: int = 4 * MiB
    sync_bytes: int = 8 * MiB

    def check(self) -> StorageLimits:
        """Return itself, or refuse limits that do not nest.

        :raises InvalidRequest: naming the limit
        """
        if self.segment_bytes % SECTOR_BYTES or self.segment_bytes < HEADER_BYTES + SECTOR_BYTES:
            raise InvalidRequest(
                f"a segment must have a multiple of {SECTOR_BYTES} bytes and more than"
                f" {HEADER_BYTES}, not {self.segment_bytes}"
            )
        if not 0 <= self.reserve_bytes < self.segment_bytes - HEADER_BYTES:
            raise InvalidRequest("reserve_bytes must be less than a segment holds")
        if self.snapshots_kept < 2:
            raise InvalidRequest("snapshots_kept must be at least 2")
        for name in ("chunk_bytes_max", "slice_bytes", "drop_entries", "drop_bytes", "sync_bytes"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name} must be at least 1")
        return self
