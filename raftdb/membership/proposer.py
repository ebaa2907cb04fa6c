"""What this node knows of the members, and the one way to change it: by agreement of the group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from raftdb.errors import LeadershipLost, NoLeader, Refused
from raftdb.membership.liveness import MemberLiveness
from raftdb.membership.seams import Envelope, Group, Table
from raftdb.raft.ready import Status
from raftdb.raft.types import ConfChange, MemberID, Role
from raftdb.state.members import Member, MembersCommand, UpdateMember


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposerOptions:
    """How membership behaves in time.

    :param check_s: between two checks, at most a heartbeat
    :param patience_s: a member not heard of for this long is out of contact; two election timeouts
    :param timeout_s: of one proposal
    :param protocol_versions: the peer protocols this node speaks, as (lowest, highest)
    """

    check_s: float = 0.1
    patience_s: float = 0.8
    timeout_s: float = 5.0
    protocol_versions: tuple[int, int] = (1, 1)


class Proposer:
    """The group, the table it agrees on, and who of it is in contact.

    :param clock: for the contacts' ages
    :param group: what proposals go through
    :param table: returns the present table; it is replaced when a snapshot is installed
    :param own: this node's record as it should be
    :param envelope: makes commands entries
    :param options: times
    """

    def __init__(
        self,
        clock: IReactorTime,
        group: Group,
        table: Callable[[], Table],
        *,
        own: Member,
        envelope: Envelope,
        options: ProposerOptions,
    ) -> None:
        self.group = group
        self.own = own
        self.options = options
        self._clock = clock
        self._table = table
        self._envelope = envelope
        self._contacts = MemberLiveness(options.patience_s)

    @property
    def table(self) -> Table:
        """The member table as this node has applied it."""
        return self._table()

    def sample(self) -> Status:
        """Take note of who is active now, and return the picture that shows it."""
        status = self.group.status().raft
        self._contacts.sample(status, self._clock.seconds())
        return status

    def in_contact(self, member: MemberID) -> bool:
        """Whether the leader heard ``member`` lately, or has not led for long enough to tell."""
        return self._contacts.in_contact(member, self._clock.seconds())

    def answers(self, member: MemberID) -> bool:
        """Whether ``member`` has answered this leader lately; without an answer it has not."""
        return self._contacts.answers(member, self._clock.seconds())

    def contact_age_s(self, member: MemberID) -> float | None:
        """How long ago the leader heard ``member``; None where this node cannot tell."""
        return self._contacts.age_s(member, self._clock.seconds())

    def change(self, change: ConfChange) -> Deferred[object]:
        """Propose a change of the configuration."""
        return self.group.propose_conf_change(change, self.options.timeout_s)

    def command(self, command: MembersCommand) -> Deferred[object]:
        """Propose a command of the member table."""
        return self.group.propose(self._envelope(command), self.options.timeout_s)

    async def settle(self) -> None:
        """Wait until the removal just applied cannot be forgotten by those that stay.

        1. A, B, C and D; A leads and removes D; A, B and C have the entry, but A alone knows that it
        is committed, and says so. 2. The operator destroys D, and A's machine dies. 3. B and C are a
        majority of {A,B,C}; but {A,B,C,D} is in force on both, and there they are none, for ever.
        Whoever has an entry that was proposed later has heard that the removal is committed.

        :raises LeadershipLost: nobody can tell; the removal stands
        """
        ends_s = self._clock.seconds() + self.options.timeout_s
        needed = self.group.status().raft.last.index + 1
        while self.table.conf_state.is_joint or self.table.is_removed(self.own.id):
            raft = self.group.status().raft
            if raft.role is not Role.LEADER or self._clock.seconds() >= ends_s:
                break
            # A removed leader goes when its last entry, which is behind the removal, is committed.
            needed = raft.last.index + self.table.conf_state.is_joint
            await deferLater(self._clock, self.options.check_s / 4)
        raft = self.group.status().raft
        try:
            if raft.role is Role.LEADER and not self.table.is_removed(self.own.id):
                await self.command(UpdateMember.of(self.own))
            elif raft.hard_state.commit < needed:
                raise NoLeader("this node does not lead any more")
        except Refused as error:
            # The removal was not refused, only what was to follow it.
            raise LeadershipLost(
                "the removal is in force, but nobody can say yet whether the others know: wait until"
                f" they have a leader before the removed node is destroyed ({error})"
            ) from error
