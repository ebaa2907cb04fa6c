"""The filler as storage uses it: no failed sync, and nothing that nobody waits for, fails in silence.

Spare segments, snapshots and deletions are not acknowledged to anybody, so their failures could be
forgotten. But after a failed sync nobody knows what the disk holds, whichever file it was of, and a
second one that succeeds proves nothing [R9]. So it ends the process, like a failed save.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from raftdb.disk.files import FailedSync
from raftdb.disk.work import Run
from raftdb.errors import StorageError

T = TypeVar("T")

_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
"""Want of room, or of descriptors: nothing is wrong with what is on the disk."""


def passes(error: BaseException | None) -> bool:
    """Whether an error is want of room or of descriptors, found out before anything was relied on."""
    return (
        isinstance(error, OSError)
        and not isinstance(error, FailedSync)
        and error.errno in _PASSING
    )  # fmt: skip


class Filler:
    """Does work for the disk that is not urgent, one piece after the other.

    :param run: where it is done
    :param crash: ends the process; is called once at most
    """

    def __init__(self, run: Run, crash: Callable[[Failure], None]) -> None:
        self._run = run
        self._crash = crash
        self.failure: Failure | None = None
        """Why the process has to end, None while it has not."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire with what ``work`` returns or raises; a failed sync ends the process besides."""
        return self._run(work).addErrback(self._look)

    def alone(self, work: Callable[[], object]) -> None:
        """Do what nobody waits for; if it fails, and not for want of room, the process ends."""
        self(work).addErrback(self.failed)

    def failed(self, failure: Failure) -> None:
        """End the process, unless an error passes by itself."""
        if self.failure is None and not passes(failure.value):
            self.failure = _in_words(failure)
            self._crash(self.failure)

    def _look(self, failure: Failure) -> Failure:
        if isinstance(failure.value, FailedSync):
            self.failed(failure)
        return failure


def _in_words(failure: Failure) -> Failure:
    """Say of an error of the disk what it means; bugs stay as they are, with their traceback."""
    if not isinstance(failure.value, OSError):
        return failure
    error = StorageError(
        f"the data directory cannot be written: {failure.value}; what was not acknowledged may be"
        " lost, and the process has to end"
    )
    return Failure(error)  # type: ignore[no-untyped-call]  # Twisted's
