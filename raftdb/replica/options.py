"""The limits of one Replica, each with its unit; validates itself."""

from __future__ import annotations

from dataclasses import dataclass

from raftdb.errors import InvalidRequest

MiB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """What a Replica is told besides the core's own configuration.

    :param tick_s: the length of one of the core's ticks, ``0 < tick_s``
    :param waiting_max: proposals and reads that may wait at the same time; beyond it they are
        refused with :class:`~raftdb.errors.Overloaded` [R30]
    :param snapshot_entries: applied since the newest snapshot, after which the next one is taken
    :param snapshot_bytes: of applied entries, after which the next snapshot is taken, whatever
        their number
    :param pinned_bytes_max: of values kept for a snapshot alone, for they were written over while it
        is taken; from there on writes wait for it. A quarter of a larger state
    """

    tick_s: float = 0.05
    waiting_max: int = 10_000
    snapshot_entries: int = 50_000
    snapshot_bytes: int = 64 * MiB
    pinned_bytes_max: int = 64 * MiB

    def __post_init__(self) -> None:
        """Refuse values that no node could work with."""
        if not self.tick_s > 0:
            raise InvalidRequest(f"tick_s must be above 0, not {self.tick_s}")
        for name in ("waiting_max", "snapshot_entries", "snapshot_bytes", "pinned_bytes_max"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name} must be at least 1, not {getattr(self, name)}")
