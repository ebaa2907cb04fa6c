"""What on the disk proves that more was acknowledged than the log holds; then a start is refused.

The log's own checksums find whatever is damaged or missing *between* two of its batches. They cannot
find that its end is missing: a log without its last segment is a whole log of earlier. Other files
remember more of it [R26]:

- The *mark*, an empty file whose name is the number of the last segment that was begun.
- A snapshot of this node's own state: what it holds was in the log when it was taken, and committed,
  so that it was never taken back.
- The hard state: what is committed was in the log, and the log is of no later term than the node's.

A snapshot *received* from a peer proves nothing until a batch of the log has installed it; until then
it has another name (:mod:`raftdb.storage.snapshots`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from raftdb.errors import Corrupt
from raftdb.raft.types import SnapshotMetadata
from raftdb.storage.recovery import ReadLog
from raftdb.storage.segment import ADVICE, mark_name, segment_name


def check_complete(
    log: ReadLog, log_directory: str, own: Iterable[SnapshotMetadata], snapshot_directory: str
) -> None:
    """Hold against the log what else is on the disk.

    :param own: the snapshots of this node's own state
    :raises Corrupt: where the log ends too early
    """
    last_path = os.path.join(log_directory, segment_name(log.header.number))
    if log.mark > log.header.number:
        raise Corrupt(
            os.path.join(log_directory, segment_name(log.mark)),
            0,
            f"this segment of the log is missing: it was begun, says {mark_name(log.mark)}, and the"
            f" log ends with segment {log.header.number}; {ADVICE}",
        )
    replay = log.replay
    for snapshot in own:
        if snapshot.last.index >= replay.base.index and not replay.contains(snapshot.last):
            raise Corrupt(
                last_path,
                log.end.offset,
                f"the end of the log is missing: it ends after {replay.last}, and a snapshot of this"
                f" node's state at {snapshot.last} is in {snapshot_directory}; {ADVICE}",
            )
    state = replay.hard_state
    if state.commit > replay.last.index or state.term < replay.last.term:
        raise Corrupt(
            last_path,
            log.end.offset,
            f"the log does not fit the node's state: it ends after {replay.last}, and the node knows"
            f" of term {state.term} and of commits up to {state.commit}; {ADVICE}",
        )
