"""The log's files past the page cache, on a real disk."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import subprocess
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from twisted.logger import capturedLogs

from raftdb.disk import direct_file
from raftdb.disk.buffered_file import RealFile
from raftdb.disk.direct_file import DirectFile, open_direct
from raftdb.disk.failpoints import FailpointFileSystem, _FailpointFile
from raftdb.disk.files import SECTOR_BYTES
from raftdb.disk.work import SplitWrite
from raftdb.errors import StorageError
from raftdb.simulation.disk.storage_fixture import IDENTITY, SMALL_LIMITS, fill_log, outcome
from raftdb.storage import DataDirectory, DurableStorage, RealFileSystem, run_here
from raftdb.storage.record import Record
from tests.disks import flush_counter, pages_of

FILES = RealFileSystem()

FILE_BYTES = 1024 * 1024


def made(path: Path) -> str:
    """Make a durable file of zeros."""
    file = FILES.open(str(path), create=True)
    file.write_at(0, bytes(FILE_BYTES))
    file.fsync()
    file.close()
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> DirectFile:
    """Hold one that is written past the page cache."""
    file = FILES.open(made(tmp_path / "file"), sectors=True)
    if not isinstance(file, DirectFile):
        assert not is_known(tmp_path)
        pytest.skip("files here are on no file system that raftdb writes directly")
    return file


def is_known(path: Path) -> bool:
    """Tell by other means whether files here are to be written past the page cache."""
    asked = subprocess.run(
        ["stat", "--file-system", "--format=%T", path], capture_output=True, text=True, check=True
    )
    return asked.stdout.strip() in {"ext2/ext3", "xfs"} and takes_sectors(path / "probe")


def takes_sectors(path: Path) -> bool:
    """Tell whether 512 bytes may be written to a file past the page cache."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    try:
        return os.pwrite(descriptor, mmap.mmap(-1, SECTOR_BYTES), 0) == SECTOR_BYTES
    except OSError:
        return False
    finally:
        os.close(descriptor)


