"""Whether the power cuts are what they are said to be; and a few of them, where they are possible."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from raftdb.simulation.disk.storage_fixture import IDENTITY, entries_of, outcome, save
from raftdb.storage import DataDirectory, RealFileSystem, run_here
from tests.powercut.__main__ import why_impossible
from tests.powercut.cutting import SECTOR_BYTES, Bench, Cut, Kind, Verdict, draw
from tests.powercut.journal import Event, read_journal, write_record
from tests.powercut.saving import LIMITS, Saved, value


def journal_of(path: Path, told: Sequence[tuple[int, bytes] | None]) -> list[Event]:
    """Write a journal, None for each order to empty the cache, and read it."""
    descriptor = os.open(path / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for told_one in told:
        write_record(descriptor, *(told_one or ()))
    os.close(descriptor)
    return read_journal(path / "journal")


def image_of(path: Path, events: Sequence[Event], until: Event, survives: float) -> bytes:
    """Return what the disk holds when the power goes in the moment of an event."""
    bench = Bench(path, Kind("none", ()), events, (), "0")
    bench._make_image(Cut(until.end, survives), random.Random(1))
    with bench.image.open("rb") as image:
        return image.read(64 * 1024)


class TestTheJournal:
    """What was told is what is read."""

    def test_keeps_everything_in_order(self, tmp_path: Path) -> None:
        """With its place, and where the journal ended then."""
        events = journal_of(tmp_path, [(512, b"abc"), None, (0, b""), None])
        assert [(event.offset, event.content) for event in events] == [
            (512, b"abc"), (0, None), (0, b""), (0, None),
        ]  # fmt: skip
        ends = [event.end for event in events]
        assert ends == sorted(set(ends))
        assert ends[-1] == (tmp_path / "journal").stat().st_size


class TestACut:
    """Takes what the disk had not been ordered to keep, and nothing else."""

    @pytest.mark.parametrize("survives", [0.0, 0.5, 1.0])
    def test_keeps_what_an_order_followed(self, tmp_path: Path, survives: float) -> None:
        """Whatever luck says of the rest."""
        events = journal_of(
            tmp_path, [(0, b"a" * 1024), (1024, b"b" * 1024), None, (0, b"c" * 1024), None]
        )
        assert image_of(tmp_path, events, events[2], survives)[:2048] == b"a" * 1024 + b"b" * 1024
        assert image_of(tmp_path, events, events[4], survives)[:2048] == b"c" * 1024 + b"b" * 1024

    def test_tears_what_none_followed(self, tmp_path: Path) -> None:
        """Sector by sector: all of it, nothing, or some."""
        events = journal_of(tmp_path, [None, (0, b"x" * 64 * SECTOR_BYTES), None])
        seen = {}
        for survives in (0.0, 0.5, 1.0):
            image = image_of(tmp_path, events, events[1], survives)
            sectors = [image[at : at + SECTOR_BYTES] for at in range(0, 64 * SECTOR_BYTES, 512)]
            assert set(sectors) <= {bytes(SECTOR_BYTES), b"x" * SECTOR_BYTES}
            seen[survives] = sum(sector != bytes(SECTOR_BYTES) for sector in sectors)
        assert seen[0.0] == 0
        assert 0 < seen[0.5] < 64
        assert seen[1.0] == 64

    def test_sees_nothing_that_came_later(self, tmp_path: Path) -> None:
        """Nor a write whose record was not complete in that moment."""
        events = journal_of(tmp_path, [(0, b"a" * 512), None, (512, b"b" * 512), None])
        just_before = events[2]._replace(end=events[2].end - 1)
        assert image_of(tmp_path, events, just_before, 1.0)[:1024] == b"a" * 512 + bytes(512)

    def test_comes_between_the_founding_and_the_last_save(self) -> None:
        """And often in the very moment of an acknowledgement."""
        saves = [Saved(0, 0, 100), Saved(1, 110, 150), Saved(3, 160, 200)]
        found = [cut.journal_bytes for cut in draw(saves, 400, random.Random(1))]
        assert found == sorted(found)
        assert min(found) >= 110
        assert max(found) == 200
        assert found.count(150) > 80


class TestAVerdict:
    """Says what is wrong, if anything is."""

    SAVES = (Saved(0, 0, 10), Saved(4, 20, 30), Saved(6, 40, 50), Saved(9, 60, 70))

    @pytest.mark.parametrize(
        ("moment", "expected"),
        [
            (30, Verdict("4 entries were begun, 6 are there")),
            (40, Verdict(more=True)),
            (50, Verdict()),
            (69, Verdict()),
            (70, Verdict("9 entries were acknowledged, 6 are there")),
        ],
    )
    def test_goes_by_what_was_acknowledged(
        self, tmp_path: Path, moment: int, expected: Verdict
    ) -> None:
        """Less is a loss, and more than was begun is an invention."""
        assert self.judged(tmp_path, moment, "7") == expected

    def test_looks_at_what_is_there(self, tmp_path: Path) -> None:
        """Entries that were never saved are no entries."""
        assert self.judged(tmp_path, 50, "8") == Verdict("entry 1 is not what was saved")

    def test_refuses_a_start_that_is_refused(self, tmp_path: Path) -> None:
        """Nothing but missing writes is to be found after a power cut, and they are no damage."""

        def damage(data: Path) -> None:
            (log,) = (data / "wal").glob("*.log")
            content = bytearray(log.read_bytes())
            content[5000] ^= 1
            log.write_bytes(content)

        told = self.judged(tmp_path, 50, "7", damage)
        assert told.complaint.startswith("it does not start: ")

    def judged(
        self, path: Path, moment: int, seed: str, damage: Callable[[Path], None] = lambda _: None
    ) -> Verdict:
        """Judge a directory with six entries of seed 7 in it."""
        data = path / "data"
        directory = DataDirectory.open(RealFileSystem(), str(data))
        directory.create(IDENTITY, limits=LIMITS)
        storage = directory.recover(run=run_here, fill=run_here, crash=print, limits=LIMITS)
        for index in range(1, 7):
            save(storage, entries_of(index, value("7", index)))
        outcome(storage.close())
        damage(data)
        return Bench(path, Kind("none", ()), (), self.SAVES, seed)._judge(data, moment)


@pytest.mark.skipif(bool(why_impossible()), reason=why_impossible())
class TestTheRealThing:
    """On this machine's kernel, with its file systems."""

    @pytest.mark.parametrize(("flags", "code"), [((), 0), (("--forgetful",), 1)])
    def test_finds_out_who_does_not_sync(
        self, tmp_path: Path, flags: tuple[str, ...], code: int
    ) -> None:
        """And nothing else: what we acknowledge is there after each cut."""
        command = [sys.executable, "-m", "tests.powercut", "--seed", "7", "--cuts", "10"]
        command += ["--entries", "60", "--only", "1 KiB", "--directory", str(tmp_path), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert bool(list(tmp_path.iterdir())) is bool(code)
