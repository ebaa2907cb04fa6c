"""A simulated node as production connects it: Hello, AMP boxes and membership over simulated cables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from twisted.internet.defer import Deferred

from raftdb.duties.autopilot import Autopilot
from raftdb.membership import (
    Joiner,
    JoinRequest,
    KnownMember,
    Membership,
    Proposer,
    ProposerOptions,
)
from raftdb.node.peer_setup import check_names
from raftdb.node.peer_watch import PeerWatch, announced, sighting
from raftdb.peer.handshake import HelloFacts, LocalMember, Refusal
from raftdb.peer.limits import PeerLimits
from raftdb.peer.transport import PeerTransport
from raftdb.raft.config import Config
from raftdb.raft.messages import Message
from raftdb.raft.ready import Status
from raftdb.raft.types import ConfChange, ConfChangeKind, MemberID
from raftdb.replica import Replica
from raftdb.replica.seams import Transport
from raftdb.simulation.clock import NodeClock, UnwatchedClock
from raftdb.simulation.nodes.directory import SimulatedDirectory
from raftdb.simulation.nodes.node import Machinery, SimulatedNode
from raftdb.simulation.nodes.surroundings import StreamSurroundings
from raftdb.state import encode_entry
from raftdb.state.members import Member, MembersCommand, MemberTable
from raftdb.storage import DurableStorage

CHUNK_BYTES = 512
"""Of a snapshot in one box, so that small snapshots stream, too."""

LOOK_S = 0.02
"""Between two looks whether a restarted node has loaded its state."""


class WiredNode(SimulatedNode):
    """A node with a peer transport and a membership of its own.

    :param cluster: where it lives
    :param member: who it is
    :param machinery: its disk
    :param known: the members it was told when it was taken in
    :param join: HTTP addresses given as ``--join``, at this and every later start
    """

    def __init__(
        self,
        cluster: StreamSurroundings,
        member: MemberID,
        host: Machinery,
        *,
        known: Sequence[KnownMember] = (),
        join: Sequence[str] = (),
    ) -> None:
        super().__init__(cluster, member, host)
        self.wired = cluster
        self.port = 1
        """Of its peer address: another one after each move."""
        self.duplicates = 0
        """Hellos refused because another process with that identity lives [R29]."""
        self.ended_removed = False
        """Whether its last run ended because it was told that it is no member any more."""
        self.died_s = 0.0
        """When it died last."""
        self._known = known
        self._join = join

    @property
    def record(self) -> Member:
        """What the table of members should say of it."""
        return Member(self.member, f"{self.name}.raft:{self.port}", f"{self.name}.http:1")

    def connect(self, config: Config, rng: Random) -> Transport:
        """Return this boot's peer transport, its port open."""
        assert isinstance(self.storage, DurableStorage)
        self.ended_removed = False
        self.wired.lossy_streams.attach(self.name, self.clock)
        tick_s = self.cluster.options.tick_s
        record = self.record
        self.transport = PeerTransport(
            UnwatchedClock(self.cluster.clock, self.clock),
            LocalMember(
                member=self.member,
                boot=config.boot,
                cluster_id=self.cluster.cluster_id,
                raft_address=record.raft_address,
                http_address=record.http_address,
                feature_level=record.feature_max,
            ),
            endpoint=lambda address: self.wired.lossy_streams.endpoint(self.name, address),
            files=self.storage,
            limits=PeerLimits(
                heartbeat_s=config.heartbeat_ticks * tick_s,
                election_timeout_s=config.election_ticks * tick_s,
                append_bytes_max=config.append_bytes_max,
                chunk_bytes_max=CHUNK_BYTES,
                chunk_window=4,
            ),
            rng=rng,
            check=lambda facts, _: check_names(facts),
            deliver=self._deliver_all,
            unreachable=lambda member: self.replica.report_unreachable(member),
            snapshot_sent=lambda member, ok: self.replica.report_snapshot(member, ok),
            hello_seen=self._hello_seen,
            link_lost=lambda member, refused: self.replica.link_lost(member, refused),
            is_removed=lambda member: self.machine.members.is_removed(member),
            told_removed=self._removed,
        )
        self.wired.lossy_streams.listen(self.name, record.raft_address, self.transport.factory)
        return self.transport

    def begin(self) -> None:
        """Take part as a member does, and ask to be one where that may not have come through."""
        options = self._membership_options()
        agreement = WatchedAgreement(
            self.clock,
            self.replica,
            lambda: self.machine.members,
            own=self.record,
            envelope=self._envelope,
            options=options,
        )
        agreement.watch = self._proposes
        self.membership = Membership(agreement, self.database.require_leader)
        directory = SimulatedDirectory(self.wired, self.name, self.clock)
        self.autopilot = Autopilot(
            self.clock, agreement, self.membership, directory, on_removed=self._removed
        )
        self.watch = PeerWatch(
            self.clock,
            options.check_s,
            me=self.member,
            table=lambda: self.machine.members,
            announced=lambda: announced(self.replica, self.storage.log),
            update=self.transport.update_peers,
        )
        self.transport.start()
        super().begin()
        self.watch.start({one.member: one.raft_address for one in self._known})
        self.autopilot.start()
        asked, self._known = bool(self._known), ()
        if self._join and not asked:
            commit = self.storage.log.initial_state()[0].commit
            self.clock.callLater(LOOK_S, self._ask_again, directory, commit)

    def disconnect(self) -> None:
        """Be gone from the network; the peers find out by themselves."""
        self.died_s = self.cluster.clock.seconds()
        self.wired.lossy_streams.lose(self.name)

    def knows(self, members: Sequence[MemberID]) -> bool:
        """Whether it would find one of ``members`` by itself: one that lives where it dials somebody.

        It need not be who it dials: a member's next incarnation answers at the same address.
        """
        dialled = [one.raft_address for one in self.machine.members.members]
        return any(one.record.raft_address in dialled for one in self.wired.alive(members))

    def _membership_options(self) -> ProposerOptions:
        tick_s = self.cluster.options.tick_s
        config = self.replica.core.state.config
        return ProposerOptions(
            check_s=config.heartbeat_ticks * tick_s,
            patience_s=2 * config.election_ticks * tick_s,
        )

    def _envelope(self, command: MembersCommand) -> bytes:
        wall_ms = self.cluster.wall_ms(self.name)
        return encode_entry(command, wall_ms=wall_ms)

    def _deliver_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.cluster.network.watch(message)
        self.replica.deliver(messages)

    def _hello_seen(self, facts: HelloFacts, refusal: Refusal | None) -> None:
        if refusal is Refusal.DUPLICATE:
            self.duplicates += 1
        elif refusal is None and not facts.dialled:
            self.autopilot.seen(sighting(facts))

    def _ask_again(self, directory: SimulatedDirectory, commit: int) -> None:
        """Ask to be taken in, as a restart with old flags does; who is a member does not ask."""
        if not self.replica.serves or self.replica.applied < commit:
            self.clock.callLater(LOOK_S, self._ask_again, directory, commit)
            return
        if self.member not in self.machine.members.conf_state.members:
            record = self.record
            joiner = Joiner(
                self.clock, directory, addresses=self._join, own_address=record.http_address
            )
            request = JoinRequest(
                self.member, record.raft_address, record.http_address, self.cluster.cluster_id
            )
            joiner.join(request).addCallbacks(lambda _: None, lambda _: self._removed())

    def _removed(self) -> None:
        """End, as a process does that is told that it is no member any more."""
        if not self.is_up:
            return
        assert self.wired.was_removed(self.member), f"{self.name} was told that it is removed"
        self.cluster.event_log.note("ends, being removed", self.name)
        self.is_lost = self.ended_removed = True
        self.kill()

    def _proposes(self, change: ConfChange, commit_before: int) -> None:
        """See to it that only a learner that has caught up becomes a voter."""
        learners = self.replica.core.conf_state.learners
        for kind, member in change.changes:
            if kind is ConfChangeKind.ADD_VOTER and member in learners:
                node = self.wired.nodes.get(member.id)
                present = node is not None and node.is_up and node.member == member
                last = node.replica.core.state.log.last_index if node and present else 0
                assert last >= commit_before or not present, (
                    f"{member.id} is to vote, with {last} of {commit_before} entries"
                )


