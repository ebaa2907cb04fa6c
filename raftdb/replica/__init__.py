"""One Raft core, driven: turns of the reactor, ticks, waiters, reads and snapshots."""

from raftdb.replica.options import ReplicaOptions
from raftdb.replica.replica import Replica
from raftdb.replica.status import ReplicaStatus

__all__ = ["Replica", "ReplicaOptions", "ReplicaStatus"]
