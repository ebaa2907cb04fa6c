"""Configuration changes as pure functions: the configuration before, a change, the one after.

Every function returns a checked :class:`~raftdb.raft.types.ConfState` or raises
:class:`~raftdb.errors.ConfChangeError` and has changed nothing. When a change may be proposed, and
when it takes effect, is the leader's question, not asked here (Thesis 4.1 to 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec

from raftdb.errors import ConfChangeError
from raftdb.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    MemberID,
    MemberIDs,
    Transition,
)


def apply(before: ConfState, change: ConfChange) -> ConfState:
    """Return the configuration after ``change``, by the way its transition asks for.

    AUTO takes a single step where at most one voter changes: then any quorum before and any quorum
    after share a member (Thesis 4.1). Otherwise it goes through a joint configuration, which the
    leader leaves by itself.
    """
    if change.leaves_joint:
        return leave_joint(before)
    match change.transition:
        case Transition.AUTO if _single_step(before, change.changes):
            return simple(before, change.changes)
        case Transition.AUTO | Transition.JOINT_IMPLICIT:
            return enter_joint(before, change.changes, auto_leave=True)
        case Transition.JOINT_EXPLICIT:
            return enter_joint(before, change.changes, auto_leave=False)
        case _:
            assert_never(change.transition)


def simple(before: ConfState, changes: Sequence[ConfChangeSingle]) -> ConfState:
    """Return the configuration one step later (Thesis 4.1); at most one voter may differ.

    :raises ConfChangeError: from a joint configuration, for more than one voter, or where the
        result makes no sense
    """
    if before.is_joint:
        raise ConfChangeError("a joint configuration is in force; it must be left first")
    after = _changed(before, changes)
    if _voters_changed(before, after) > 1:
        raise ConfChangeError("more than one voter changes: that needs a joint configuration")
    return check(after)


def enter_joint(
    before: ConfState, changes: Sequence[ConfChangeSingle], *, auto_leave: bool
) -> ConfState:
    """Return the joint configuration C(old,new) (Thesis 4.3).

    :raises ConfChangeError: if it is joint already, has no voters, or the result makes no sense
    """
    if before.is_joint:
        raise ConfChangeError("a joint configuration is in force; it must be left first")
    if not before.voters:
        raise ConfChangeError("a configuration without voters cannot become joint")
    outgoing = msgspec.structs.replace(before, voters_outgoing=before.voters, auto_leave=auto_leave)
    return check(_changed(outgoing, changes))


def leave_joint(before: ConfState) -> ConfState:
    """Return C(new): the incoming majority decides alone, the staged learners become learners.

    :raises ConfChangeError: if it is not joint
    """
    if not before.is_joint:
        raise ConfChangeError("no joint configuration is in force that could be left")
    return check(
        ConfState(
            voters=before.voters,
            learners=tuple(sorted((*before.learners, *before.learners_next))),
        )
    )


def check(conf_state: ConfState) -> ConfState:
    """Return ``conf_state`` if it makes sense; also for one that comes from a snapshot.

    The empty configuration does: it is where a node begins that was never told of any.

    :raises ConfChangeError: naming what is wrong
    """
    _check_order(conf_state)
    _check_disjoint(conf_state)
    _check_incarnations(conf_state)
    if conf_state.auto_leave and not conf_state.is_joint:
        raise ConfChangeError("auto_leave belongs to a joint configuration")
    if not conf_state.voters and conf_state != ConfState():
        raise ConfChangeError("no voter would be left")
    return conf_state


def _changed(before: ConfState, changes: Sequence[ConfChangeSingle]) -> ConfState:
    """Carry out ``changes`` on the incoming half, unchecked; the outgoing half stays."""
    named = [change.member for change in changes]
    if len({*named}) < len(named):
        raise ConfChangeError("a change names one member twice")
    _check_replacements(before, changes)
    voters, learners = {*before.voters}, {*before.learners}
    staged = {*before.learners_next}
    for kind, member in changes:
        match kind:
            case ConfChangeKind.ADD_VOTER:
                _drop(member, learners, staged)
                voters.add(member)
            case ConfChangeKind.ADD_LEARNER:
                _drop(member, voters, learners, staged)
                # Who still votes in the outgoing half must not be a learner at the same time; it
                # becomes one when that half is left.
                (staged if member in before.voters_outgoing else learners).add(member)
            case ConfChangeKind.REMOVE:
                _drop(member, voters, learners, staged)
            case _:
                assert_never(kind)
    if not voters:
        raise ConfChangeError("no voter would be left")
    return msgspec.structs.replace(
        before,
        voters=tuple(sorted(voters)),
        learners=tuple(sorted(learners)),
        learners_next=tuple(sorted(staged)),
    )


def _drop(member: MemberID, *groups: set[MemberID]) -> None:
    for group in groups:
        group.discard(member)


def _check_replacements(before: ConfState, changes: Sequence[ConfChangeSingle]) -> None:
    """Refuse a new incarnation that would vote at once: it must catch up as a learner first [R1].

    1. a#1, b and c have an entry committed by a#1 and b. 2. The disk of a is wiped. 3. If one
    change made the empty a#2 a voter for a#1, a#2 and c would be a majority without the entry.
    """
    known = {member.id for member in before.members}
    for kind, member in changes:
        if kind is ConfChangeKind.ADD_VOTER and member.id in known and member not in before.members:
            raise ConfChangeError(f"{member} replaces an incarnation: it must begin as a learner")


def _single_step(before: ConfState, changes: Sequence[ConfChangeSingle]) -> bool:
    return _voters_changed(before, _changed(before, changes)) <= 1


def _voters_changed(before: ConfState, after: ConfState) -> int:
    return len({*before.voters} ^ {*after.voters})


def _check_order(conf_state: ConfState) -> None:
    for group in (
        conf_state.voters,
        conf_state.voters_outgoing,
        conf_state.learners,
        conf_state.learners_next,
    ):
        if group != tuple(sorted({*group})):
            raise ConfChangeError(f"members must be sorted and named once: {_names(group)}")


def _check_disjoint(conf_state: ConfState) -> None:
    """Check that nobody both votes and learns, except staged: outgoing voters, soon learners."""
    voting = {*conf_state.voters, *conf_state.voters_outgoing}
    for member in conf_state.learners:
        if member in voting:
            raise ConfChangeError(f"{member} would be voter and learner at once")
    for member in conf_state.learners_next:
        if member not in conf_state.voters_outgoing:
            raise ConfChangeError(f"{member} is staged as a learner but does not vote any more")
        if member in conf_state.voters:
            raise ConfChangeError(f"{member} is staged as a learner but votes in the new majority")


def _check_incarnations(conf_state: ConfState) -> None:
    """Check that the configuration to come has at most one incarnation of an id.

    The outgoing half may hold the one that is being replaced: two incarnations never count for
    each other, and the old one is gone when the joint configuration is left.
    """
    coming = (*conf_state.voters, *conf_state.learners, *conf_state.learners_next)
    ids = [member.id for member in coming]
    for member in coming:
        if ids.count(member.id) > 1:
            raise ConfChangeError(f"two incarnations of {member.id} would be members")


def _names(members: MemberIDs) -> str:
    return " ".join(map(str, members))
