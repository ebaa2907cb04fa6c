"""Where the command begins: Ctrl-C ends it from its first moment on, without a traceback.

Python's own answer to Ctrl-C is an exception wherever it happens to be, and that is in the middle of
the imports of Twisted for the first half second. Until those are done the signal does what it does
to any other program. A shell has a command in the background ignore Ctrl-C; that stays so.
"""

from __future__ import annotations

import signal

_IS_OURS = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _IS_OURS:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from raftdb.cli.main import main as run  # noqa: E402  # what takes its time

__all__ = ["main"]


def main() -> None:
    """Run one command and exit."""
    if _IS_OURS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
