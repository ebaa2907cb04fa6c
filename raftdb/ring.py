"""A write that the kernel makes durable in a thread of its own: Linux's io_uring.

A thread of Python that is handed an fsync waits for the interpreter's lock twice, and wakes the
reactor through a pipe. Here one system call hands over, and a descriptor becomes readable when it is
done; the thread that asks never waits for the disk [12]. Only what a log needs is here, one write at
a time. The manual pages io_uring(7) and io_uring_setup(2) tell how memory is shared with the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from struct import Struct

_SETUP, _ENTER = 425, 426
"""Numbers of system calls, the same on every architecture."""

_ENTRIES = 1
_PARAMETERS = Struct("=10I8IQ8IQ")
"""Sizes and features, then where in the shared memory the parts of either queue are."""
_SINGLE_MMAP = 1
"""The feature that both queues lie in one piece of memory (Linux 5.4)."""
_SUBMISSIONS_AT = 0x10000000
_SUBMISSION = Struct("=BBHiQQIIQ24x")
"""Operation, flags, priority, descriptor, offset, address, length, flags of the write, name."""
_COMPLETION = Struct("=Qi4x")
"""Name, and the bytes written or a negative error."""
_WRITE = 23
"""Since Linux 5.6; an older one answers that the argument is invalid."""
_IN_ITS_OWN_THREAD = 1 << 4
"""Never try it in the calling thread first: a write may wait for a page, or for the journal."""
_DURABLY = 2
"""RWF_DSYNC: complete only when an fdatasync of what was written is."""
_WORD = 4
_WORDS = 1 << 32


class Ring:
    """Two queues shared with the kernel: a write goes into one, its result comes out of the other.

    It shares pages of memory, 8 KiB, and is for one thread.

    :raises OSError: where the kernel has no io_uring, or not for this process
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "io_uring is Linux's")
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        parameters = ctypes.create_string_buffer(_PARAMETERS.size)
        self._descriptor = self._call(_SETUP, _ENTRIES, parameters)
        try:
            self._share(_PARAMETERS.unpack(parameters.raw))
        except BaseException:
            os.close(self._descriptor)
            raise
        self._writing: tuple[bytes, object] | None = None

    def _share(self, parameters: tuple[int, ...]) -> None:
        entries, completions, features = parameters[0], parameters[1], parameters[5]
        if not features & _SINGLE_MMAP:
            raise OSError(errno.ENOSYS, "the io_uring of this kernel is too old")
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

    def fileno(self) -> int:
        """Return a descriptor that is readable while a result can be taken."""
        return self._descriptor

    def write(self, descriptor: int, offset: int, content: bytes) -> None:
        """Begin to write; ``content`` is kept until its result was taken.

        :raises OSError: where the kernel did not take it: then it never will be written, and the
            ring is of no use any more
        """
        assert self._writing is None, "one write at a time"
        pointer = ctypes.c_char_p(content)
        self._writing = (content, pointer)
        address = ctypes.cast(pointer, ctypes.c_void_p).value
        words = self._words
        tail = words[self._tail]
        slot = tail & self._mask
        _SUBMISSION.pack_into(
            self._submissions,
            slot * _SUBMISSION.size,
            _WRITE,
            _IN_ITS_OWN_THREAD,
            0,
            descriptor,
            offset,
            address,
            len(content),
            _DURABLY,
            0,
        )  # fmt: skip
        words[self._array + slot] = slot
        words[self._tail] = (tail + 1) % _WORDS
        # The kernel looks at the queue in this call only, so that nothing has to be fenced.
        if self._call(_ENTER, self._descriptor, 1, 0, 0, None, 0) != 1:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def take(self) -> int | None:
        """Return how many bytes were made durable, or a negative error; None while it is not over."""
        words = self._words
        head = words[self._head]
        if head == words[self._end]:
            return None
        at = self._completions_at + (head & self._completion_mask) * _COMPLETION.size
        _, result = _COMPLETION.unpack_from(self._shared, at)
        words[self._head] = (head + 1) % _WORDS
        self._writing = None
        return int(result)

    def close(self) -> None:
        """Give everything back; again is allowed. Not while a write is under way."""
        if self._descriptor >= 0:
            self._words.release()
            self._shared.close()
            self._submissions.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def _call(self, *arguments: object) -> int:
        result: int = self._syscall(*arguments)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result
