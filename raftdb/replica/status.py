"""A picture of one Replica for people, metrics and the layers above."""

from __future__ import annotations

import msgspec

from raftdb.raft.ready import Status


class ReplicaStatus(msgspec.Struct, frozen=True):
    """How one node stands at one instant.

    :param raft: the core's own picture
    :param applied: the index at which the state machine stands
    :param snapshot_index: of the newest durable snapshot, 0 for none
    :param log_bytes: of the entries kept in the log
    :param proposals_waiting: of this node's clients
    :param reads_waiting: linearizable ones, of this node's clients
    :param leader_contact_age_s: see :attr:`raftdb.replica.Replica.leader_contact_age_s`
    :param stall_max_s: the longest that the event loop did not get round to a due tick
    :param save_overdue: whether the disk keeps a save for longer than an election timeout
    """

    raft: Status
    applied: int
    snapshot_index: int
    log_bytes: int
    proposals_waiting: int
    reads_waiting: int
    leader_contact_age_s: float | None
    stall_max_s: float
    save_overdue: bool
