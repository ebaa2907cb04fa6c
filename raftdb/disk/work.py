"""Blocking work for a disk, and how it is handed to another thread or to the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute

from raftdb.disk.files import WriteHandle

__all__ = ["PositionedWrite", "Run", "SplitWrite", "run_here"]

T = TypeVar("T")


class Run(Protocol):
    """Does blocking work elsewhere, one piece after the other, in the order it was given."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire with what ``work`` returns or raises."""


def run_here(work: Callable[[], T], /) -> Deferred[T]:
    """Do the work at once, where we are: for tests and tools without a reactor."""
    return execute(work)


class PositionedWrite(NamedTuple):
    """Bytes that are to be durable at an offset of an open file."""

    door: WriteHandle
    offset: int
    content: bytes


class SplitWrite:
    """Work that is one write and one sync, for those who need no thread to have them done.

    Called, it does everything, and blocks. Otherwise :meth:`begin` is asked for what to write, and
    :meth:`end` is told what came of it; both are quick. Who began and could not go on may still call.
    """

    def __call__(self) -> None:
        """Do all of it, here."""
        raise NotImplementedError

    @property
    def bytes_count(self) -> int:
        """How much there is to write, before anything is prepared."""
        raise NotImplementedError

    def begin(self) -> PositionedWrite | None:
        """Return what is to be durable, or None where that is not all there is to do."""
        raise NotImplementedError

    def end(self, error: OSError | None) -> None:
        """Take note that it is durable, or of the error; raises what calling would raise."""
        raise NotImplementedError
