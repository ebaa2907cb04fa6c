"""The cluster's side of membership: taking in, inviting, removing, handing leadership over.

What is decided stands in :mod:`raftdb.membership.decisions`, what happens unasked in
:mod:`raftdb.duties.autopilot`.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from raftdb.membership.decisions import decide_join, decide_removal, voter_named
from raftdb.membership.directory import JoinAnswer, JoinRequest, KnownMember
from raftdb.membership.proposer import Proposer
from raftdb.membership.status import MemberStatus, member_status
from raftdb.raft.types import ConfChange
from raftdb.state.members import Invite, Uninvite, UpdateMember


class Membership:
    """What may be asked about the members; only the leader does it, the others say who leads.

    :param agreement: what is known, and the way to change it
    :param require_leader: returns, or raises where clients have to go instead
    """

    _log = Logger()

    def __init__(self, agreement: Proposer, require_leader: Callable[[], None]) -> None:
        self._proposer = agreement
        self._require_leader = require_leader

    def add(self, request: JoinRequest) -> Deferred[JoinAnswer]:
        """Take a node in as a learner; a present member keeps its place and may bring addresses.

        :raises JoinRefused: it can never be taken in as it is
        :raises MembershipBusy: not now: another change is under way, or its name is in use
        :raises ConfChangeError: there are too many members
        """
        return Deferred.fromCoroutine(self._add(request))

    async def _add(self, request: JoinRequest) -> JoinAnswer:
        self._require_leader()
        self._proposer.sample()
        decision = decide_join(
            self._proposer.table,
            request,
            protocol_versions=self._proposer.options.protocol_versions,
            in_contact=self._proposer.in_contact,
        )
        match decision:
            case ConfChange():
                self._log.info(
                    "{member} at {raft} {http} is taken in as a learner",
                    member=request.member,
                    raft=request.raft_address,
                    http=request.http_address,
                )
                await self._proposer.change(decision)
            case UpdateMember():
                await self._proposer.command(decision)
            case None:
                pass
        table = self._proposer.table
        known = (KnownMember(one.id, one.raft_address, one.http_address) for one in table.members)
        return JoinAnswer(table.cluster_id, tuple(known))

    def invite(self, member_id: str, raft_address: str, http_address: str) -> Deferred[None]:
        """Expect a node whose incarnation its first Hello tells; nothing for a present member."""
        return Deferred.fromCoroutine(self._invite(member_id, raft_address, http_address))

    async def _invite(self, name: str, raft_address: str, http_address: str) -> None:
        self._require_leader()
        if self._proposer.table.by_id(name) is None:
            await self._proposer.command(Invite(name, raft_address, http_address))

    def remove(self, member_id: str) -> Deferred[None]:
        """Remove a member, or take an invitation back; fires when the removed node may be destroyed.

        :raises InvalidRequest: there is no such member
        :raises MembershipBusy: not now: another change is under way
        :raises ConfChangeError: the others could not go on without it
        """
        return Deferred.fromCoroutine(self._remove(member_id))

    async def _remove(self, name: str) -> None:
        self._require_leader()
        self._proposer.sample()
        table = self._proposer.table
        if table.by_id(name) is None and table.invitation(name) is not None:
            await self._proposer.command(Uninvite(name))
            return
        change = decide_removal(
            table, name, answers=self._proposer.answers, in_contact=self._proposer.in_contact
        )
        self._log.info("{member} is being removed", member=name)
        await self._proposer.change(change)
        await self._proposer.settle()

    def transfer(self, to: str) -> Deferred[None]:
        """Hand leadership over to the voter named ``to``; fires when it leads.

        :raises MembershipBusy: it does not vote yet
        :raises InvalidRequest: it is no voter
        """
        return Deferred.fromCoroutine(self._transfer(to))

    async def _transfer(self, to: str) -> None:
        self._require_leader()
        successor = voter_named(self._proposer.table, to)
        if successor != self._proposer.own.id:
            timeout_s = self._proposer.options.timeout_s
            await self._proposer.group.transfer_leadership(successor, timeout_s)

    def members(self) -> list[MemberStatus]:
        """Return everybody and how they fare, as far as this node can tell."""
        status = self._proposer.sample()
        return member_status(self._proposer.table, status, self._proposer.contact_age_s)
