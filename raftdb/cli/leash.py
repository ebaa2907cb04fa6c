"""Runs twistd for as long as whoever started it is there: ``python -m raftdb.cli.leash -n raftdb …``.

Standard input is a pipe whose other end the starter holds. However the starter ends, SIGKILL
included, the kernel closes that end, and the node stops in order. The process is the node's own, so
its id is the one to send signals to.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from twisted.scripts.twistd import run

STOP_S = 5.0
"""After which a node that was asked to end is ended."""


def main() -> None:
    """Watch the pipe from a thread, and be twistd."""
    threading.Thread(target=_watch, name="raftdb-leash", daemon=True).start()
    sys.argv[0] = str(Path(sys.executable).with_name("twistd"))
    run()  # type: ignore[no-untyped-call]  # Twisted's, without annotations


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    os._exit(1)


if __name__ == "__main__":
    main()
