"""Which requests get in whatever else is going on: those that tell or mend how a node fares.

A supervisor restarts what does not answer ``/livez``, and a cluster heals by taking nodes in. Neither
may depend on how many clients are connected, wait, or have bytes in flight.
"""

from __future__ import annotations

from raftdb.http.targets import split_target

__all__ = ["HEALTH", "URGENT_BODY_BYTES_MAX", "URGENT_WAITING_MAX", "asks_urgently", "is_urgent"]

HEALTH = frozenset((b"/livez", b"/readyz", b"/api/status"))
"""What an operator needs most when everything waits; none of it ever waits itself."""

URGENT_WAITING_MAX = 32
"""How many urgent requests may wait besides all others."""

URGENT_BODY_BYTES_MAX = 4096
"""What an urgent body may have, however many bytes are in flight: a join request has 600."""

_CLUSTER = b"/api/cluster/"
_JOIN = b"/join"


def is_urgent(path: bytes) -> bool:
    """Whether the request for this raw path is about health or the cluster's own affairs."""
    return path in HEALTH or path == _JOIN or path.startswith(_CLUSTER)


def asks_urgently(target: bytes) -> bool:
    """Whether a request target, as it stands in the head, has such a path."""
    return is_urgent(split_target(target)[0])
