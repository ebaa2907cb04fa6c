"""What a node is told once: who it is, its limits, its sources of chance. Validates itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from raftdb.errors import InvalidRequest
from raftdb.raft.types import MemberID

KiB = 1024
MiB = 1024 * KiB


def _no_trace(event: str, fields: dict[str, object]) -> None:
    """Discard a transition nobody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The parameters of one :class:`~raftdb.raft.node.RawNode`.

    :param id: who this node is
    :param rng: the only source of randomness; election timeouts are drawn from it
    :param boot: a nonce of this process start, ``0 <= boot < 2**64``; names read requests [R12]
    :param election_ticks: T: silence after which a follower campaigns, drawn anew from ``[T, 2T)``
    :param heartbeat_ticks: between two heartbeat rounds, ``1 <= heartbeat_ticks < election_ticks``
    :param pre_vote: whether campaigns begin with a pre-vote (thesis 9.6)
    :param check_quorum: whether a leader without a quorum for T steps down (thesis 6.2)
    :param append_bytes_max: of the entries in one AppendEntries (one entry always fits)
    :param inflight_messages_max: unanswered AppendEntries per peer
    :param inflight_bytes_max: their bytes per peer
    :param uncommitted_bytes_max: of proposals not yet committed; beyond it they are dropped
    :param apply_bytes_max: of one page of committed entries (one entry always fits); a page is
        applied in one step, and small entries cost about 10 us for 100 bytes
    :param reads_max: linearizable reads waiting for their round
    :param trace: receives every transition as (event, fields)
    """

    id: MemberID
    rng: Random
    boot: int = 0
    election_ticks: int = 8
    heartbeat_ticks: int = 2
    pre_vote: bool = True
    check_quorum: bool = True
    append_bytes_max: int = 1 * MiB
    inflight_messages_max: int = 256
    inflight_bytes_max: int = 8 * MiB
    uncommitted_bytes_max: int = 32 * MiB
    apply_bytes_max: int = 256 * KiB
    reads_max: int = 100_000
    trace: Callable[[str, dict[str, object]], None] = field(default=_no_trace)

    def __post_init__(self) -> None:
        """Refuse values that no cluster could work with."""
        if not self.id.id:
            raise InvalidRequest("the member id must not be empty")
        if not 1 <= self.heartbeat_ticks < self.election_ticks:
            raise InvalidRequest(
                f"heartbeat_ticks must be at least 1 and below election_ticks, not"
                f" {self.heartbeat_ticks} with election_ticks {self.election_ticks}"
            )
        for name in (
            "append_bytes_max",
            "inflight_messages_max",
            "inflight_bytes_max",
            "uncommitted_bytes_max",
            "apply_bytes_max",
            "reads_max",
        ):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.inflight_bytes_max < self.append_bytes_max:
            raise InvalidRequest(
                "inflight_bytes_max must be at least append_bytes_max, or no full append ever fits"
            )
