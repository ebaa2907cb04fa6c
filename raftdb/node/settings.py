"""What the operator decides about one node, checked as a whole; the only place with the defaults.

Plain values only: how they are written on a command line is :mod:`raftdb.tap`'s part, what is built
from them :mod:`raftdb.node.service`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raftdb.errors import InvalidRequest
from raftdb.membership import check_id
from raftdb.node.endpoints import (
    EVERY_ADDRESS,
    check_advertised,
    check_dial_template,
    listen_description,
)
from raftdb.outbound import http_origin
from raftdb.storage import StorageLimits

KiB = 1024
MiB = 1024 * KiB

TICKS_PER_HEARTBEAT = 2
"""One heartbeat is two ticks of the core, so that a late tick delays it by half of itself only."""

HEARTBEATS_PER_ELECTION_TIMEOUT = 4
"""Unless told otherwise: three heartbeats may be lost or late before anybody campaigns."""

BODY_BYTES_CEILING = 4 * MiB
"""What ``body_bytes_max`` may be set to: body and overhead must fit into one entry [R30]."""

SEGMENT_BYTES_CEILING = 1024 * MiB
"""What ``segment_bytes`` may be set to: segments are zero-filled ahead of need."""

OVERHEAD_BYTES = 64 * KiB
"""What a write may need besides its body on its way into a segment."""

APPEND_BYTES_MAX = 1 * MiB
"""Of entries in one append, where segments are large enough for that."""

HEARTBEAT_MS_CEILING = 10_000
ELECTION_TIMEOUT_MS_CEILING = 60_000
"""Beyond these a cluster without a leader would seem dead: most likely seconds were meant."""

HTTP_LANES = ("fast", "stock")
LOG_WRITERS = ("auto", "thread")
FOLLOWER_READS = ("redirect", "serve")

_AT_LEAST_ONE = (
    "snapshot_entries",
    "snapshot_bytes",
    "body_bytes_max",
    "connections_max",
    "waiting_max",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node's settings.

    :param data_dir: where everything lives that must survive
    :param id: the node's name; None where the directory is to say it
    :param http_address: ``host:port`` that clients and other members are told
    :param raft_address: ``host:port`` that the peers are told
    :param http_listen: an endpoint description, ``host:port`` or ``:port`` to listen on for
        clients; empty for ``http_address``
    :param raft_listen: the same for peers
    :param peer_tls: a directory with ``ca.pem``, ``node.pem`` and ``node.key``; None for no TLS
        between the nodes
    :param raft_dial: how a peer is dialled: a client endpoint with ``{host}`` and ``{port}``
    :param join: HTTP addresses of members to be taken in by; empty to found a cluster
    :param join_timeout_s: after which an unanswered join ends the process
    :param heartbeat_ms: between two heartbeats, ``2 <= heartbeat_ms <= 10_000``; scales everything
    :param election_timeout_ms: silence after which a follower campaigns, at least two heartbeats
        and at most 60,000; 0 for four of them
    :param snapshot_entries: applied between two snapshots
    :param snapshot_bytes: of entries between two snapshots, whatever their number
    :param segment_bytes: of one file of the log; a multiple of 512
    :param body_bytes_max: of one HTTP request's body
    :param connections_max: of HTTP clients at the same time
    :param peer_connections_max: that other nodes have made, at the same time; at least 32
    :param waiting_max: requests waiting for the cluster at the same time
    :param request_timeout_s: after which a client's request is given up
    :param follower_reads: what a follower does with a ``/key`` read that is not ``stale``:
        ``redirect`` it to the leader, or ``serve`` it after asking the leader for the read index
    :param http_lane: ``fast`` lets plain requests go past twisted.web's parser, ``stock`` none
    :param log_writer: ``auto`` has the kernel write the log where it has io_uring, ``thread`` never
    """

    data_dir: Path
    id: str | None = None
    http_address: str = "localhost:8091"
    raft_address: str = "localhost:8089"
    http_listen: str = ""
    raft_listen: str = ""
    peer_tls: Path | None = None
    raft_dial: str = EVERY_ADDRESS
    join: tuple[str, ...] = ()
    join_timeout_s: float = 60.0
    heartbeat_ms: int = 100
    election_timeout_ms: int = 0
    snapshot_entries: int = 50_000
    snapshot_bytes: int = 64 * MiB
    segment_bytes: int = 16 * MiB
    body_bytes_max: int = 1536 * KiB
    connections_max: int = 900
    peer_connections_max: int = 256
    waiting_max: int = 512
    request_timeout_s: float = 10.0
    follower_reads: str = "redirect"
    http_lane: str = "fast"
    log_writer: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what no node could work with, naming the option and what would be right."""
        if self.id is not None:
            check_id(self.id)
        self._check_addresses()
        self._check_times()
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{_option(name)} must be at least 1")
        if self.http_lane not in HTTP_LANES:
            raise InvalidRequest(f"--http-lane must be {' or '.join(HTTP_LANES)}")
        if self.log_writer not in LOG_WRITERS:
            raise InvalidRequest(f"--log-writer must be {' or '.join(LOG_WRITERS)}")
        if self.follower_reads not in FOLLOWER_READS:
            raise InvalidRequest(f"--follower-reads must be {' or '.join(FOLLOWER_READS)}")
        self._check_nesting()

    def _check_addresses(self) -> None:
        with _naming("--haddr"):
            check_advertised(self.http_address, listen="--hlisten")
        with _naming("--raddr"):
            check_advertised(self.raft_address, listen="--rlisten")
        with _naming("--join"):
            for address in self.join:
                http_origin(address)
        with _naming("--hlisten"):
            http = listen_description(self.http_listen or self.http_address)
        with _naming("--rlisten"):
            raft = listen_description(self.raft_listen or self.raft_address)
        if self.http_address == self.raft_address or http == raft:
            raise InvalidRequest(
                "--haddr and --raddr must differ: clients and nodes speak to different ports"
            )
        check_dial_template(self.raft_dial)
        if self.peer_tls and not self.peer_tls.is_dir():
            raise InvalidRequest(
                f"--peer-tls: {self.peer_tls} is no directory; it must hold ca.pem, node.pem and"
                " node.key"
            )
        if self.peer_tls and not self.raft_dial.startswith(("tcp:", "unix:")):
            raise InvalidRequest(
                "--peer-tls puts TLS on top of --rdial, which must be plain: leave one of them away"
            )

    def _check_nesting(self) -> None:
        """Refuse limits that do not fit into each other [R30]: body, entry, box, batch, segment."""
        if self.body_bytes_max > BODY_BYTES_CEILING:
            raise InvalidRequest(
                f"--body-bytes must be at most {BODY_BYTES_CEILING}, what one message can hold"
            )
        if self.segment_bytes > SEGMENT_BYTES_CEILING:
            raise InvalidRequest(
                f"--segment-bytes must be at most {SEGMENT_BYTES_CEILING}: three segments are"
                " written in advance"
            )
        with _naming("--segment-bytes"):
            limits = self.storage_limits.check()
        if self.body_bytes_max + OVERHEAD_BYTES + limits.reserve_bytes > self.segment_bytes:
            raise InvalidRequest(
                f"--segment-bytes must hold --body-bytes ({self.body_bytes_max}) and"
                f" {OVERHEAD_BYTES + limits.reserve_bytes} bytes besides"
            )

    def _check_times(self) -> None:
        if not TICKS_PER_HEARTBEAT <= self.heartbeat_ms <= HEARTBEAT_MS_CEILING:
            raise InvalidRequest(
                f"--heartbeat must be from {TICKS_PER_HEARTBEAT} to {HEARTBEAT_MS_CEILING}"
                f" milliseconds, not {self.heartbeat_ms}"
            )
        if self.election_timeout_ms > ELECTION_TIMEOUT_MS_CEILING:
            raise InvalidRequest(
                f"--election-timeout must be at most {ELECTION_TIMEOUT_MS_CEILING} milliseconds,"
                f" not {self.election_timeout_ms}"
            )
        if self.election_timeout_ms and self.election_timeout_ms < 2 * self.heartbeat_ms:
            raise InvalidRequest(
                f"--election-timeout must be at least two heartbeats ({2 * self.heartbeat_ms} ms),"
                f" not {self.election_timeout_ms}"
            )
        for name in ("join_timeout_s", "request_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidRequest(f"{_option(name)} must be above 0 seconds, and not for ever")

    @property
    def storage_limits(self) -> StorageLimits:
        """What bounds the files."""
        return StorageLimits(segment_bytes=self.segment_bytes)

    @property
    def append_bytes_max(self) -> int:
        """Of entries in one append: what an empty segment holds, and so any follower with room [R30].

        A follower keeps an append or drops it as a whole: one that no segment holds would be sent,
        and dropped, for ever.
        """
        limits = self.storage_limits
        return min(APPEND_BYTES_MAX, self.segment_bytes - OVERHEAD_BYTES - limits.reserve_bytes)

    @property
    def tick_s(self) -> float:
        """The length of one of the core's ticks."""
        return self.heartbeat_ms / 1000 / TICKS_PER_HEARTBEAT

    @property
    def heartbeat_s(self) -> float:
        """Between two heartbeats."""
        return self.heartbeat_ms / 1000

    @property
    def heartbeat_ticks(self) -> int:
        """Between two heartbeats, in ticks."""
        return TICKS_PER_HEARTBEAT

    @property
    def election_ticks(self) -> int:
        """T in ticks, rounded up."""
        if not self.election_timeout_ms:
            return HEARTBEATS_PER_ELECTION_TIMEOUT * TICKS_PER_HEARTBEAT
        return -(-self.election_timeout_ms * TICKS_PER_HEARTBEAT // self.heartbeat_ms)

    @property
    def election_timeout_s(self) -> float:
        """T in seconds, as the core keeps it."""
        return self.election_ticks * self.tick_s


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Say in a refusal which option it is about."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(f"{option}: {error}") from error


def _option(field: str) -> str:
    return "--" + field.removesuffix("_max").removesuffix("_s").replace("_", "-")