class WatchedAgreement(Proposer):
    """Production's, with somebody who looks at what is proposed.

    :ivar watch: is shown each change, and the commit index that a promotion has to rest on
    """

    def __init__(
        self,
        clock: NodeClock,
        group: Replica,
        table: Callable[[], MemberTable],
        *,
        own: Member,
        envelope: Callable[[MembersCommand], bytes],
        options: ProposerOptions,
    ) -> None:
        super().__init__(clock, group, table, own=own, envelope=envelope, options=options)
        self.watch: Callable[[ConfChange, int], None] = lambda _change, _commit: None
        self._time = clock
        self._commits: list[tuple[float, int]] = []
        self._began_s = self._ended_s = 0.0
        self._sampled_s = self._ran_s = 0.0

    def sample(self) -> Status:
        """Note how much is committed."""
        status = super().sample()
        self._ran_s, self._sampled_s = self._running_s(), self._time.seconds()
        self._commits.append((self._ran_s, status.hard_state.commit))
        return status

    def _running_s(self) -> float:
        """Return for how long this process has run, pauses left out: while it is paused it checks nothing."""
        return self._ran_s + min(self._time.seconds() - self._sampled_s, self.options.check_s)

    def change(self, change: ConfChange) -> Deferred[object]:
        """Show a change, and propose it."""
        self.watch(change, self._commit_before())
        return self._work(super().change(change))

    def command(self, command: MembersCommand) -> Deferred[object]:
        """Propose a command."""
        return self._work(super().command(command))

    def _work(self, done: Deferred[object]) -> Deferred[object]:
        self._began_s = self._running_s()
        return done.addBoth(self._worked)

    def _worked(self, result: object) -> object:
        self._ended_s = self._running_s()
        return result

    def _commit_before(self) -> int:
        """Return what was committed at the caretaker's last check, or a check earlier.

        It does not check while something that it proposed is under way.
        """
        two_checks_s = 2 * self.options.check_s
        since_s = self._running_s() - two_checks_s
        if self._ended_s > since_s:
            since_s = min(since_s, self._began_s - two_checks_s)
        return max((commit for when_s, commit in self._commits if when_s <= since_s), default=0)
