"""Linux's io_uring as raftdb uses it, on a real file and the real kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftdb.ring import Result, Ring

WRITES = 300
"""More than either queue has places, many times over."""

CACHESTAT = 451
"""The number of a system call, in Linux since 6.5."""


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Hold a ring."""
    try:
        ring = Ring()
    except OSError as error:
        pytest.skip(f"no io_uring here: {error}")
    yield ring
    ring.close()


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


def open_files() -> int:
    """Return how many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def dirty_pages(descriptor: int) -> int:
    """Return how many pages of a file are not on the disk; 0 where the kernel cannot tell."""
    everything = (ctypes.c_uint64 * 2)(0, 0)
    counts = (ctypes.c_uint64 * 5)()  # cached, dirty, under way, evicted, recently evicted
    done = ctypes.CDLL(None).syscall(CACHESTAT, descriptor, everything, counts, 0)
    return counts[1] + counts[2] if done == 0 else 0


class TestAWrite:
    """What is handed over is in the file when its result can be taken."""

    def test_lies_where_it_should(self, ring: Ring, file: int) -> None:
        """One after the other, for longer than the queues are."""
        for number in range(WRITES):
            assert ring.write(file, 10 * number, b"%010d" % number)
            assert result(ring) == (10, 0)
        expected = b"".join(b"%010d" % number for number in range(WRITES))
        assert os.pread(file, 20 * WRITES, 0) == expected

    def test_keeps_its_bytes(self, ring: Ring, file: int) -> None:
        """As long as the kernel may read them, and no longer."""
        content = bytes(300_000)
        before = sys.getrefcount(content)
        ring.write(file, 0, content)
        assert sys.getrefcount(content) > before
        assert result(ring) == (len(content), 0)
        assert sys.getrefcount(content) == before

    def test_has_no_result_before_its_end(self, ring: Ring, file: int) -> None:
        """Nor twice."""
        assert ring.take() is None
        ring.write(file, 0, b"x")
        assert result(ring) == (1, 0)
        assert ring.take() is None

    def test_that_fails_tells_the_error(self, ring: Ring, tmp_path: Path) -> None:
        """As a negative number, and the ring goes on."""
        (tmp_path / "other").write_bytes(b"as it was")
        readable = os.open(tmp_path / "other", os.O_RDONLY)
        ring.write(readable, 0, b"x")
        assert result(ring) == (-errno.EBADF, -errno.ECANCELED)
        os.close(readable)
        writable = os.open(tmp_path / "other", os.O_RDWR)
        ring.write(writable, 0, b"A")
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
            ring.write(file, 4096 * number, b"x" * 5000)
            assert result(ring) == (5000, 0)
            assert dirty_pages(file) == 0


class TestAnEnd:
    """A ring gives back what it holds."""

    def test_leaves_nothing_open(self) -> None:
        """Not even when it is closed twice."""
        try:
            Ring().close()
        except OSError as error:
            pytest.skip(f"no io_uring here: {error}")
        before = open_files()
        ring = Ring()
        ring.close()
        ring.close()
        assert open_files() == before
