"""Ports of this host for nodes that are started here: free, and not given to outgoing connections.

A port that the system hands out as one end of a connection is no good for a node that others dial
before it listens: 1. a node that is to join dials port P, at which nobody listens yet; 2. the system
takes P for its own end, and TCP lets a socket connect to itself; 3. the node that was to listen on P
finds it taken.
"""

from __future__ import annotations

import errno
import random
import socket
from contextlib import ExitStack

__all__ = ["free_ports"]

LOWEST, HIGHEST = 20_000, 32_767
"""Below what Linux (32768), BSD and macOS (49152) use for outgoing connections by default."""

_ATTEMPTS_MAX = 1_000


def free_ports(count: int) -> list[int]:
    """Return ``count`` ports of 127.0.0.1 on which nobody listens at the moment.

    :raises OSError: where none are found
    """
    found: list[int] = []
    rng = random.SystemRandom()
    with ExitStack() as held:
        for _ in range(_ATTEMPTS_MAX):
            if len(found) == count:
                return found
            one = held.enter_context(socket.socket())
            port = rng.randint(LOWEST, HIGHEST)
            try:
                one.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                    raise
                continue
            found.append(port)
    raise OSError(errno.EADDRINUSE, f"no {count} ports of {LOWEST} to {HIGHEST} are free")
