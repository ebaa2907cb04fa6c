"""One node of a group that agrees with everything at once, on a real member table."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from raftdb.duties.autopilot import Autopilot
from raftdb.errors import JoinRefused, MembershipBusy, NoLeader, NotLeader, ProposalDropped
from raftdb.membership import JoinAnswer, JoinRequest, Membership, Proposer, ProposerOptions
from raftdb.raft import confchange
from raftdb.raft.ready import PeerStatus, Status
from raftdb.raft.types import ZERO, ConfChange, HardState, MemberID, Role
from raftdb.state.members import (
    InitCluster,
    Member,
    MembersCommand,
    MemberTable,
    UpdateMember,
    encode_context,
)
from raftdb.state.members.commands import COMMANDS as MEMBERS_COMMANDS
from raftdb.state.part import Context

CLUSTER_ID = 77


class Picture(NamedTuple):
    """A status with the core's own inside."""

    raft: Status


class ImmediateGroup:
    """Commits and applies at once what this node proposes as its leader."""

    def __init__(self, me: MemberID) -> None:
        self.me = me
        self.table = MemberTable()
        self.role = Role.LEADER
        self.leader: MemberID | None = me
        self.term = 1
        self.commit = 0
        self.active: dict[MemberID, bool] = {}
        self.full: dict[MemberID, bool] = {}
        self.match: dict[MemberID, int] = {}
        self.transferred: list[MemberID | None] = []
        self.stuck = False
        self.slow = False
        self.mute = False
        self.refuses = False
        self.stays_joint = False
        self.last = ZERO
        self.pending: list[Deferred[object]] = []
        self.refused = 0

    def status(self) -> Picture:
        peers = {
            member: PeerStatus(
                state="replicate",
                match=self.match.get(member, self.commit),
                next=self.commit + 1,
                recent_active=self.active.get(member, True),
                full=self.full.get(member, False),
            )
            for member in self.table.conf_state.members
        }
        return Picture(
            Status(
                id=self.me,
                role=self.role,
                leader=self.leader,
                hard_state=HardState(term=self.term, commit=self.commit),
                conf_state=self.table.conf_state,
                applied=self.commit,
                first_index=1,
                last=self.last,
                peers=peers if self.role is Role.LEADER else {},
                round=0,
                round_acknowledged=0,
                transferee=None,
            )
        )

    def propose(self, envelope: bytes, timeout_s: float) -> Deferred[object]:
        del timeout_s
        if self.refuses:
            return fail(ProposalDropped("the disk hangs"))
        if self.mute:
            self.pending.append(Deferred())
            return self.pending[-1]
        self.commit += 1
        refusal, _ = self.table.apply(Context(1, 0), MEMBERS_COMMANDS.decode(envelope))
        return succeed(None) if refusal is None else fail(refusal)

    def propose_conf_change(self, change: ConfChange, timeout_s: float) -> Deferred[object]:
        del timeout_s
        if self.slow:
            self.pending.append(Deferred())
            return self.pending[-1]
        if self.stuck or self.table.conf_state.is_joint:
            self.refused += 1
            return fail(MembershipBusy("another change is under way"))
        self.commit += 1
        after = confchange.apply(self.table.conf_state, change)
        if self.stays_joint:
            joint = confchange.enter_joint(self.table.conf_state, change.changes, auto_leave=True)
            self.table.apply_conf_change(change.context, joint)
            return succeed(joint)
        if after.is_joint:
            after = confchange.leave_joint(after)
        self.table.apply_conf_change(change.context, after)
        return succeed(after)

    def leave_joint(self) -> None:
        """Leave the joint configuration, as the core does by itself."""
        self.table.apply_conf_change(b"", confchange.leave_joint(self.table.conf_state))

    def transfer_leadership(self, to: MemberID | None, timeout_s: float) -> Deferred[None]:
        del timeout_s
        self.transferred.append(to)
        return succeed(None)


class RecordingDirectory:
    """Remembers what was asked of whom."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, JoinRequest]] = []

    def join(self, http_address: str, request: JoinRequest) -> Deferred[JoinAnswer]:
        self.asked.append((http_address, request))
        return fail(JoinRefused("not now"))


def record(name: str, incarnation: int, host: str = "") -> Member:
    host = host or name
    return Member(MemberID(name, incarnation), f"{host}:8089", f"{host}:8091")


def request_of(member: Member, cluster_id: int | None = None) -> JoinRequest:
    return JoinRequest(
        member=member.id,
        raft_address=member.raft_address,
        http_address=member.http_address,
        cluster_id=cluster_id,
    )


class Fixture:
    """A node with its membership, its caretaker and a clock to be advanced."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.group = ImmediateGroup(MemberID("node01", 1))
        self.directory = RecordingDirectory()
        self.removed: list[bool] = []
        self.own = record("node01", 1)
        self.agreement = Proposer(
            self.clock,
            self.group,
            lambda: self.group.table,
            own=self.own,
            envelope=self.envelope,
            options=ProposerOptions(),
        )
        self.membership = Membership(self.agreement, self.require_leader)
        self.autopilot = Autopilot(
            self.clock,
            self.agreement,
            self.membership,
            self.directory,
            on_removed=lambda: self.removed.append(True),
        )
        self.group.table.apply(Context(1, 0), InitCluster.of(CLUSTER_ID))
        self.voter(self.own)
        self.autopilot.start()

    def envelope(self, command: MembersCommand) -> bytes:
        return MEMBERS_COMMANDS.encode(command)

    def require_leader(self) -> None:
        if self.group.role is Role.LEADER:
            return
        if self.group.leader is None:
            raise NoLeader
        raise NotLeader(self.group.leader.id, "somewhere:8091")

    def voter(self, member: Member) -> None:
        """Make ``member`` a voter, as if it had been one for ever."""
        before = self.group.table.conf_state
        voters = tuple(sorted((*before.voters, member.id)))
        after = msgspec.structs.replace(before, voters=voters)
        self.group.table.apply_conf_change(encode_context((member,)), after)

    record = staticmethod(record)
    request_of = staticmethod(request_of)

    def context_of(self, member: Member) -> bytes:
        """Return a configuration change's context with this record."""
        return encode_context((member,))

    def own_supports(self, level: int) -> None:
        """Let this node support a higher feature level."""
        own = msgspec.structs.replace(self.own, feature_max=level)
        self.agreement.own = self.autopilot._reported_addresses._own = own
        self.group.table.apply(Context(1, 0), UpdateMember.of(own))

    def follow(self, leader: Member) -> None:
        """Let somebody else lead."""
        self.group.role = Role.FOLLOWER
        self.group.leader = leader.id

    def wait(self, seconds: float) -> None:
        """Let time pass, check by check."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)


@pytest.fixture(name="node")
def node_fixture() -> Fixture:
    """Return the leader of a cluster of one."""
    return Fixture()
