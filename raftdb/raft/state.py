"""Every variable of Figure 2 and what changes several of them at once: the transitions of Figure 4.

It owns who this node is, in which term, with which log, and what waits to leave it. It knows no
rule of leaders, candidates or followers: those are functions over a :class:`State`, in
:mod:`~raftdb.raft.leader`, :mod:`~raftdb.raft.candidate` and :mod:`~raftdb.raft.follower`.
"""

from __future__ import annotations

from collections import deque

from raftdb.errors import DataLost, NoLeader, NotLeader
from raftdb.raft import confchange
from raftdb.raft.config import Config
from raftdb.raft.log import RaftLog
from raftdb.raft.messages import (
    AppendEntriesResponse,
    Message,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from raftdb.raft.progress import Progress
from raftdb.raft.read_only import ReadOnly
from raftdb.raft.ready import Ready
from raftdb.raft.storage import LogReader
from raftdb.raft.tracker import Tracker
from raftdb.raft.types import (
    TERM_MAX,
    ConfChange,
    EntryID,
    HardState,
    MemberID,
    ReadID,
    ReadState,
    Role,
    SnapshotMetadata,
)

PERSISTED = (AppendEntriesResponse, RequestVote, RequestVoteResponse, PreVoteResponse)
"""What promises something, or asks others to rest a promise on it, leaves only after the save [R7].

(f) Only votes and append acknowledgements carry promises: a heartbeat's answer may leave before a
mere new term is durable.

(g) RequestVote waits, too, although it waits nowhere in etcd. 1. C campaigns for term 5 and wins
before its own save. 2. It sends entry (5,10,x) to A alone and crashes. 3. It restarts in term 4 and
campaigns for 5 again; B grants again, it has voted for C in 5. 4. C writes (5,10,y): two different
entries with one name, and log matching is gone.
"""


class State:
    """One node's Raft variables.

    Invariants: :mod:`raftdb.raft.invariants` states them.

    :raises DataLost: if what was durable contradicts itself [R1]
    """

    # volatile on all servers
    leader: MemberID | None
    election_elapsed: int
    election_timeout: int
    repeat_in: int
    # volatile on leaders; the tracker holds nextIndex and matchIndex
    term_start: int
    """The index of the entry that opened this leader's term; nothing counts before it [R12]."""
    pending_conf_index: int
    """A change may be proposed once this is applied: they go one at a time [R2]."""
    uncommitted_bytes: int
    retires_at: int
    """A removed leader goes on until this index is committed without it; 0 for not removed."""
    transferee: MemberID | None
    transfer_elapsed: int
    heartbeat_elapsed: int
    probe_requested: dict[MemberID, None]
    """Who gets an append even if it is empty, to find out what was lost."""
    reads: ReadOnly
    disk_transfer_tried: bool
    unreached: int
    """Election timeouts in which its entries reached no quorum, in a row."""

    def __init__(self, config: Config, storage: LogReader, *, applied: int) -> None:
        hard_state, conf_state = storage.initial_state()
        _refuse_lost_data(storage, hard_state)
        assert applied <= storage.snapshot().last.index, (
            "the state machine must not be ahead of the configuration, which is the snapshot's"
        )
        self.config = config
        self.id = config.id
        self.storage = storage
        # persistent on all servers
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.log = RaftLog(storage, applied=applied)
        self.log.commit_to(hard_state.commit)
        # volatile on all servers
        self.role = Role.FOLLOWER
        self.yielded_to: dict[MemberID, None] = {}
        """To whom this pre-candidate has yielded since it last had a leader [R10]."""
        self.holds_precedence = True
        """Whether this pre-candidate is silent towards lesser ones [R10]."""
        self.tracker = Tracker(
            inflight_messages_max=config.inflight_messages_max,
            inflight_bytes_max=config.inflight_bytes_max,
        )
        self.tracker.adopt(confchange.check(conf_state), next_index=1)
        self._reset(self.term)
        self.full = False  # whether the own disk has no room for what the leader sends [R6]
        self.handover_pause = self.handover_wait = 0  # see transfer.watch_room
        self.reach_patience = 0  # see transfer.watch_reach
        self.gave_way_at = -1
        """How much was committed when this node gave way as a leader whose entries reach no quorum."""
        self.rests = 0
        """For so many ticks it leaves the next election to others."""
        self.uptime = self.save_elapsed = 0  # in ticks

        # what leaves, and what waits for an answer from outside
        self.messages: list[Message] = []
        self.persisted_messages: list[Message] = []
        self.durable = hard_state
        self.outstanding: Ready | None = None
        self.read_counter = 0
        self.read_states: list[ReadState] = []
        self.change_awaits_save = 0
        """A committed change at this index is applied once its commit is durable [R2]."""
        self.handed_out_changes: deque[ConfChange] = deque()
        """Changes whose entries count as applied and whose effect the caller still owes."""
        self.installing: SnapshotMetadata | None = None
        """The snapshot that the state machine is loading."""

    # -- questions --

    @property
    def peers(self) -> list[tuple[MemberID, Progress]]:
        """Every other member with its progress, in order."""
        return [(member, pr) for member, pr in self.tracker.progress.items() if member != self.id]

    @property
    def committed(self) -> EntryID:
        """The last entry known to be committed."""
        return EntryID(self.log.term(self.log.committed), self.log.committed)

    @property
    def missing(self) -> tuple[MemberID, ...]:
        """The other voters that this leader has not heard of since CheckQuorum last looked.

        Of who campaigns: those that have not answered. Nobody else can tell.
        """
        tracker = self.tracker
        if self.role is Role.FOLLOWER:
            return ()
        if self.role is Role.LEADER:
            heard = [member for member, progress in self.peers if progress.recent_active]
        else:
            heard = list(tracker.votes)
        return tuple(
            voter for voter in tracker.voters.members if voter != self.id and voter not in heard
        )

    @property
    def own_term_committed(self) -> bool:
        """Whether a leader knows what is committed (Paper §8: the no-op; Thesis §6.4)."""
        return self.log.committed >= self.term_start

    @property
    def in_lease(self) -> bool:
        """Whether a leader was heard within the least election timeout (Thesis §4.2.3).

        Always so on a leader itself: CheckQuorum looks, and counts anew, before the time is up.
        """
        return self.leader is not None and self.election_elapsed < self.config.election_ticks

    @property
    def in_quarantine(self) -> bool:
        """Whether a lease from before the restart may still run.

        1. A, B, C; A leads; C hears A. 2. C restarts and has forgotten that it did. 3. B, cut off
        from A, asks C for a pre-vote: without this rule C grants it, and a leader with a quorum is
        deposed; a read that A answered by its lease would be older than promised.
        """
        return self.uptime < self.config.election_ticks

    @property
    def save_overdue(self) -> bool:
        """Whether the disk has not answered for longer than an election timeout [R6]."""
        return self.save_elapsed > self.config.election_ticks

    @property
    def waits_for_commit_save(self) -> bool:
        """Whether the next entry to apply is a change whose commit is not durable yet [R2].

        1. {A,B}; the leader B removes A: committed, applied, answered. The operator destroys A. 2. B
        crashes and comes back; that the change was committed was never saved. 3. B has {A,B} in force
        and needs A's vote for ever.
        """
        return self.durable.commit < self.change_awaits_save

    @property
    def snapshot_pending(self) -> bool:
        """Whether the state machine has still to load a snapshot that replaced the log [R7d]."""
        return bool(self.log.unstable_snapshot or self.log.restoring)

    def require_leader(self) -> None:
        """Refuse what only a leader can do.

        :raises NotLeader: naming who leads
        :raises NoLeader: if nobody is known to
        """
        if self.role is Role.LEADER:
            return
        if self.leader is None:
            raise NoLeader
        raise NotLeader(self.leader.id)

    # -- what leaves --

    def send(self, message: Message) -> None:
        """Put a message into the output that waits for what it must wait for [R7]."""
        assert message.receiver != self.id, "a node does not write to itself"
        if isinstance(message, PERSISTED):
            self.persisted_messages.append(message)
        else:
            self.messages.append(message)

    def trace(self, event: str, **fields: object) -> None:
        """Tell the observer, if there is one, of a transition."""
        self.config.trace(event, {"id": self.id, "term": self.term, **fields})

    def next_read(self) -> ReadID:
        """Name a read request; the boot nonce keeps names apart across restarts [R12]."""
        self.read_counter += 1
        return ReadID(self.id, self.config.boot, self.read_counter)

    # -- the transitions of Figure 4 --

    def become_follower(self, term: int, leader: MemberID | None) -> None:
        """Follow ``leader``, or nobody yet, in ``term``, which is not below the current one.

        A follower that only hears of a higher term waits no longer for that: its timer starts anew
        with a leader's word or a granted vote alone (Fig. 2, Followers). Otherwise, without pre-votes,
        a candidate with an old log keeps back for ever the one who could win.
        """
        assert term >= self.term, f"the term must not fall from {self.term} to {term}"
        before = self.role
        waited = (self.election_elapsed, self.election_timeout)
        self._reset(term)
        if before is Role.FOLLOWER:
            self.election_elapsed, self.election_timeout = waited
        self.role = Role.FOLLOWER
        self.leader = leader
        self.trace("follower", leader=leader, before=before)

    def become_pre_candidate(self) -> None:
        """Ask whether an election would succeed, in the same term (Thesis §9.6)."""
        assert self.role is not Role.LEADER
        self.role = Role.PRE_CANDIDATE
        self.leader = None
        self.tracker.reset_votes()
        self._draw_election_timeout()
        self.draw_repetition()
        self.trace("pre-candidate")

    def become_candidate(self) -> None:
        """Begin an election: a new term, a vote for itself (Fig. 2, Candidates)."""
        assert self.role is not Role.LEADER
        assert self.term < TERM_MAX
        self._reset(self.term + 1)
        self.role = Role.CANDIDATE
        self.vote = self.id
        self.trace("candidate")

    def become_leader(self) -> None:
        """Lead the term this candidate was elected for.

        Invariant: nobody leads a term before it and its own vote are durable, also alone [R7a].
        1. A alone in its cluster leads term 3 before that is saved, and answers a write. 2. It
        crashes, restarts in term 2 and leads 3 again: two leaders of one term.
        """
        assert self.role is Role.CANDIDATE
        assert (self.durable.term, self.durable.vote) == (self.term, self.id)
        self._reset(self.term)
        self.role = Role.LEADER
        self.leader = self.id
        own = self.tracker.progress[self.id]  # its match moves with the next save [R7b]
        own.become_replicate()
        own.recent_active = own.gained = True  # for good: CheckQuorum resets the others alone
        self.trace("leader")

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term = term
            self.vote = None
        self.leader = None
        self.heartbeat_elapsed = 0
        self._draw_election_timeout()
        self.tracker.reset(next_index=self.log.last_index + 1)
        self.term_start = 0
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.retires_at = 0
        self.transferee = None
        self.probe_requested = {}
        self.disk_transfer_tried = False
        self.unreached = 0
        self.reads = ReadOnly(reads_max=self.config.reads_max)

    # -- time --

    def _draw_election_timeout(self) -> None:
        """Draw anew from ``[T, 2T)`` so that split votes are rare (Paper §5.2)."""
        ticks = self.config.election_ticks
        self.election_elapsed = 0
        self.election_timeout = self.config.rng.randrange(ticks, 2 * ticks)

    def draw_repetition(self) -> None:
        """Draw when an unanswered pre-vote is repeated: every heartbeat, with jitter [R10]."""
        ticks = self.config.heartbeat_ticks
        self.repeat_in = self.config.rng.randrange(ticks, 2 * ticks)


def _refuse_lost_data(storage: LogReader, hard_state: HardState) -> None:
    last = storage.last_index()
    if hard_state.commit > last:
        raise DataLost(
            f"entries up to {hard_state.commit} are committed, but the log ends at {last}: wipe this"
            " node's data directory and let it join anew"
        )
    if storage.term(last) > hard_state.term:
        raise DataLost(
            f"the log ends in term {storage.term(last)}, but the term is {hard_state.term}: the vote"
            " of that term is lost; wipe this node's data directory and let it join anew"
        )
