"""Cuts the power of a disk at some moment, and judges what a node finds when it comes back."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from raftdb.errors import RaftDBError
from raftdb.simulation.disk.storage_fixture import log_of
from raftdb.storage import DataDirectory, RealFileSystem, run_here
from tests.powercut.journal import Event
from tests.powercut.saving import LIMITS, Saved, value

SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""

DISK_BYTES = 320 * 1024 * 1024
"""The least that XFS is made on; hardly any of it is written."""

_SURVIVES = (0.0, 0.1, 0.5, 0.9, 1.0)
"""How likely a sector that was written, and not yet ordered out of the cache, is on the disk."""


class Kind(NamedTuple):
    """A file system on a disk.

    :param make: the command that makes it, without the device
    :param options: of mount(8)
    :param sector_bytes: as the disk tells them
    """

    name: str
    make: tuple[str, ...]
    options: str = "rw"
    sector_bytes: int = SECTOR_BYTES


class Cut(NamedTuple):
    """A moment, and what was going to be lost.

    :param journal_bytes: what had reached the disk: so much of its journal
    :param survives: the likelihood for each sector in the disk's cache
    """

    journal_bytes: int
    survives: float


class Verdict(NamedTuple):
    """What came back.

    :param complaint: what is wrong with it, or nothing
    :param more: whether there was also what had not been acknowledged yet
    """

    complaint: str = ""
    more: bool = False


@contextmanager
def attached(image: Path, kind: Kind) -> Iterator[str]:
    """Have a block device over a file; behind us it stays for as long as it is mounted."""
    size = str(kind.sector_bytes)
    device = run("losetup", "--find", "--show", "--sector-size", size, str(image)).strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(image: Path, kind: Kind, at: Path) -> Iterator[None]:
    """Have an image mounted; the block device goes with the mount, whatever happens to us."""
    with attached(image, kind) as device:
        run("mount", "-o", kind.options, device, str(at))
    try:
        yield
    finally:
        unmount(at)


def unmount(at: Path) -> None:
    """Unmount; what looks at new file systems of its own accord may be in the way for a moment."""
    for _ in range(50):
        with suppress(subprocess.CalledProcessError):
            run("umount", str(at))
            return
        time.sleep(0.1)
    run("umount", "--lazy", str(at))


def run(*command: str) -> str:
    """Run a command to its end, and return what it says."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def draw(saves: Sequence[Saved], count: int, rng: random.Random) -> list[Cut]:
    """Draw cuts, in order of time: half of them in the very moment of an acknowledgement."""
    founding, *rest = saves
    found = []
    for _ in range(count):
        saved = rng.choice(rest)
        exactly = rng.random() < 0.5
        moment = saved.acknowledged if exactly else rng.randint(saved.begun, saved.acknowledged)
        found.append(Cut(max(founding.acknowledged, moment), rng.choice(_SURVIVES)))
    return sorted(found)


def empty(path: Path) -> None:
    """Make a disk on which nothing was ever written."""
    with path.open("wb") as file:
        file.truncate(DISK_BYTES)


class Bench:
    """A disk with all that reached it, of which images are made, of a later moment each time.

    :param base: a directory for them
    :param events: of the disk's journal
    :param seed: of what was saved
    """

    def __init__(
        self, base: Path, kind: Kind, events: Sequence[Event], saves: Sequence[Saved], seed: str
    ) -> None:
        self._base = base
        self._kind = kind
        self._events = events
        self._ends = [event.end for event in events]
        self._saves = saves
        self._seed = seed
        self._safe = base / "safe"
        empty(self._safe)
        self._written = 0
        self.image = base / "image"

    def cut(self, cut: Cut, rng: random.Random) -> Verdict:
        """Cut the power, start again, and look."""
        self._make_image(cut, rng)
        at = self._base / "after"
        at.mkdir(exist_ok=True)
        with mounted(self.image, self._kind, at):
            return self._judge(at / "data", cut.journal_bytes)

    def _make_image(self, cut: Cut, rng: random.Random) -> None:
        """All that was written before the last order to empty the cache, and what luck adds."""
        end = bisect_left(self._ends, cut.journal_bytes + 1)
        last = next((n for n in range(end, 0, -1) if self._events[n - 1].content is None), 0)
        with self._safe.open("r+b") as file:
            for event in self._events[self._written : last]:
                if event.content is not None:
                    file.seek(event.offset)
                    file.write(event.content)
        self._written = last
        run("cp", "--sparse=always", str(self._safe), str(self.image))
        with self.image.open("r+b") as file:
            for event in self._events[last:end]:
                for at in range(0, len(event.content or b""), SECTOR_BYTES):
                    if event.content is not None and rng.random() < cut.survives:
                        file.seek(event.offset + at)
                        file.write(event.content[at : at + SECTOR_BYTES])

    def _judge(self, data: Path, journal_bytes: int) -> Verdict:
        acknowledged = max(s.last for s in self._saves if s.acknowledged <= journal_bytes)
        begun = max(s.last for s in self._saves if s.begun <= journal_bytes)
        try:
            directory = DataDirectory.open(RealFileSystem(), str(data))
        except RaftDBError as error:
            return Verdict(f"it does not open: {error}")
        try:
            storage = directory.recover(run=run_here, fill=run_here, crash=print, limits=LIMITS)
        except RaftDBError as error:
            directory.close()
            return Verdict(f"it does not start: {error}")
        log = log_of(storage)
        storage.close()
        if len(log) < acknowledged:
            return Verdict(f"{acknowledged} entries were acknowledged, {len(log)} are there")
        if len(log) > begun:
            return Verdict(f"{begun} entries were begun, {len(log)} are there")
        for index, entry in enumerate(log, 1):
            if entry.index != index or entry.data != value(self._seed, index):
                return Verdict(f"entry {index} is not what was saved")
        return Verdict(more=len(log) > acknowledged)


def has(command: str) -> bool:
    """Tell whether there is such a command."""
    return shutil.which(command, path="/usr/sbin:/sbin:/usr/bin:/bin") is not None
