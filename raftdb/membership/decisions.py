"""What the leader does about a request, as pure functions over what it knows.

Nothing here waits or sends. The guards against changes that would endanger the quorum stand here;
those of the algorithm itself (one change at a time, own-term commit first) are the core's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from raftdb.errors import ConfChangeError, InvalidRequest, JoinRefused, MembershipBusy
from raftdb.membership.directory import JoinRequest
from raftdb.membership.seams import Table
from raftdb.membership.wire import hex128
from raftdb.raft.ready import Status
from raftdb.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, ConfState, MemberID
from raftdb.state.members import Member, UpdateMember, encode_context

MEMBERS_MAX = 64
"""Learners included; each costs every other one two connections and the leader a log reader."""

InContact: TypeAlias = Callable[[MemberID], bool]
"""Whether the leader has heard a member lately; who is to be pushed out has the benefit of the doubt."""


def decide_join(
    table: Table, request: JoinRequest, *, protocol_versions: tuple[int, int], in_contact: InContact
) -> ConfChange | UpdateMember | None:
    """Say what taking ``request.member`` in needs: a change, new addresses, or nothing.

    A newcomer learns before it votes, so an unreachable one costs the quorum nothing. A wiped disk
    is a new incarnation and replaces the old one in one joint change, but not while the old one is
    in contact: a second node started under a name that is taken must not push the first one out.

    :param protocol_versions: what this node speaks, as (lowest, highest)
    :raises JoinRefused: it can never be taken in as it is
    :raises MembershipBusy: not while the node's old incarnation is in contact, which may end
    :raises ConfChangeError: there are too many members
    """
    record = Member(
        request.member,
        request.raft_address,
        request.http_address,
        *request.protocol_versions,
        request.feature_level,
    )
    _check_admissible(table, request, protocol_versions)
    _check_addresses_free(table, record)
    present = table.get(record.id)
    if present is not None:
        return None if present == record else UpdateMember.of(record)
    others = [member for member in table.conf_state.members if member.id == record.id.id]
    for other in others:
        if in_contact(other):
            raise MembershipBusy(
                f"another node is running as {other.id} (incarnation {hex128(other.incarnation)}):"
                " stop it first, or use another --id"
            )
    if not others and len(table.conf_state.members) >= MEMBERS_MAX:
        raise ConfChangeError(
            f"the cluster has {MEMBERS_MAX} members already: remove those that never came first"
        )
    removals = tuple(ConfChangeSingle(ConfChangeKind.REMOVE, other) for other in others)
    addition = ConfChangeSingle(ConfChangeKind.ADD_LEARNER, record.id)
    return ConfChange(changes=(addition, *removals), context=encode_context((record,)))


def _check_admissible(
    table: Table, request: JoinRequest, protocol_versions: tuple[int, int]
) -> None:
    if request.cluster_id is not None and request.cluster_id != table.cluster_id:
        raise JoinRefused(
            f"this is cluster {hex128(table.cluster_id)}; the node's data directory belongs to"
            f" cluster {hex128(request.cluster_id)}: correct --join, or use an empty directory"
        )
    if table.is_removed(request.member):
        raise JoinRefused(
            f"{request.member.id} was removed from the cluster with all its data: to take it in"
            " again, start it with --join on an empty directory"
        )
    lowest, highest = request.protocol_versions
    if highest < protocol_versions[0] or lowest > protocol_versions[1]:
        raise JoinRefused(
            f"the node speaks peer protocol {lowest} to {highest}, this one {protocol_versions[0]}"
            f" to {protocol_versions[1]}: install a version in between first"
        )
    if request.feature_level < table.feature_level:
        raise JoinRefused(
            f"the cluster uses feature level {table.feature_level}, the node supports"
            f" {request.feature_level} at most: install a newer version on it"
        )


def _check_addresses_free(table: Table, record: Member) -> None:
    """Refuse an address that is another member's: messages would reach the wrong node."""
    for member in table.members:
        if member.id.id == record.id.id:
            continue
        if record.raft_address == member.raft_address:
            raise JoinRefused(
                f"{record.raft_address} is the peer address of {member.id.id} already"
            )
        if record.http_address == member.http_address:
            raise JoinRefused(
                f"{record.http_address} is the HTTP address of {member.id.id} already"
            )


def decide_removal(
    table: Table, name: str, *, answers: InContact, in_contact: InContact
) -> ConfChange:
    """Say how ``name`` is removed, if those that stay are still a quorum in contact.

    :param answers: whether this leader has heard a member lately; silence is no contact
    :param in_contact: the same, but nobody's silence is held against it by a new leader
    :raises InvalidRequest: there is no such member
    :raises MembershipBusy: the leader cannot tell yet whether the others could go on without it
    :raises ConfChangeError: they could not
    """
    doomed = tuple(member for member in table.conf_state.members if member.id == name)
    if not doomed:
        names = ", ".join(sorted({member.id for member in table.conf_state.members}))
        raise InvalidRequest(f"{name!r} is no member; the members are {names}")
    stay = [member for member in table.conf_state.voters if member not in doomed]
    in_touch = sum(1 for member in stay if answers(member))
    if 2 * in_touch <= len(stay):
        if 2 * sum(1 for member in stay if in_contact(member)) > len(stay):
            raise MembershipBusy(
                f"without {name} there would be {len(stay)} voters, of which {in_touch} have answered"
                " this leader lately and have room on their disks; try again"
            )
        raise ConfChangeError(
            f"without {name} there would be {len(stay)} voters, of which {in_touch} are in contact:"
            " that is no majority, and the cluster would stand still"
        )
    return ConfChange(
        changes=tuple(ConfChangeSingle(ConfChangeKind.REMOVE, member) for member in doomed)
    )


def next_promotion(
    conf_state: ConfState, status: Status, *, commit_before: int, answers: InContact
) -> ConfChange | None:
    """Return the change that makes the first caught-up learner a voter, or None for nobody.

    Caught up is who holds everything that was committed at the last check: no older than that, the
    rest arrives while the change is being agreed on.

    :param commit_before: the commit index at the last check
    :param answers: whether this leader has heard a member lately
    """
    if conf_state.is_joint:
        return None
    for learner in conf_state.learners:
        peer = status.peers.get(learner)
        if peer is not None and peer.match >= commit_before and answers(learner):
            return ConfChange(changes=(ConfChangeSingle(ConfChangeKind.ADD_VOTER, learner),))
    return None


def next_feature_level(table: Table) -> int | None:
    """Return the feature level that all members support, if that is above the present one [R25]."""
    records = [table.get(member) for member in table.conf_state.members]
    # A member without a record supports nothing that we know of.
    supported = min((record.feature_max if record else 0 for record in records), default=0)
    return supported if supported > table.feature_level else None


def voter_named(table: Table, name: str) -> MemberID:
    """Return the voter of that name.

    :raises MembershipBusy: it is still learning, and votes when it has caught up
    :raises InvalidRequest: there is none
    """
    for member in table.conf_state.voters:
        if member.id == name:
            return member
    if any(member.id == name for member in table.conf_state.learners):
        raise MembershipBusy(f"{name} has not caught up yet; it can lead when it votes")
    names = ", ".join(member.id for member in table.conf_state.voters)
    raise InvalidRequest(f"{name!r} is no voter and cannot lead; the voters are {names}")
