"""What a command prints, and what becomes of it where nobody takes it.

A reader that has seen enough (``raftdb get big | head -c 5``) ends the command as it ends any other;
a disk without room is told in one line. Neither is a traceback, and neither is "no such key".
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["READER_GONE", "OutputLost", "complain", "print_out"]

READER_GONE = 141
"""What a shell shows of a program that SIGPIPE ended."""
OUTPUT_LOST = 5


class OutputLost(Exception):
    """The standard output takes no more.

    :ivar code: the exit code
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output could not be written: {error.strerror}")
        self.code = READER_GONE if isinstance(error, BrokenPipeError) else OUTPUT_LOST


def print_out(data: bytes | str) -> None:
    """Write to the standard output, and see to it that it is written.

    :raises OutputLost: it was not, or not all of it
    """
    raw = data.encode() if isinstance(data, str) else data
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is left in the buffer would be tried once more, and fail, when Python ends.
        _abandon()
        raise OutputLost(error) from error


def complain(text: str) -> None:
    """Write a line to the standard error; where that fails the exit code has to do."""
    with suppress(OSError):
        sys.stderr.write(f"raftdb: {text}\n")
        sys.stderr.flush()


def _abandon() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
