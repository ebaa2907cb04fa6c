"""Which files are raftdb's own: by name and, where there is no identity to vouch for them, by content.

Nothing is ever removed but files of these very forms, and a directory without an identity is taken
only if there is nothing else in it: ``wal``, ``lock`` and ``snapshots`` are names that other
programs use, too. What file systems, shells and twistd leave in a directory does not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from raftdb.disk.files import FileSystem
from raftdb.errors import StorageError
from raftdb.storage.identity import PART_NAME, is_part
from raftdb.storage.segment import HEADER_BYTES, may_be_segment

LOCK_NAME = "lock"
LOG_NAME = "wal"
SNAPSHOTS_NAME = "snapshots"

_OTHERS = re.compile(r"lost\+found|\..*|twistd\..*", re.DOTALL)
_LOG_FILE = re.compile(r"[0-9]{16,19}\.(log|spare|new\.spare|copy|begun)")
_SNAPSHOT_FILE = re.compile(r"[0-9]{16,19}(-[0-9]{16,19}\.(snapshot|received)|\.part)")
_GO_LOG_NAME = "raft.db"
_READ_BYTES = 1024 * 1024


def refuse_foreign(files: FileSystem, path: str, names: Sequence[str]) -> None:
    """Refuse a directory that is nobody's and serves another purpose; change nothing.

    It would be locked for everybody but this node, and a wipe later would take the rest with it.

    :param names: what is in the directory
    :raises StorageError: naming what is there
    """
    if _GO_LOG_NAME in names:
        raise StorageError(
            f"{path} cannot be used as a data directory: {_GO_LOG_NAME!r} in it is a log of the Go"
            " program raftdb, whose files this one cannot read. Nothing was changed. Give the node"
            " a directory of its own, and copy the keys over by HTTP while the old cluster runs"
            ' (docs/operations.md, "Come from the Go program")'
        )
    for name in names:
        if name == LOG_NAME:
            _refuse_below(files, path, name, _LOG_FILE)
        elif name == SNAPSHOTS_NAME:
            _refuse_below(files, path, name, _SNAPSHOT_FILE)
        elif name == LOCK_NAME:
            if content_of(files, os.path.join(path, name)):
                raise foreign(path, name)
        elif name != PART_NAME and not _OTHERS.fullmatch(name):
            raise foreign(path, name)


def check_beginnings(files: FileSystem, directory: str, names: Iterable[str]) -> None:
    """Make sure that files of a log without an identity are what a creation leaves behind.

    :param directory: of the log
    :param names: of its files, each of our own form; the segments are known to be ours
    :raises StorageError: naming one that holds something else
    """
    for name in names:
        if name.endswith(".log"):
            continue
        content = content_of(files, os.path.join(directory, name))
        zeros = content[HEADER_BYTES:].count(0) == len(content[HEADER_BYTES:])
        if not (may_be_segment(content) and zeros) or (content and name.endswith(".begun")):
            raise foreign(os.path.dirname(directory), f"{LOG_NAME}/{name}")


def check_part(files: FileSystem, path: str) -> None:
    """Make sure that an identity that was not finished is one; it will be written anew.

    :raises StorageError: where it is something else
    """
    if PART_NAME in files.list(path) and not is_part(
        content_of(files, os.path.join(path, PART_NAME))
    ):
        raise foreign(path, PART_NAME)


def check_leftovers(files: FileSystem, directory: str, names: Iterable[str]) -> None:
    """Make sure that what a start is about to remove, by its name, was written by raftdb.

    One that cannot be read is taken for what its name says: no start should fail for it.

    :raises StorageError: naming one that holds something else
    """
    for name in names:
        path = os.path.join(directory, name)
        head: bytes | None = None
        with suppress(OSError):
            file = files.open(path)
            try:
                head = file.read_at(0, HEADER_BYTES)
            finally:
                file.close()
        if head is not None and not may_be_segment(head):
            raise StorageError(
                f"{path} has the name of a file that a start removes, but raftdb has not written"
                " it; nothing was changed. Move it somewhere else"
            )


def check_present(files: FileSystem, expected: Mapping[str, Sequence[str]]) -> None:
    """Make sure that files in use are still there.

    A process goes on writing into a deleted file, and all it acknowledges goes with the process. Of a
    deleted lock another process would make a new one, and both would write.

    :param expected: the names in each directory
    :raises StorageError: naming one that is gone
    """
    for directory, names in expected.items():
        there = frozenset(files.list(directory))
        for name in names:
            if name not in there:
                raise StorageError(
                    f"{os.path.join(directory, name)} is gone: somebody has deleted or moved it under"
                    " the running node, and nothing more is acknowledged. Put it back if you can;"
                    " else move the data directory away and let the node join again"
                )


def is_snapshot_file(name: str) -> bool:
    """Tell whether a file in the directory of snapshots has a name of ours."""
    return _SNAPSHOT_FILE.fullmatch(name) is not None


def foreign(path: str, name: str) -> StorageError:
    """Return the refusal of a directory in which there is something else."""
    return StorageError(
        f"{path} cannot be used as a data directory: it is no node's and not empty, there is"
        f" {name!r} in it; give the node a directory of its own"
    )


def content_of(files: FileSystem, path: str) -> bytes:
    """Return all that a file holds."""
    file = files.open(path)
    try:
        return file.read_at(0, file.size())
    finally:
        file.close()


def _refuse_below(files: FileSystem, path: str, name: str, ours: re.Pattern[str]) -> None:
    for below in files.list(os.path.join(path, name)):
        if not ours.fullmatch(below):
            raise foreign(path, f"{name}/{below}")
