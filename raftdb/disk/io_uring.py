"""A write that the kernel makes durable in a thread of its own: Linux's io_uring.

A thread of Python that is handed an fsync waits for the interpreter's lock twice, and wakes the
reactor through a pipe. Here one system call hands over, and a descriptor becomes readable when it is
done; the thread that asks never waits for the disk [R12]. Only what a log needs is here, one write at
a time: by a descriptor that makes each write durable the write alone, else a write and, if it was
whole, the fdatasync behind it. The manual pages io_uring(7) and io_uring_enter(2) tell how memory is
shared with the kernel.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from struct import Struct
from typing import NamedTuple

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]  # then there is no ring

_SETUP, _ENTER = 425, 426
"""Numbers of system calls; Alpha and MIPS have others, and do without a ring."""

_ENTRIES = 2
"""Of the queue of work: a write and its sync."""
_PARAMETERS = Struct("=10I8IQ8IQ")
"""Sizes and features, then where in the shared memory the parts of either queue are."""
_FEATURES = 1 << 0 | 1 << 9 | 1 << 11
"""One piece of memory for both queues; workers that are the process's own threads, so that it ends
after what they wait for; no word of a write that went well. All of that is Linux 5.17; on some
kernels before, a buffered write might never end (MDEV-26674 of MariaDB)."""
_SUBMISSIONS_AT = 0x10000000
_SUBMISSION = Struct("=BBHiQQIIQ24x")
"""Operation, flags, priority, descriptor, offset, address, length, flags of the operation, name."""
_COMPLETION = Struct("=Qi4x")
"""Name, and the bytes written or a negative error."""
_WRITE, _SYNC = 23, 3
"""Operations, and the names given to them here."""
_NEXT_AFTER_IT = 1 << 2
"""The next one begins when this one has ended well, else it is cancelled."""
_IN_ITS_OWN_THREAD = 1 << 4
"""Never begin it in the calling thread: a write may wait there for a page, or for the journal. Where
that is not asked for, a write past the page cache is begun there, and goes to a thread of its own
where it would have to wait."""
_NEVER_WAITS = 1 << 15
"""Of the features: one of Linux 6.12, from which on that includes a file system that is frozen."""
_ONLY_FAILURE = 1 << 6
"""No word of it if it goes well, and none of the sync behind it if it does not."""
_DATA = 1
"""A sync as fdatasync does it."""
_THROUGH = 1
"""The name of a write behind which no sync is needed."""
_REFUSED = -errno.EINVAL
"""No whole sectors, or not of this disk. Whoever writes it all anew need not know what of it was."""
_WORD = 4
_WORDS = 1 << 32


class Result(NamedTuple):
    """What came of a write and its sync.

    :param written: bytes, or a negative error
    :param synced: 0 or a negative error; ``-ECANCELED`` where the write was not whole, and may be
        done anew by other means
    """

    written: int
    synced: int


class Ring:
    """Two queues shared with the kernel: work goes into one, results come out of the other.

    It shares pages of memory, 8 KiB, has room for one write, and is for one thread.

    :param bytes_max: of a write
    :raises OSError: where the kernel has no io_uring, too old a one, or none for this process
    """

    def __init__(self, bytes_max: int) -> None:
        if sys.platform != "linux" or ctypes is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        parameters = ctypes.create_string_buffer(_PARAMETERS.size)
        self._descriptor = self._call(_SETUP, _ENTRIES, parameters)
        try:
            self._share(_PARAMETERS.unpack(parameters.raw))
        except BaseException:
            os.close(self._descriptor)
            raise
        self._content = mmap.mmap(-1, bytes_max)  # it begins with a page, hence with a sector
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._content))
        self._bytes_count = 0

    def _share(self, parameters: tuple[int, ...]) -> None:
        entries, completions, features = parameters[0], parameters[1], parameters[5]
        if features & _FEATURES != _FEATURES:
            raise OSError(errno.EOPNOTSUPP, "the kernel is older than Linux 5.17")
        _, tail, mask, *_, array, _, _ = parameters[10:19]
        head, end, completion_mask, _, _, at, *_ = parameters[19:28]
        size = max(array + _WORD * entries, at + _COMPLETION.size * completions)
        self._shared = mmap.mmap(self._descriptor, size)
        self._submissions = mmap.mmap(
            self._descriptor, _SUBMISSION.size * entries, offset=_SUBMISSIONS_AT
        )
        self._words = words = memoryview(self._shared).cast("I")
        self._tail, self._mask, self._array = tail // _WORD, words[mask // _WORD], array // _WORD
        self._head, self._end = head // _WORD, end // _WORD
        self._completion_mask, self._completions_at = words[completion_mask // _WORD], at
        self._through_flags = 0 if features & _NEVER_WAITS else _IN_ITS_OWN_THREAD

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is something to take."""
        return self._descriptor

    def write(self, descriptor: int, offset: int, content: bytes, *, through: bool) -> bool:
        """Begin to write durably; not before the result of the write before was taken.

        :param content: 1 to ``bytes_max`` bytes; they are copied
        :param through: whether a write by the descriptor is durable when it has ended; else a sync
            follows it
        :return: whether the kernel took all of it; where it took a write without its sync there is
            no result, and nobody knows what the disk will hold
        :raises OSError: where it took nothing: then it never will be written. In either case the
            ring is of no use any more, unless the error is that the size does not fit
        """
        assert not self._bytes_count, "one write at a time"
        count = len(content)
        if not 0 < count <= len(self._content):
            raise OSError(errno.EMSGSIZE, f"{count} bytes are not 1 to {len(self._content)}")
        self._content[:count] = content
        self._bytes_count = count
        at = self._address
        if through:
            steps = 1
            flags = self._through_flags
            self._submit(_WRITE, flags, 0, descriptor, offset, at, count, 0, _THROUGH)
        else:
            steps = 2
            flags = _IN_ITS_OWN_THREAD | _NEXT_AFTER_IT | _ONLY_FAILURE
            self._submit(_WRITE, flags, 0, descriptor, offset, at, count, 0, _WRITE)
            self._submit(_SYNC, _IN_ITS_OWN_THREAD, 0, descriptor, 0, 0, 0, _DATA, _SYNC)
        # The kernel looks at the queue in this call only, so that nothing has to be fenced.
        taken = self._call(_ENTER, self._descriptor, steps, 0, 0, None, 0)
        if not taken:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return taken == steps

    def take(self) -> Result | None:
        """Return what came of it, or None while it is not over."""
        words = self._words
        head = words[self._head]
        if head == words[self._end] or not self._bytes_count:
            return None
        at = self._completions_at + (head & self._completion_mask) * _COMPLETION.size
        name, code = _COMPLETION.unpack_from(self._shared, at)
        words[self._head] = (head + 1) % _WORDS
        whole, self._bytes_count = self._bytes_count, 0
        # One word in every case: of the sync, of the write that kept it from beginning, or of both in
        # one, where an error may be the sync's and is taken for it.
        if name == _SYNC:
            return Result(whole, code)
        if name == _WRITE or code == _REFUSED or 0 <= code < whole:
            return Result(code, -errno.ECANCELED)
        return Result(code, min(code, 0))

    def close(self) -> None:
        """Give everything back; again is allowed. Not while a write is under way."""
        if self._descriptor >= 0:
            self._words.release()
            self._shared.close()
            self._submissions.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def _submit(self, *fields: int) -> None:
        words = self._words
        tail = words[self._tail]
        slot = tail & self._mask
        _SUBMISSION.pack_into(self._submissions, slot * _SUBMISSION.size, *fields)
        words[self._array + slot] = slot
        words[self._tail] = (tail + 1) % _WORDS

    def _call(self, *arguments: object) -> int:
        result: int = self._syscall(*arguments)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result
