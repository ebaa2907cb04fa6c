"""What survives a power cut: the log, the snapshots, the identity of a data directory.

:class:`~raftdb.storage.directory.DataDirectory` is the way in,
:class:`~raftdb.storage.durable.DurableStorage` what comes out of it. ``docs/storage.md`` gives the
files byte by byte.
"""

from __future__ import annotations

from raftdb.disk.files import File, FileSystem, Lock
from raftdb.disk.real_files import RealFileSystem
from raftdb.disk.work import Run, run_here
from raftdb.storage.directory import DataDirectory
from raftdb.storage.durable import DurableStorage
from raftdb.storage.identity import Identity
from raftdb.storage.limits import StorageLimits
from raftdb.storage.snapshot_io import (
    SnapshotReading,
    SnapshotReceiving,
    SnapshotSource,
    SnapshotWriting,
)

__all__ = [
    "DataDirectory",
    "DurableStorage",
    "File",
    "FileSystem",
    "Identity",
    "Lock",
    "RealFileSystem",
    "Run",
    "SnapshotReading",
    "SnapshotReceiving",
    "SnapshotSource",
    "SnapshotWriting",
    "StorageLimits",
    "run_here",
]
