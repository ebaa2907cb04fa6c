"""Linux's io_uring as raftdb uses it, on a real file and the real kernel."""

from __future__ import annotations

import errno
import os
import resource
import select
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from raftdb.disk.direct_file import open_direct
from raftdb.disk.io_uring import Result, Ring
from tests.disks import flush_counter, pages_of

WRITES = 300
"""More than either queue has places, many times over."""

BYTES_MAX = 16 * 1024

ASYNC = 1 << 4
"""IOSQE_ASYNC: what is asked for is begun in a thread of the kernel's."""

ANY, NONE = 1, 0
"""Features that every kernel has, and none."""


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Hold a ring."""
    try:
        ring = Ring(BYTES_MAX)
    except OSError as error:
        pytest.skip(f"no io_uring here: {error}")
    yield ring
    ring.close()


@pytest.fixture
def direct(file: int) -> Iterator[int]:
    """Hold another descriptor of the same file, by which what is written is durable at once."""
    os.pwrite(file, bytes(BYTES_MAX), 0)
    os.fsync(file)
    opened = open_direct("", os.dup(file))
    if opened is None:
        pytest.skip("files here are on no file system that raftdb writes directly")
    assert opened.door is not None
    yield opened.door.descriptor
    opened.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """Hold the descriptor of an empty file."""
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def result(ring: Ring) -> Result:
    """Wait for the end of a write and its sync."""
    assert select.select([ring.fileno()], [], [], 60)[0], "no result within a minute"
    taken = ring.take()
    assert taken is not None
    return taken


def asked_for(ring: Ring) -> list[int]:
    """Return the flags of what the queue of work still shows."""
    return [ring._submissions[at + 1] for at in range(0, 2 * 64, 64)]


def open_files() -> int:
    """Return how many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def dirty_pages(descriptor: int) -> int:
    """Return how many pages of a file are not on the disk; 0 where the kernel cannot tell."""
    pages = pages_of(descriptor)
    return 0 if pages is None else pages.dirty


class TestAWrite:
    """What is handed over is in the file when its result can be taken."""

    def test_lies_where_it_should(self, ring: Ring, file: int) -> None:
        """One after the other, for longer than the queues are."""
        for number in range(WRITES):
            assert ring.write(file, 10 * number, b"%010d" % number, through=False)
            assert result(ring) == (10, 0)
        expected = b"".join(b"%010d" % number for number in range(WRITES))
        assert os.pread(file, 20 * WRITES, 0) == expected

    def test_has_a_copy_of_its_own(self, ring: Ring, file: int) -> None:
        """What was handed over may go while the kernel reads."""
        content = bytes(bytearray(b"as it was"))
        ring.write(file, 0, content, through=False)
        assert ring._content[:9] == content
        del content
        assert result(ring) == (9, 0)

    def test_may_fill_the_room(self, ring: Ring, file: int) -> None:
        """To the last byte, one write like the other."""
        for content in (b"x" * BYTES_MAX, b"y" * (BYTES_MAX - 1)):
            ring.write(file, 0, content, through=False)
            assert result(ring) == (len(content), 0)
        assert os.pread(file, BYTES_MAX + 1, 0) == b"y" * (BYTES_MAX - 1) + b"x"

    @pytest.mark.parametrize("count", [0, BYTES_MAX + 1])
    def test_is_refused_where_it_does_not_fit(self, ring: Ring, file: int, count: int) -> None:
        """Nothing of it is written, and the ring goes on."""
        with pytest.raises(OSError, match=f"{count} bytes are not 1 to {BYTES_MAX}"):
            ring.write(file, 0, b"x" * count, through=False)
        ring.write(file, 1, b"y", through=False)
        assert result(ring) == (1, 0)
        assert os.pread(file, 3, 0) == b"\0y"

    def test_has_no_result_before_its_end(self, ring: Ring, file: int) -> None:
        """Nor twice."""
        assert ring.take() is None
        ring.write(file, 0, b"x", through=False)
        assert result(ring) == (1, 0)
        assert ring.take() is None

    def test_that_fails_tells_the_error(self, ring: Ring, tmp_path: Path) -> None:
        """As a negative number, and the ring goes on."""
        (tmp_path / "other").write_bytes(b"as it was")
        readable = os.open(tmp_path / "other", os.O_RDONLY)
        ring.write(readable, 0, b"x", through=False)
        assert result(ring) == (-errno.EBADF, -errno.ECANCELED)
        os.close(readable)
        writable = os.open(tmp_path / "other", os.O_RDWR)
        ring.write(writable, 0, b"A", through=False)
        assert result(ring) == (1, 0)
        os.close(writable)
        assert (tmp_path / "other").read_bytes() == b"As it was"

    def test_is_durable(self, ring: Ring, file: int) -> None:
        """No page of it is still to be written when its result is there."""
        os.pwrite(file, b"x", 0)
        if not dirty_pages(file):
            pytest.skip("this kernel does not tell which pages are dirty")
        os.fdatasync(file)
        if dirty_pages(file):
            pytest.skip("files here are not on a disk")
        for number in range(20):
            ring.write(file, 4096 * number, b"x" * 5000, through=False)
            assert result(ring) == (5000, 0)
            assert dirty_pages(file) == 0


