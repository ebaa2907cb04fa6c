"""How many files and sockets this process may have open, and who gets how many of them.

A node that runs out of descriptors cannot write its log. So the limit is raised as far as it goes,
what the node itself needs is kept free, and connections get the rest.
"""

from __future__ import annotations

import resource
from typing import NamedTuple

from twisted.logger import Logger

from raftdb.errors import InvalidRequest

__all__ = ["RESERVE", "Shares", "raise_limit", "share"]

RESERVE = 160
"""For the node itself: log segments, snapshots, the ring, threads' pipes, names being resolved,
connections to other nodes; and the HTTP connections that wait for their refusal (50)."""

HTTP_MIN, PEERS_MIN = 16, 32
"""Below these a node could not do its work."""

_log = Logger()


class Shares(NamedTuple):
    """How many connections may be open at a time."""

    http: int
    peers: int


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; return what it is then.

    Where the system does not let it be raised, it stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # macOS has a lower one behind an unlimited one
            _log.warn("the limit of open files stays at {soft}: {error}", soft=soft, error=error)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def share(limit: int, *, http: int, peers: int) -> Shares:
    """Return how many connections there is room for beneath the limit, and log it if it is less.

    :param limit: of open files; RLIM_INFINITY for none
    :param http: connections of clients that are wanted, at least 1
    :param peers: connections of other nodes that are wanted, at least 1
    :raises InvalidRequest: where there is no room to work
    """
    if limit == resource.RLIM_INFINITY or limit >= RESERVE + http + peers:
        return Shares(http, peers)
    room = limit - RESERVE
    if room < HTTP_MIN + PEERS_MIN:
        raise InvalidRequest(
            f"{limit} open files are too few for a node: at least"
            f" {RESERVE + HTTP_MIN + PEERS_MIN} are needed; raise ulimit -n, or LimitNOFILE= of systemd"
        )
    shares = Shares(0, min(peers, max(PEERS_MIN, room // 4)))
    shares = shares._replace(http=min(http, room - shares.peers))
    _log.warn(
        "{limit} open files are allowed: {http} HTTP connections at a time instead of {wanted}, and"
        " {peers} of other nodes; to have more, raise ulimit -n, or LimitNOFILE= of systemd",
        limit=limit,
        http=shares.http,
        wanted=http,
        peers=shares.peers,
    )
    return shares
