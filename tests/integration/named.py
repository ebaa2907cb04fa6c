"""twistd raftdb on a host where names have the addresses that a test gives them.

``RAFTDB_TEST_NAMES="a.six=::1 b.both=127.0.0.1,::1"`` answers for these names as a name server would.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

_NAMES = dict(each.split("=") for each in os.environ.get("RAFTDB_TEST_NAMES", "").split())
_resolve = socket.getaddrinfo


def _answer(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in _NAMES:
        return _resolve(host, *arguments, **options)
    found: list[Any] = []
    for address in _NAMES[name].split(","):
        found += _resolve(address, *arguments, **options)
    return found


# Before Twisted, which keeps the function under a name of its own.
socket.getaddrinfo = _answer
sys.argv[0] = "twistd"

from twisted.scripts.twistd import run  # noqa: E402  # see above

run()
