"""What the public TLA+ specification of etcd's raft lets a cluster do, written anew as plain functions.

One :class:`Server` holds the variables that the specification keeps for a server; :class:`Model` holds
all of them and the two bags of messages: pending ones, which only a Ready sends, and sent ones. Each
method is an action: it changes the model, or raises :class:`NotAllowed` naming what is not fulfilled.
Which action a line of a trace asks for is :mod:`raftdb.simulation.trace.check`'s question.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from raftdb.simulation.trace.format import CANDIDATE, FOLLOWER, LEADER, NOBODY

Voters: TypeAlias = tuple[str, ...]


class NotAllowed(AssertionError):
    """The specification has no such step."""


class LogEntry(NamedTuple):
    """An entry: its term, and the voters and learners that it brings, None for a value."""

    term: int
    change: tuple[Voters, Voters] | None = None


class Letter(NamedTuple):
    """A message of the specification.

    :param kind: AppendEntriesRequest and so on
    :param variety: app, heartbeat or snapshot; empty for votes
    :param ok: of a response: granted, or successful
    :param last: before the entries, of the last one, or of what matches
    """

    kind: str
    variety: str
    term: int
    sender: str
    receiver: str
    ok: bool = True
    last: int = 0
    log_term: int = 0
    entries: tuple[LogEntry, ...] = ()
    commit: int = 0

    @property
    def envelope(self) -> tuple[object, ...]:
        """Its first five fields, by which it is found."""
        return self[:5]


class Durable(NamedTuple):
    """What a restarted server comes back with."""

    term: int
    vote: str
    last: int
    commit: int
    voters: Voters
    learners: Voters


NOTHING = Durable(0, NOBODY, 0, 0, (), ())


@dataclass(slots=True)
class Server:
    """The variables of one server."""

    nid: str
    term: int
    vote: str
    role: str
    commit: int
    voters: Voters
    log: list[LogEntry]
    learners: Voters = ()
    responded: dict[str, None] = field(default_factory=dict)
    granted: dict[str, None] = field(default_factory=dict)
    match: dict[str, int] = field(default_factory=dict)
    pending_change: int = 0
    durable: Durable = NOTHING

    def __post_init__(self) -> None:
        """Begin with everything durable."""
        self.persist()

    def persist(self) -> None:
        """Make everything durable."""
        self.durable = Durable(
            self.term, self.vote, len(self.log), self.commit, self.voters, self.learners
        )

    @property
    def last_term(self) -> int:
        """The term of the last entry, 0 for none."""
        return self.log[-1].term if self.log else 0

    def term_at(self, index: int) -> int:
        """Return the term at ``index``, 0 where nothing is."""
        return self.log[index - 1].term if 0 < index <= len(self.log) else 0

    def is_peer(self, other: str) -> bool:
        """Say whether ``other`` takes part in its configuration."""
        return other in self.voters or other in self.learners


def require(holds: object, what: str) -> None:
    """Refuse a step unless its condition holds."""
    if not holds:
        raise NotAllowed(what)


class Model:
    """All servers and all messages.

    :param servers: by id
    """

    def __init__(self, servers: dict[str, Server]) -> None:
        self.servers = servers
        self.pending: dict[str, Counter[Letter]] = {nid: Counter() for nid in servers}
        self._sent: dict[tuple[object, ...], Counter[Letter]] = {}

    def send(self, letter: Letter) -> None:
        """Let a message wait for its sender's next Ready."""
        self.pending[letter.sender][letter] += 1

    def under_way(self, envelope: tuple[object, ...]) -> list[Letter]:
        """Return what was sent and not received yet, of one :attr:`Letter.envelope`."""
        return list(self._sent.get(envelope, ()))

    def take_away(self, letter: Letter) -> None:
        """Take one copy of a message away that was sent."""
        bag = self._sent.get(letter.envelope, Counter())
        require(bag[letter] > 0, "the message was not sent")
        bag[letter] -= 1
        if not bag[letter]:
            del bag[letter]

    # -- a server's own steps -------------------------------------------------------------------

    def ready(self, server: Server) -> None:
        """Make everything durable, and send what waits."""
        server.persist()
        for letter, count in self.pending[server.nid].items():
            self._sent.setdefault(letter.envelope, Counter())[letter] += count
        self.pending[server.nid].clear()

    def restart(self, server: Server) -> None:
        """Go back to what is durable, and forget what waits."""
        saved = server.durable
        server.term, server.vote, server.commit = saved.term, saved.vote, saved.commit
        server.voters, server.learners = saved.voters, saved.learners
        del server.log[saved.last :]
        server.role = FOLLOWER
        server.pending_change = 0
        server.responded.clear()
        server.granted.clear()
        server.match.clear()
        self.pending[server.nid].clear()

    def time_out(self, server: Server) -> None:
        """Become candidate of the next term."""
        require(server.role in {FOLLOWER, CANDIDATE}, "a leader does not become candidate")
        require(server.nid in server.voters, "only a voter becomes candidate")
        server.role, server.vote = CANDIDATE, server.nid
        server.term += 1
        server.responded.clear()
        server.granted.clear()

    def request_vote(self, server: Server, other: str) -> Letter:
        """Ask for a vote, or grant its own."""
        require(server.role == CANDIDATE, "only a candidate asks for votes")
        require(server.is_peer(other), f"{other} is not in the candidate's configuration")
        require(other not in server.responded, f"{other} has answered already")
        if other == server.nid:
            letter = Letter("RequestVoteResponse", "", server.term, other, other)
        else:
            letter = Letter(
                "RequestVoteRequest",
                "",
                server.term,
                server.nid,
                other,
                last=len(server.log),
                log_term=server.last_term,
            )
        self.send(letter)
        return letter

    def become_leader(self, server: Server) -> None:
        """Begin to lead."""
        require(server.role == CANDIDATE, "only a candidate becomes leader")
        votes = sum(voter in server.granted for voter in server.voters)
        strangers = [nid for nid in server.granted if nid not in server.voters]
        # The votes granted have to *be* a quorum there: one from outside spoils it.
        require(not strangers, f"{strangers} voted without being voters")
        require(2 * votes > len(server.voters), f"{votes} of {len(server.voters)} are no quorum")
        server.role = LEADER
        server.match = {server.nid: len(server.log)}

    def step_down(self, server: Server) -> None:
        """Follow in the same term."""
        require(server.role in {LEADER, CANDIDATE}, "a follower does not step down")
        server.role = FOLLOWER

    def replicate(self, server: Server, entry: LogEntry) -> None:
        """Append to the leader's own log."""
        require(server.role == LEADER, "only a leader appends")
        server.log.append(entry)

    def advance_commit(self, server: Server) -> None:
        """Move the commit index to what a quorum has, if that is of the leader's term."""
        require(server.role == LEADER, "only a leader advances the commit index")
        matches = sorted((server.match.get(nid, 0) for nid in server.voters), reverse=True)
        agreed = min(matches[len(matches) // 2], len(server.log)) if matches else 0
        if agreed and server.term_at(agreed) == server.term:
            server.commit = max(server.commit, agreed)

    # -- a leader's messages --------------------------------------------------------------------

    def append(self, server: Server, other: str, variety: str, begin: int, end: int) -> Letter:
        """Send the entries in ``[begin, end)``, or none as a heartbeat."""
        require(server.role == LEADER, "only a leader sends entries")
        require(other != server.nid, "a leader does not send entries to itself")
        require(server.is_peer(other), f"{other} is not in the leader's configuration")
        require(begin <= end, "the entries end before they begin")
        last = min(len(server.log), end - 1)
        match = server.match.get(other, 0)
        letter = Letter(
            "AppendEntriesRequest",
            variety,
            server.term,
            server.nid,
            other,
            last=begin - 1,
            log_term=server.term_at(begin - 1),
            entries=tuple(server.log[begin - 1 : last]),
            commit=min(server.commit, match if variety == "heartbeat" else last),
        )
        self.send(letter)
        return letter

    def acknowledge_to_itself(self, server: Server) -> Letter:
        """Send itself the answer that it has all of its log."""
        require(server.role == LEADER, "only a leader answers itself")
        nid = server.nid
        last = len(server.log)
        letter = Letter("AppendEntriesResponse", "app", server.term, nid, nid, last=last)
        self.send(letter)
        return letter

    # -- configurations -------------------------------------------------------------------------

    def change(self, server: Server, action: str, other: str) -> None:
        """Propose a change of one member."""
        require(server.role == LEADER, "only a leader proposes a change")
        voters, learners = server.voters, server.learners
        match action:
            case "AddNewServer":
                require(other not in voters, f"{other} votes already")
                after = (_with(voters, other), learners)
            case "AddLearner":
                require(not server.is_peer(other), f"{other} is a member already")
                after = (voters, _with(learners, other))
            case "RemoveServer":
                require(server.is_peer(other), f"{other} is no member")
                after = (_without(voters, other), _without(learners, other))
            case _:
                raise NotAllowed(f"there is no change called {action}")
        if server.pending_change:
            self.replicate(server, LogEntry(server.term))
            return
        self.replicate(server, LogEntry(server.term, after))
        server.pending_change = len(server.log)

    def apply_change(self, server: Server) -> None:
        """Put the last committed change in force."""
        for index in range(server.commit, 0, -1):
            change = server.log[index - 1].change
            if change is not None:
                server.voters, server.learners = change
                if server.role == LEADER and server.pending_change >= index:
                    server.pending_change = 0
                return
        raise NotAllowed("no change is committed")


def _with(members: Voters, one: str) -> Voters:
    return tuple(sorted((*members, one)))


def _without(members: Voters, one: str) -> Voters:
    return tuple(member for member in members if member != one)
