"""twistd raftdb on a disk that fails at a named step: kills the process there, or hangs.

``RAFTDB_TEST_KILL_AT="before fsync snapshot:2"`` kills at the second time that step is reached;
``RAFTDB_TEST_HANG_WHILE=FILE`` makes every fdatasync of the log wait while FILE exists;
``RAFTDB_TEST_STEPS=FILE`` writes down every step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter

from twisted.scripts.twistd import run

from raftdb.disk.failpoints import FailpointFileSystem
from raftdb.disk.real_files import RealFileSystem
from raftdb.node import service

_kill_at, _, _count = os.environ.get("RAFTDB_TEST_KILL_AT", "").rpartition(":")
_hang_while = os.environ.get("RAFTDB_TEST_HANG_WHILE", "")
_steps = os.environ.get("RAFTDB_TEST_STEPS", "")
_reached: Counter[str] = Counter()


def failpoint(step: str) -> None:
    """Do what the environment asks for at this step."""
    _reached[step] += 1
    if _steps:
        with open(_steps, "a", encoding="ascii") as file:  # noqa: PTH123  # no more than a line
            file.write(f"{step}\n")
    if step == _kill_at and _reached[step] >= int(_count):
        os.kill(os.getpid(), signal.SIGKILL)
    if _hang_while and step == "before fdatasync log":
        while os.path.exists(_hang_while):  # noqa: PTH110  # same
            time.sleep(0.02)


vars(service)["RealFileSystem"] = lambda **options: FailpointFileSystem(
    RealFileSystem(**options), failpoint
)
sys.argv[0] = "twistd"
run()
