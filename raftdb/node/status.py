"""How a node describes itself in ``/api/status``, and when it should not be given work."""

from __future__ import annotations

import platform

import msgspec

import twisted
from raftdb import __version__
from raftdb.database import Database
from raftdb.membership import Membership, hex128
from raftdb.membership.status import MemberStatus
from raftdb.raft.types import Role
from raftdb.replica import Replica
from raftdb.state import ReplicatedState

BEHIND_ENTRIES_MAX = 1_000
"""A node that has applied less than this much short of what it knows to be committed is ready."""


class Versions(msgspec.Struct, frozen=True):
    """What runs here."""

    raftdb: str
    python: str
    twisted: str
    feature_level: int


class NodeStatus(msgspec.Struct, frozen=True):
    """One node as it sees itself.

    :param id: as given by ``--id``
    :param incarnation: of its data directory, 32 hexadecimal digits
    :param cluster_id: 32 hexadecimal digits
    :param role: ``follower``, ``pre-candidate``, ``candidate`` or ``leader``
    :param leader: the leader's id, or None
    :param state_hash: of everything replicated at ``applied_index``; equal on all nodes there
    :param agreed_index: the newest index at which a leader's state was found to be the same as this
        node's, 0 for none since its start
    :param difference: how this node's state differs from another's, None if it was not found to;
        an alarm
    :param snapshot_index: of the newest durable snapshot, 0 for none
    :param log_bytes: of the entries kept
    :param event_loop_stall_max_s: the longest that the event loop was late for a tick, or that a
        collection of garbage held everything up
    :param save_overdue: whether the disk keeps a write for longer than an election timeout
    """

    id: str
    incarnation: str
    cluster_id: str
    role: str
    term: int
    leader: str | None
    leader_http_address: str
    leader_contact_age_s: float | None
    commit_index: int
    applied_index: int
    first_index: int
    last_index: int
    snapshot_index: int
    log_bytes: int
    revision: int
    state_hash: str
    agreed_index: int
    difference: str | None
    members: list[MemberStatus]
    writes_waiting: int
    reads_waiting: int
    event_loop_stall_max_s: float
    save_overdue: bool
    versions: Versions


def node_status(
    replica: Replica,
    machine: ReplicatedState,
    database: Database,
    membership: Membership,
    *,
    pause_max_s: float = 0.0,
) -> NodeStatus:
    """Picture a node at this instant.

    :param pause_max_s: the longest collection of garbage so far
    """
    status = replica.status()
    position = database.position()
    age_s = position.leader_contact_age_s
    return NodeStatus(
        id=status.raft.id.id,
        incarnation=hex128(status.raft.id.incarnation),
        cluster_id=hex128(machine.members.cluster_id),
        role=status.raft.role.value,
        term=position.term,
        leader=position.leader_id,
        leader_http_address=database.leader_http_address,
        leader_contact_age_s=None if age_s is None else round(age_s, 3),
        commit_index=status.raft.hard_state.commit,
        applied_index=position.applied_index,
        first_index=status.raft.first_index,
        last_index=status.raft.last.index,
        snapshot_index=status.snapshot_index,
        log_bytes=status.log_bytes,
        revision=database.revision,
        state_hash=hex128(database.state_hash),
        agreed_index=machine.hash_check.agreed_index,
        difference=_difference(machine),
        members=membership.members(),
        writes_waiting=status.proposals_waiting,
        reads_waiting=status.reads_waiting,
        event_loop_stall_max_s=round(max(status.stall_max_s, pause_max_s), 4),
        save_overdue=status.save_overdue,
        versions=Versions(
            raftdb=__version__,
            python=platform.python_version(),
            twisted=twisted.__version__,
            feature_level=machine.members.feature_level,
        ),
    )


def _difference(machine: ReplicatedState) -> str | None:
    found = machine.hash_check.difference
    if found is None:
        return None
    return (
        f"at index {found.index} the state hashes to {hex128(found.ours)}, but that of"
        f" {found.witness} to {hex128(found.theirs)}"
    )


def unready(replica: Replica, machine: ReplicatedState, patience_s: float) -> str | None:
    """Say why a node should not be given work, None where it should.

    :param patience_s: since the leader was heard
    """
    status = replica.status()
    if not replica.serves:
        return "the node is loading its state"
    if replica.id not in machine.members.conf_state.members:
        return "the node is not a member of the cluster yet"
    if replica.leader is None:
        return "no leader is known"
    age_s = status.leader_contact_age_s
    if replica.role is not Role.LEADER and (age_s is None or age_s > patience_s):
        return f"the leader {replica.leader.id} was not heard from lately"
    if replica.short_of_room is not None:
        return replica.short_of_room
    behind = status.raft.hard_state.commit - replica.applied
    if behind > BEHIND_ENTRIES_MAX:
        return f"the node has {behind} committed entries still to apply"
    return None
