"""Saves entries into a data directory as a node does, and tells what was acknowledged when.

Production code from the storage down: its writer, its thread, its files. Each line of the output is
one :class:`Saved` as JSON; the first one stands for the founding.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from pathlib import Path
from typing import NamedTuple

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react

from raftdb.disk.buffered_file import RealFile
from raftdb.disk.threads import WorkThread
from raftdb.disk.writer import Writer
from raftdb.raft.ready import Ready
from raftdb.raft.types import HardState
from raftdb.simulation.disk.storage_fixture import IDENTITY, entries_of
from raftdb.storage import DataDirectory, RealFileSystem, StorageLimits

LIMITS = StorageLimits(
    segment_bytes=128 * 1024, spare_segments=2, reserve_bytes=4096, free_bytes_min=0
)
"""Small segments, so that many are begun."""

SIZES = (10, 100, 300, 1000, 3000, 9000, 15_000, 30_000)
"""Bytes of a save: what goes to io_uring, and what goes to the thread."""


class Saved(NamedTuple):
    """A save of entries, and how large the journal of the disk was before it and after.

    :param last: the index of its last entry; 0 for the founding
    """

    last: int
    begun: int
    acknowledged: int


def value(seed: str, index: int) -> bytes:
    """Return what entry ``index`` holds; some are all NULs, as a disk is that lost something."""
    rng = random.Random(f"{seed}/{index}")
    size = rng.choice(SIZES)
    return bytes(size) if rng.random() < 0.3 else rng.randbytes(size)


class ForgetfulFiles(RealFileSystem):
    """What a wrong program would do: the log is written, and never synced."""

    def open(self, path: str, *, create: bool = False, sectors: bool = False) -> RealFile:
        """Open so that nothing is durable where the log is concerned."""
        return (
            _Forgetful(path, os.open(path, os.O_RDWR))
            if sectors
            else super().open(path, create=create)
        )


class _Forgetful(RealFile):
    @property
    def door(self) -> None:
        return None

    def fdatasync(self) -> None:
        pass


async def _save(options: argparse.Namespace) -> None:
    def journal_bytes() -> int:
        return Path(options.journal).stat().st_size

    def tell(saved: Saved) -> None:
        sys.stdout.write(json.dumps(saved) + "\n")

    files = ForgetfulFiles() if options.forgetful else RealFileSystem()
    directory = DataDirectory.open(files, options.data)
    directory.create(IDENTITY, limits=LIMITS)
    writer = Writer(_reactor, wanted=options.writer == "auto")  # type: ignore[arg-type]  # zope's
    filler = WorkThread(_reactor, "filler")  # type: ignore[arg-type]  # same
    storage = directory.recover(run=writer.run, fill=filler.run, crash=print, limits=LIMITS)
    tell(Saved(0, 0, journal_bytes()))
    rng, last = random.Random(options.seed), 0
    while last < options.entries:
        values = [value(options.seed, last + 1 + n) for n in range(rng.choice((1, 1, 1, 2, 3)))]
        begun = journal_bytes()
        ready = Ready(HardState(1, IDENTITY.member, last), entries_of(last + 1, *values))
        await storage.save(ready)
        last += len(values)
        tell(Saved(last, begun, journal_bytes()))
    door = storage._wal.door
    past = door is not None and door.through
    sys.stdout.write("past the page cache\n" if past else "through the page cache\n")
    await storage.close()
    await writer.stop()
    await filler.stop()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("journal")
    parser.add_argument("--writer", default="auto")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--entries", type=int, default=300)
    parser.add_argument("--forgetful", action="store_true")
    options = parser.parse_args()

    def begin(_: IReactorCore) -> Deferred[None]:
        return Deferred.fromCoroutine(_save(options))

    react(begin)


if __name__ == "__main__":
    main()