def open_files() -> int:
    """Return how many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


class TestAWrite:
    """Is in the file, and on the disk."""

    @pytest.mark.parametrize("seed", range(5))
    def test_lies_where_it_should(self, file: DirectFile, tmp_path: Path, seed: int) -> None:
        """Whole sectors and not, short and longer than what is written at once, over each other."""
        rng = Random(seed)
        expected = bytearray(FILE_BYTES)
        for _ in range(60):
            unit = rng.choice([SECTOR_BYTES, SECTOR_BYTES, 1])
            most = rng.choice([3, 100, FILE_BYTES // SECTOR_BYTES]) * SECTOR_BYTES
            count = rng.randrange(unit, most + 1, unit)
            offset = rng.randrange(0, FILE_BYTES - count + 1, unit)
            content = rng.randbytes(count)
            file.write_at(offset, content)
            expected[offset : offset + count] = content
            if rng.random() < 0.5:
                assert file.read_at(0, FILE_BYTES + 1) == expected
        file.fdatasync()
        file.close()
        assert (tmp_path / "file").read_bytes() == expected

    @pytest.mark.parametrize("count", [SECTOR_BYTES, 100 * SECTOR_BYTES, SECTOR_BYTES + 1])
    def test_is_durable_when_it_returns(self, file: DirectFile, tmp_path: Path, count: int) -> None:
        """The disk has emptied its cache once for each, at least, and before anybody syncs."""
        flushes = flush_counter(tmp_path)
        before = flushes()
        for number in range(10):
            file.write_at(number * SECTOR_BYTES, b"x" * count)
        assert flushes() - before >= 10
        file.close()

    def test_leaves_nothing_in_memory(self, file: DirectFile) -> None:
        """Neither what was there when it was opened, nor what is written."""
        file.write_at(0, b"x" * 100 * SECTOR_BYTES)
        pages = pages_of(file._descriptor)
        if pages is None:
            pytest.skip("this kernel does not tell what it keeps")
        assert pages.cached == 0
        file.close()

    def test_that_fails_is_not_done_otherwise(self, file: DirectFile, tmp_path: Path) -> None:
        """Only what the system will not have like this is written through the page cache."""
        other = os.open(tmp_path / "file", os.O_RDONLY)
        os.dup2(other, file._direct)
        os.close(other)
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            file.write_at(0, b"x" * SECTOR_BYTES)
        assert file.read_at(0, 1) == b"\0"
        file.close()


class TestTheDoor:
    """Whoever writes elsewhere is told that nothing has to follow."""

    def test_bypasses_the_page_cache_and_syncs(self, file: DirectFile) -> None:
        """Both, as long as the file is open."""
        door = file.door
        assert door is not None
        assert door.through
        flags = fcntl.fcntl(door.descriptor, fcntl.F_GETFL)
        assert flags & os.O_DIRECT
        assert flags & os.O_DSYNC
        file.close()
        assert file.door is None

    def test_is_closed_with_the_file(self, file: DirectFile) -> None:
        """Also where it is closed twice."""
        held = open_files()
        file.close()
        file.close()
        assert open_files() == held - 2
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            file.write_at(0, b"x" * SECTOR_BYTES)


@pytest.mark.usefixtures("file")
class TestTheLog:
    """Is written like this from its first batch on."""

    def test_is_such_a_file_always(self, tmp_path: Path) -> None:
        """As it is founded, in every segment that is begun, and after a restart."""
        path = str(tmp_path / "data")
        index = 0
        for _ in range(2):
            directory = DataDirectory.open(FILES, path)
            if directory.identity is None:
                directory.create(IDENTITY, limits=SMALL_LIMITS)
            storage = directory.recover(
                run=run_here, fill=run_here, crash=print, limits=SMALL_LIMITS
            )
            for _ in range(40):
                index += 1
                assert self.goes_through(storage)
                fill_log(storage, index, index, size=1000)
            assert len(list((tmp_path / "data" / "wal").glob("*.log"))) > 2
            outcome(storage.close())

    @pytest.mark.parametrize(
        ("known", "way"),
        [
            (direct_file.KNOWN_TO_SYNC, "opened with O_DIRECT and O_DSYNC"),
            (frozenset(), "written, then synced"),
        ],
    )
    def test_says_at_the_start_how_it_is_written(
        self, tmp_path: Path, known: frozenset[bytes], way: str
    ) -> None:
        """Whoever reads the log of a node wants to know."""
        directory = DataDirectory.open(FILES, str(tmp_path / "data"))
        directory.create(IDENTITY, limits=SMALL_LIMITS)
        with patch.object(direct_file, "KNOWN_TO_SYNC", known), capturedLogs() as events:
            storage = directory.recover(
                run=run_here, fill=run_here, crash=print, limits=SMALL_LIMITS
            )
        assert [event["way"] for event in events if "way" in event] == [way]
        outcome(storage.close())

    def goes_through(self, storage: DurableStorage) -> bool:
        """Look at the door of the current segment."""
        door = storage._wal.door
        return door is not None and door.through

    def test_is_one_with_failpoints_too(self, tmp_path: Path) -> None:
        """What is tested with them is what runs without."""
        files = FailpointFileSystem(FILES, lambda _: None)
        file = files.open(made(tmp_path / "other"), sectors=True)
        assert isinstance(file, _FailpointFile)
        assert type(file._file) is DirectFile
        file.close()

    def test_has_no_door_after_a_failure(self, tmp_path: Path) -> None:
        """Nobody writes on behind what failed."""
        directory = DataDirectory.open(FILES, str(tmp_path / "data"))
        directory.create(IDENTITY, limits=SMALL_LIMITS)
        storage = directory.recover(run=run_here, fill=run_here, crash=print, limits=SMALL_LIMITS)
        work = storage._wal.append(Record(None))
        assert isinstance(work, SplitWrite)
        assert work.begin() is not None
        with pytest.raises(StorageError):
            work.end(OSError(errno.EIO, os.strerror(errno.EIO)))
        again = storage._wal.append(Record(None))
        assert isinstance(again, SplitWrite)
        assert again.begin() is None
        with pytest.raises(StorageError):
            again()
        storage._wal.abandon()
        directory.close()


class TestElsewhere:
    """A file is written through the page cache, with a sync of its own."""

    def check(self, path: str) -> None:
        """Open it, and look."""
        held = open_files()
        file = FILES.open(path, sectors=True)
        assert type(file) is RealFile
        assert open_files() == held + 1
        assert file.door is not None
        assert not file.door.through
        file.write_at(0, b"x" * SECTOR_BYTES)
        file.fdatasync()
        assert file.read_at(0, 1) == b"x"
        file.close()

    def test_where_nothing_is_known_of_the_file_system(self, tmp_path: Path) -> None:
        """Those in user space, for one."""
        path = made(tmp_path / "file")
        with patch.object(direct_file, "KNOWN_TO_SYNC", frozenset()):
            self.check(path)

    def test_where_nobody_tells_the_file_system(self, tmp_path: Path) -> None:
        """Without /proc, or if it is not in its list."""
        path = made(tmp_path / "file")
        with patch.object(direct_file, "_MOUNTS", tmp_path / "nothing"):
            self.check(path)

    @pytest.mark.parametrize(
        "lines",
        [
            b"1 1 0:99 / / rw - ext4 x rw\n",
            b"1 1 %s / / rw\n",
            b"1 1 %s / / rw -",
            b"1 1 %s / /B\xfcro rw - fuse x rw\n",
            b"1 1 %s / /n\xc2\xa0-\xc2\xa0ext4 rw - tmpfs x rw\n",
            b"1 1 %s / /n\v-\vext4 rw - tmpfs x rw\n",
            b"1 1 %s / /a\r1 rw - fuse ext4 rw\n",
            b"1 1 %s / / rw - ext4 x rw\n2 1 %s / /else rw - fuse x rw\n",
            b"\xff\n\n - \n%s",
        ],
    )
    def test_where_the_list_tells_nothing_or_something_else(
        self, tmp_path: Path, lines: bytes
    ) -> None:
        """Whatever names users gave to where they mounted what."""
        path = made(tmp_path / "file")
        device = tmp_path.stat().st_dev
        name = b"%d:%d" % (os.major(device), os.minor(device))
        (tmp_path / "list").write_bytes(lines.replace(b"%s", name))
        with patch.object(direct_file, "_MOUNTS", tmp_path / "list"):
            self.check(path)

    def test_where_files_are_in_memory(self) -> None:
        """Nothing there is durable anyway, but it works."""
        memory = Path("/dev/shm")
        if not memory.is_dir() or is_known(memory):
            pytest.skip("there is no such place here")
        with TemporaryDirectory(dir=memory) as directory:
            self.check(made(Path(directory) / "file"))

    def test_where_the_disk_has_larger_sectors(self, tmp_path: Path) -> None:
        """It says so when it is asked for one of ours."""
        path = made(tmp_path / "file")

        def read(_: int, buffers: list[memoryview], offset: int) -> int:
            if len(buffers[0]) % 4096 or offset % 4096:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return len(buffers[0])

        with patch.object(os, "preadv", read):
            self.check(path)

    @pytest.mark.parametrize("function", ["os.posix_fadvise", "mmap.mmap"])
    def test_where_the_system_has_nothing_left(self, tmp_path: Path, function: str) -> None:
        """No memory, for one: a log goes on as it can."""
        path = made(tmp_path / "file")
        with patch(function, side_effect=OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))):
            self.check(path)

    def test_where_the_system_cannot_open_it(self, tmp_path: Path) -> None:
        """A file system that knows no ``O_DIRECT``."""
        descriptor = os.open(made(tmp_path / "file"), os.O_RDWR)
        refusal = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with patch.object(os, "open", side_effect=refusal):
            assert open_direct("", descriptor) is None
        os.close(descriptor)

    def test_where_it_is_not_written_in_sectors(self, tmp_path: Path) -> None:
        """Snapshots, identities."""
        file = FILES.open(made(tmp_path / "file"))
        assert type(file) is RealFile
        file.close()