class TestAWriteThrough:
    """By a descriptor that makes durable what it writes there is nothing behind the write."""

    def test_lies_where_it_should(self, ring: Ring, file: int, direct: int) -> None:
        """Sector after sector, for longer than the queues are."""
        for number in range(WRITES):
            content = b"%0512d" % number
            assert ring.write(direct, 512 * number, content, through=True)
            assert result(ring) == (512, 0)
            assert os.pread(file, 513, 512 * number).rstrip(b"\0") == content

    def test_may_fill_the_room(self, ring: Ring, file: int, direct: int) -> None:
        """To the last byte, between those with a sync of their own."""
        ring.write(file, 0, b"x" * BYTES_MAX, through=False)
        assert result(ring) == (BYTES_MAX, 0)
        ring.write(direct, 0, b"y" * BYTES_MAX, through=True)
        assert result(ring) == (BYTES_MAX, 0)
        ring.write(file, 1, b"z", through=False)
        assert result(ring) == (1, 0)
        assert os.pread(file, BYTES_MAX + 1, 0) == b"yz" + b"y" * (BYTES_MAX - 2)

    def test_is_durable(self, ring: Ring, direct: int, tmp_path: Path) -> None:
        """The disk has emptied its cache once for each, at least."""
        flushes = flush_counter(tmp_path)
        before = flushes()
        for number in range(20):
            ring.write(direct, 512 * number, b"x" * 512, through=True)
            assert result(ring) == (512, 0)
        assert flushes() - before >= 20

    def test_that_is_refused_may_be_done_otherwise(self, ring: Ring, direct: int) -> None:
        """Nothing was written: these are no whole sectors."""
        ring.write(direct, 0, b"x" * 513, through=True)
        assert result(ring) == (-errno.EINVAL, -errno.ECANCELED)
        ring.write(direct, 0, b"x" * 512, through=True)
        assert result(ring) == (512, 0)

    def test_that_fails_is_final(self, ring: Ring, direct: int, tmp_path: Path) -> None:
        """The error may be the sync's."""
        readable = os.open(tmp_path / "file", os.O_RDONLY)
        ring.write(readable, 0, b"x" * 512, through=True)
        assert result(ring) == (-errno.EBADF, -errno.EBADF)
        os.close(readable)
        ring.write(direct, 0, b"x" * 512, through=True)
        assert result(ring) == (512, 0)

    def test_that_was_cut_short_may_be_done_otherwise(self, ring: Ring, file: int) -> None:
        """What was written is durable, and is written once more."""
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        try:
            ring.write(file, 0, b"x" * 1024, through=True)
            assert result(ring) == (1000, -errno.ECANCELED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)


class TestWhatTheKernelTakes:
    """Its word is believed, also where it takes less than it was given."""

    @pytest.mark.parametrize(("through", "taken", "whole"), [(False, 1, False), (True, 1, True)])
    def test_may_be_a_part(self, ring: Ring, through: bool, taken: int, whole: bool) -> None:
        """A write without its sync is not the whole, where it needs one."""
        with patch.object(ring, "_call", return_value=taken):
            assert ring.write(0, 0, b"x", through=through) is whole

    @pytest.mark.parametrize("through", [False, True])
    def test_may_be_nothing(self, ring: Ring, through: bool) -> None:
        """Then nothing will be written."""
        with (
            patch.object(ring, "_call", return_value=0),
            pytest.raises(OSError, match=os.strerror(errno.EAGAIN)),
        ):
            ring.write(0, 0, b"x", through=through)


class TestWhoBegins:
    """The thread that asks never waits for the disk [R12]."""

    @pytest.mark.parametrize(("feature", "elsewhere"), [(ANY, False), (NONE, True)])
    def test_a_write_through(
        self, monkeypatch: pytest.MonkeyPatch, direct: int, feature: int, elsewhere: bool
    ) -> None:
        """It begins it where the kernel never waits, and leaves that to a thread on older ones."""
        monkeypatch.setattr("raftdb.disk.io_uring._NEVER_WAITS", feature)
        ring = Ring(BYTES_MAX)
        for _ in range(3):
            ring.write(direct, 0, b"x" * 512, through=True)
            assert result(ring) == (512, 0)
        assert [flags & ASYNC != 0 for flags in asked_for(ring)] == [elsewhere] * 2
        ring.close()

    def test_what_is_synced_behind(self, ring: Ring, file: int) -> None:
        """A thread of the kernel's, in any case: neither the page cache nor a sync promises that."""
        ring.write(file, 0, b"x", through=False)
        assert result(ring) == (1, 0)
        assert all(flags & ASYNC for flags in asked_for(ring))


class TestAnEnd:
    """A ring gives back what it holds."""

    def test_leaves_nothing_open(self) -> None:
        """Not even when it is closed twice."""
        try:
            Ring(BYTES_MAX).close()
        except OSError as error:
            pytest.skip(f"no io_uring here: {error}")
        before = open_files()
        ring = Ring(BYTES_MAX)
        ring.close()
        ring.close()
        assert open_files() == before
