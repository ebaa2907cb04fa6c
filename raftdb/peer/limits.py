"""Every limit of the wire, with its unit; the times follow from the two times of Raft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from raftdb.errors import InvalidRequest

KiB: Final = 1024
MiB: Final = 1024 * KiB

AMP_VALUE_BYTES_MAX: Final = 65_535
"""Where a value of an AMP box ends, whatever we would like."""

_BOX_OVERHEAD_BYTES: Final = 4 * KiB
"""What a box adds to the entries in it: the envelope of a message, keys, lengths…"""

_BOX_OVERHEAD_PART: Final = 1024
"""… and one more key for each 65,535 bytes, for which a 1,024th is plenty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """The limits of a :class:`~raftdb.peer.transport.PeerTransport`.

    :param heartbeat_s: between two heartbeat rounds
    :param election_timeout_s: T
    :param append_bytes_max: of the entries in one AppendEntries; a box must hold it [R30]
    :param hello_box_bytes_max: of a box before Hello is accepted, keys included
    :param box_bytes_max: of a box afterwards
    :param control_outbox_bytes_max: waiting for a paused control connection
    :param bulk_outbox_bytes_max: waiting for a paused bulk connection
    :param write_bytes_max: handed to a transport at once, so that its pauses show progress
    :param chunk_bytes_max: of a snapshot in one SnapshotChunk
    :param chunk_window: unanswered SnapshotChunks per stream
    :param snapshot_bytes_max: of a snapshot somebody may send us
    :param snapshot_patience_s: for the answer to one SnapshotChunk, its fsync included
    :param snapshot_pause_max_s: between two streams to a member that refuses them
    :param connections_max: accepted at a time
    :param strangers_max: of them without an accepted Hello; one more, and the oldest goes
    :param asks_max: commands of the other side that we have not answered yet, per connection
    """

    heartbeat_s: float = 0.1
    election_timeout_s: float = 0.4
    append_bytes_max: int = 1 * MiB
    hello_box_bytes_max: int = 4 * KiB
    box_bytes_max: int = 8 * MiB
    control_outbox_bytes_max: int = 1 * MiB
    bulk_outbox_bytes_max: int = 32 * MiB
    write_bytes_max: int = 128 * KiB
    chunk_bytes_max: int = 60 * KiB
    chunk_window: int = 16
    snapshot_bytes_max: int = 64 * 1024 * MiB
    snapshot_patience_s: float = 60.0
    snapshot_pause_max_s: float = 10.0
    connections_max: int = 256
    strangers_max: int = 32
    asks_max: int = 64

    def __post_init__(self) -> None:
        """Refuse limits that do not nest [R30]."""
        if not 0 < self.heartbeat_s < self.election_timeout_s:
            raise InvalidRequest("heartbeat_s must be above 0 and below election_timeout_s")
        if self.append_bytes_max > self.payload_bytes_max:
            raise InvalidRequest(
                f"box_bytes_max leaves {self.payload_bytes_max} bytes for entries, and"
                f" append_bytes_max is {self.append_bytes_max}"
            )
        if self.box_bytes_max > self.bulk_outbox_bytes_max:
            raise InvalidRequest("bulk_outbox_bytes_max must hold at least one box")
        if not 1 <= self.chunk_bytes_max <= AMP_VALUE_BYTES_MAX:
            raise InvalidRequest("chunk_bytes_max must be in [1, 65535]")
        if not 1 <= self.chunk_window < self.asks_max:
            raise InvalidRequest("chunk_window must be at least 1 and below asks_max")
        if not 1 <= self.strangers_max <= self.connections_max:
            raise InvalidRequest("strangers_max must be in [1, connections_max]")

    @property
    def payload_bytes_max(self) -> int:
        """How many bytes of messages a box holds for sure."""
        return self.box_bytes_max - self.box_bytes_max // _BOX_OVERHEAD_PART - _BOX_OVERHEAD_BYTES

    @property
    def connect_timeout_s(self) -> float:
        """How long one attempt to connect may take [R17]."""
        return 2 * self.heartbeat_s

    @property
    def hello_timeout_s(self) -> float:
        """How long either side waits for Hello; includes a live check of two heartbeats [R29]."""
        return max(1.0, 8 * self.heartbeat_s)

    @property
    def ping_timeout_s(self) -> float:
        """How long a Ping on control may go unanswered."""
        return 2 * self.heartbeat_s

    @property
    def snapshot_pause_s(self) -> float:
        """How long the first pause is before a member that has refused a snapshot is sent one."""
        return self.heartbeat_s

    @property
    def stall_s(self) -> float:
        """How long a bulk connection may show no progress at all."""
        return max(2.0, 4 * self.election_timeout_s)

    @property
    def closing_s(self) -> float:
        """How long a connection being closed may take to flush before it is cut."""
        return 2 * self.heartbeat_s
