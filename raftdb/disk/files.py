"""What raftdb needs of a file system, as a protocol.

Nothing here knows what the bytes mean. The protocol is narrow on purpose: the machine's own file
system has it (:mod:`raftdb.disk.real_files`), and the simulator's, with a disk that forgets
(:mod:`raftdb.simulation.disk.lossy_disk`); storage is proved there. All methods block; storage calls them from
the thread it was given, never from the reactor.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

SECTOR_BYTES = 512
"""What a disk writes in one piece: after a crash a sector is old or new, and its neighbour either."""


class FailedSync(OSError):
    """A sync failed, of a file or of a directory: nobody knows what the disk holds of it.

    It is none where the sync was not begun, because nothing could be opened for example.
    """


class WriteHandle(NamedTuple):
    """By which the system may be asked to write an open file elsewhere.

    :param descriptor: of the file
    :param through: whether a write by it, of whole sectors in memory that begins at one, is durable
        when it has ended; else it is when a sync of data alone has followed
    """

    descriptor: int
    through: bool


class File(Protocol):
    """An open file; a handle is used by one thread at a time."""

    @property
    def door(self) -> WriteHandle | None:
        """For writes elsewhere; None where all of them have to go through here, and when it is closed."""

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; fewer only at the end of the file."""

    def write_at(self, offset: int, content: bytes) -> None:
        """Write all of ``content`` at ``offset``; not durable before a sync."""

    def size(self) -> int:
        """Return the length in bytes."""

    def fdatasync(self) -> None:
        """Make the contents durable, and the length; other metadata need not follow."""

    def fsync(self) -> None:
        """Make contents and metadata durable; the name is its directory's business."""

    def close(self) -> None:
        """Let go of the file; what was not synced may still be lost."""


class Lock(Protocol):
    """Exclusive use of something; ends with the process at the latest."""

    def close(self) -> None:
        """Give it back."""


class FileSystem(Protocol):
    """The few operations that storage is built from.

    Failures are :class:`OSError`, those of a sync :class:`FailedSync`; so are those of a file.
    """

    def open(self, path: str, *, create: bool = False, sectors: bool = False) -> File:
        """Open for reading and writing.

        :param create: make a new file of mode 0600; an existing one is an error
        :param sectors: it has its length, and is durable as it is; from here on whole sectors of 512
            bytes are written, a sync behind each write, and hardly anything is read
        """

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in one step, replacing what had it."""

    def unlink(self, path: str) -> None:
        """Remove a file's name."""

    def mkdir(self, path: str) -> None:
        """Make a directory of mode 0700; where it exists, give it that mode."""

    def fsync_dir(self, path: str) -> None:
        """Make the names in a directory durable."""

    def is_dir(self, path: str) -> bool:
        """Tell whether there is such a directory."""

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; empty where there is no such directory."""

    def lock(self, path: str) -> Lock:
        """Take the one lock on ``path``, without waiting.

        :raises BlockingIOError: where another holds it
        """

    def free_bytes(self, path: str) -> int:
        """Return how many bytes may still be written to the file system that holds ``path``."""
