"""The checker of traces: a hand-made good trace, and each way in which a trace can be wrong."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from raftdb.simulation.trace.check import Rejected, check
from raftdb.simulation.trace.format import (
    CANDIDATE,
    FOLLOWER,
    KINDS,
    LEADER,
    NOBODY,
    Properties,
    SingleChange,
    TraceChange,
    TraceEvent,
    TraceMessage,
    TraceState,
    decode,
    encode,
)
from raftdb.simulation.trace.invariants import Invariants
from raftdb.simulation.trace.specification import LogEntry, Model, NotAllowed, Server

ALL = ("1", "2", "3")


class Tale:
    """A trace being written by hand: three voters whose founding entries are committed."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []
        self.nodes = {nid: self._event("", nid) for nid in ALL}
        for nid in ALL:
            self.tell("InitState", nid)

    def _event(self, name: str, nid: str) -> TraceEvent:
        return TraceEvent(name, nid, TraceState(1, NOBODY, 4), FOLLOWER, 4, (ALL, ()))

    def tell(self, name: str, nid: str, **changes: object) -> TraceEvent:
        """Write an event after changing the node's variables: term, vote, commit, role, log, voters."""
        now = self.nodes[nid]
        message, prop = changes.pop("msg", None), changes.pop("prop", None)
        conf = (changes.pop("voters", now.conf[0]), ())
        hard = {key: changes.pop(key) for key in ("term", "vote", "commit") if key in changes}
        state = msgspec.structs.replace(now.state, **hard)
        self.nodes[nid] = now = msgspec.structs.replace(now, state=state, conf=conf, **changes)
        event = msgspec.structs.replace(now, name=name, msg=message, prop=prop)
        self.events.append(event)
        return event

    def send(self, kind: str, sender: str, receiver: str, **fields: int) -> TraceMessage:
        """Write that a message leaves; return it."""
        term = self.nodes[sender].state.term
        message = msgspec.structs.replace(TraceMessage(kind, term, sender, receiver), **fields)
        self.tell(f"Send{KINDS[kind]}", sender, msg=message)
        return message

    def receive(self, message: TraceMessage) -> None:
        """Write that it arrives."""
        self.tell(f"Receive{KINDS[message.type]}", message.receiver, msg=message)

    def answer(self, kind: str, receiver: str, sender: str, **fields: int) -> None:
        """Let an answer leave, be sent and arrive."""
        message = self.send(kind, sender, receiver, **fields)
        self.tell("Ready", sender)
        self.receive(message)

    def elect(self) -> None:
        """Let 1 become leader of term 2 by the vote of 2, and open its term."""
        self.tell("BecomeCandidate", "1", term=2, vote="1", role=CANDIDATE)
        own = self.send("MsgVoteResp", "1", "1")
        asks = [self.send("MsgVote", "1", other, index=4, log_term=1) for other in ("2", "3")]
        self.tell("Ready", "1")
        self.receive(own)
        self.receive(asks[0])
        self.tell("BecomeFollower", "2", term=2)
        self.nodes["2"].state.vote = "1"
        self.answer("MsgVoteResp", "1", "2")
        self.tell("BecomeLeader", "1", role=LEADER)
        self.tell("Replicate", "1", log=5)

    def replicate(self, receiver: str, *, index: int, entries: int, log_term: int) -> None:
        """Let 1 send entries to another node, which takes them and answers."""
        commit = min(self.nodes["1"].state.commit, index + entries)
        fields = {"index": index, "entries": entries, "log_term": log_term, "commit": commit}
        message = self.send("MsgApp", "1", receiver, **fields)
        self.tell("Ready", "1")
        self.receive(message)
        now = self.nodes[receiver]
        if now.state.term < 2:
            self.tell("BecomeFollower", receiver, term=2)
        state = self.nodes[receiver].state
        state = msgspec.structs.replace(state, commit=max(state.commit, commit))
        self.nodes[receiver] = msgspec.structs.replace(
            self.nodes[receiver], state=state, log=index + entries
        )
        self.answer("MsgAppResp", "1", receiver, index=index + entries)

    def acknowledge(self, index: int) -> None:
        """Let the leader's own disk answer."""
        message = self.send("MsgAppResp", "1", "1", index=index)
        self.tell("Ready", "1")
        self.receive(message)


def told() -> Tale:
    """Return a tale with an election, appends, a heartbeat, a change of members and a restart."""
    tale = Tale()
    tale.elect()
    tale.acknowledge(5)
    tale.replicate("2", index=4, entries=1, log_term=1)
    tale.tell("Commit", "1", commit=5)
    tale.replicate("3", index=4, entries=1, log_term=1)
    heartbeat = tale.send("MsgHeartbeat", "1", "3", commit=5)
    tale.tell("Ready", "1")
    tale.receive(heartbeat)
    tale.answer("MsgHeartbeatResp", "1", "3")
    leaves = TraceChange(changes=(SingleChange("3", "RemoveServer"),))
    tale.tell("ChangeConf", "1", log=6, prop=Properties(leaves))
    tale.acknowledge(6)
    tale.replicate("2", index=5, entries=1, log_term=2)
    tale.tell("Commit", "1", commit=6)
    after = Properties(TraceChange(newconf=("1", "2")))
    tale.tell("ApplyConfChange", "1", prop=after)
    tale.nodes["1"] = msgspec.structs.replace(tale.nodes["1"], conf=(("1", "2"), ()))
    tale.tell("Ready", "1")
    tale.tell("InitState", "1", role=FOLLOWER)
    return tale


class TestGoodTraces:
    """What the specification allows is accepted."""

    def test_a_whole_story(self) -> None:
        """An election, appends, a heartbeat, a change of members and a restart."""
        check(told().events)

    def test_it_survives_being_written_and_read(self) -> None:
        """The form has one reading; lines that are no trace are passed over."""
        events = told().events
        lines = [b'{"tag": "other", "event": {}}\n', b'{"level": "info"}\n', *encode(events)]
        assert decode(lines) == events

    def test_lines_sort_as_text_by_their_third_field(self) -> None:
        """Etcd's script sorts a file so before it runs TLC."""
        lines = list(encode(told().events))
        assert sorted(lines, key=lambda line: line.split(b":", 2)[2]) == lines
        assert all(len(line.split(b":")[2]) == len(lines[0].split(b":")[2]) for line in lines)

    def test_a_stale_leader_is_told_the_higher_term(self) -> None:
        """A rejection in a higher term makes it a follower before it is looked at."""
        tale = Tale()
        tale.elect()
        tale.tell("BecomeCandidate", "3", term=2, vote="3", role=CANDIDATE)
        tale.tell("BecomeCandidate", "3", term=3, vote="3", role=CANDIDATE)
        message = tale.send("MsgHeartbeat", "1", "3", commit=0)
        tale.tell("Ready", "1")
        tale.receive(message)
        answer = tale.send("MsgAppResp", "3", "1", reject=True)
        tale.tell("Ready", "3")
        tale.receive(answer)
        tale.tell("BecomeFollower", "1", term=3, vote=NOBODY, role=FOLLOWER)
        tale.tell("Ready", "1")
        check(tale.events)

    def test_conflicting_entries_are_taken_back(self) -> None:
        """An append replaces what a leader of an older term left behind."""
        tale = Tale()
        tale.elect()
        tale.tell("Replicate", "1", log=6)
        tale.tell("BecomeCandidate", "3", term=2, vote="3", role=CANDIDATE)
        tale.tell("BecomeCandidate", "3", term=3, vote="3", role=CANDIDATE)
        own = tale.send("MsgVoteResp", "3", "3")
        ask = tale.send("MsgVote", "3", "2", index=4, log_term=1)
        tale.tell("Ready", "3")
        tale.receive(own)
        tale.receive(ask)
        tale.tell("BecomeFollower", "2", term=3, vote=NOBODY)
        tale.nodes["2"].state.vote = "3"
        tale.answer("MsgVoteResp", "3", "2")
        tale.tell("BecomeLeader", "3", role=LEADER)
        tale.tell("Replicate", "3", log=5)
        message = tale.send("MsgApp", "3", "1", index=4, log_term=1, entries=1, commit=4)
        tale.tell("Ready", "3")
        tale.receive(message)
        tale.tell("BecomeFollower", "1", term=3, vote=NOBODY, role=FOLLOWER)
        tale.nodes["1"] = msgspec.structs.replace(tale.nodes["1"], log=5)
        tale.answer("MsgAppResp", "3", "1", index=5)
        check(tale.events)


Change = Callable[[TraceEvent], TraceEvent]


def _with(**changes: object) -> Change:
    """Return what changes an event: of its hard state, of its message (msg_…), or of itself."""

    def change(event: TraceEvent) -> TraceEvent:
        for key, value in changes.items():
            if key.startswith("msg_") and event.msg is not None:
                message = msgspec.structs.replace(event.msg, **{key[4:]: value})
                event = msgspec.structs.replace(event, msg=message)
            elif key in {"term", "vote", "commit"}:
                state = msgspec.structs.replace(event.state, **{key: value})
                event = msgspec.structs.replace(event, state=state)
            else:
                event = msgspec.structs.replace(event, **{key: value})
        return event

    return change


def _gone(_: TraceEvent) -> TraceEvent | None:
    return None


WRONG = {
    # name of the event, which of them, what is done to it, what the checker says
    "candidate in another term": ("BecomeCandidate", 0, _with(term=3), "the term must be 2"),
    "candidate by name alone": ("BecomeCandidate", 0, _with(role=FOLLOWER), "role must be cand"),
    "no campaign": ("BecomeCandidate", 0, _gone, "only a candidate asks for votes"),
    "vote asked with a longer log": (
        "SendRequestVoteRequest",
        0,
        _with(msg_index=5),
        "the message has",
    ),
    "vote asked of a stranger": (
        "SendRequestVoteRequest",
        0,
        _with(msg_receiver="9"),
        "9 is not in the candidate's configuration",
    ),
    "vote never sent": ("Ready", 1, _gone, "no such message is under way"),
    "vote refused in words": (
        "ReceiveRequestVoteResponse",
        1,
        _with(msg_reject=True),
        "no such message is under way",
    ),
    "elected by itself": ("ReceiveRequestVoteResponse", 1, _gone, "are no quorum"),
    "led before it was told": ("BecomeLeader", 0, _gone, "only a leader appends"),
    "leads as a follower": ("BecomeLeader", 0, _with(role=FOLLOWER), "role is StateFollower"),
    "append without its entry": ("Replicate", 0, _gone, "log is 5, must be 4"),
    "own answer lost": ("ReceiveAppendEntriesResponse", 0, _gone, "commit is 5, must be 4"),
    "append with a wrong term before it": (
        "SendAppendEntriesRequest",
        0,
        _with(msg_log_term=2),
        "the message has",
    ),
    "append of what is acknowledged": (
        "SendAppendEntriesRequest",
        3,
        _with(msg_index=4),
        "entries up to 5 were acknowledged",
    ),
    "append of entries that are not there": (
        "SendAppendEntriesRequest",
        0,
        _with(msg_entries=2),
        "there are no such entries",
    ),
    "append that commits more than it brings": (
        "SendAppendEntriesRequest",
        0,
        _with(msg_commit=5),
        "the message has",
    ),
    "append to oneself": (
        "SendAppendEntriesRequest",
        2,
        _with(msg_receiver="1"),
        "does not send entries to itself",
    ),
    "append never sent": ("SendAppendEntriesRequest", 0, _gone, "no such message is under way"),
    "append received by another": (
        "ReceiveAppendEntriesRequest",
        0,
        _with(nid="3"),
        "somebody else receives it",
    ),
    "follower with another log": ("ReceiveAppendEntriesRequest", 2, _with(log=6), "log is 6"),
    "follower with another commit": (
        "ReceiveAppendEntriesRequest",
        2,
        _with(commit=4),
        "commit is 4, must be 5",
    ),
    "more acknowledged than received": (
        "ReceiveAppendEntriesResponse",
        1,
        _with(msg_index=6),
        "no such message is under way",
    ),
    "heartbeat that commits too much": (
        "SendAppendEntriesRequest",
        2,
        _with(msg_commit=6),
        "the message has",
    ),
    "commit without a quorum": ("ReceiveAppendEntriesResponse", 1, _gone, "commit is 5, must be 4"),
    "commit too far": ("Commit", 0, _with(commit=6), "commit is 6, must be 5"),
    "change of a stranger": (
        "ChangeConf",
        0,
        _with(prop=Properties(TraceChange(changes=(SingleChange("9", "RemoveServer"),)))),
        "9 is no member",
    ),
    "change of two at once": (
        "ChangeConf",
        0,
        _with(prop=Properties(TraceChange(changes=(SingleChange("3", "RemoveServer"),) * 2))),
        "one change at a time",
    ),
    "change without saying which": ("ChangeConf", 0, _with(prop=None), "one change at a time"),
    "change not applied": ("ApplyConfChange", 0, _gone, "voters is"),
    "restarted with another vote": ("InitState", 3, _with(vote="2"), "vote is 2, must be 1"),
    "restarted as leader": ("InitState", 3, _with(role=LEADER), "role is StateLeader"),
    "no such event": ("Commit", 0, _with(name="Committed"), "there is no such event"),
    "stepped down for nothing": (
        "SendAppendEntriesResponse",
        1,
        _with(name="BecomeFollower", msg=None),
        "a follower does not step down",
    ),
    "message missing": ("SendAppendEntriesRequest", 0, _with(msg=None), "the message is missing"),
    "message of another type": (
        "SendAppendEntriesRequest",
        0,
        _with(msg_type="MsgVote"),
        "it is of another type",
    ),
    "nobody introduced": ("InitState", 2, _gone, "nothing introduces 3"),
}


class TestBadTraces:
    """What the specification does not allow is rejected, and it is said why."""

    @pytest.mark.parametrize("what", WRONG)
    def test_one_wrong_line(self, what: str) -> None:
        """The good story with one line changed or missing."""
        name, which, change, expected = WRONG[what]
        events = told().events
        if what == "nobody introduced":
            events = [event for event in events if event.nid != "3"]
        else:
            at = [place for place, event in enumerate(events) if event.name == name][which]
            changed = change(events[at])
            events[at : at + 1] = [] if changed is None else [changed]
        with pytest.raises(Rejected, match=expected):
            check(events)

    def test_a_restart_that_loses_something(self) -> None:
        """What is told after the last Ready is not durable, so it must not be there any more."""
        tale = Tale()
        tale.tell("BecomeCandidate", "1", term=2, vote="1", role=CANDIDATE)
        tale.tell("InitState", "1", role=FOLLOWER)
        with pytest.raises(Rejected, match="term is 2, must be 1"):
            check(tale.events)

    def test_a_message_received_twice(self) -> None:
        """A message is taken away by its receipt; the network of a trace repeats none."""
        events = told().events
        at = next(k for k, e in enumerate(events) if e.name == "ReceiveRequestVoteRequest")
        again = msgspec.structs.replace(
            events[at], state=TraceState(2, "1", 4), name="ReceiveRequestVoteRequest"
        )
        with pytest.raises(Rejected, match="no such message is under way"):
            check([*events[: at + 2], again])

    def test_a_second_vote_in_one_term(self) -> None:
        """Who has voted refuses another candidate of the term; a grant cannot be received."""
        tale = Tale()
        tale.elect()
        tale.tell("BecomeCandidate", "3", term=2, vote="3", role=CANDIDATE)
        ask = tale.send("MsgVote", "3", "2", index=4, log_term=1)
        tale.tell("Ready", "3")
        tale.receive(ask)
        tale.answer("MsgVoteResp", "3", "2")
        with pytest.raises(Rejected, match="no such message is under way"):
            check(tale.events)

    def test_nothing(self) -> None:
        """An empty trace proves nothing."""
        with pytest.raises(Rejected, match="no events"):
            check([])

    def test_a_line_of_another_form(self) -> None:
        """A line that says it is a trace and is none is named."""
        with pytest.raises(ValueError, match="line 2"):
            decode([b"{}", b'{"tag": "trace", "event": {"name": "Ready"}}'])


def _server(
    nid: str,
    terms: list[int],
    *,
    commit: int = 0,
    role: str = FOLLOWER,
    voters: tuple[str, ...] = ALL,
) -> Server:
    log = [LogEntry(term) for term in terms]
    return Server(nid, term=3, vote=NOBODY, role=role, commit=commit, voters=voters, log=log)


class TestInvariants:
    """Each invariant that the specification's trace configuration names can be broken."""

    @pytest.mark.parametrize(
        ("name", "servers"),
        [
            ("LogInv", [_server("1", [1, 1], commit=2), _server("2", [1, 2], commit=2)]),
            (
                "MoreThanOneLeaderInv",
                [_server("1", [1], role=LEADER), _server("2", [1], role=LEADER)],
            ),
            ("ElectionSafetyInv", [_server("1", [1], role=LEADER), _server("2", [1, 3])]),
            ("LogMatchingInv", [_server("1", [1, 2]), _server("2", [2, 2])]),
            ("QuorumLogInv", [_server("1", [1, 1], commit=2), _server("2", []), _server("3", [])]),
            (
                "MoreUpToDateCorrectInv",
                [_server("1", [1, 1], commit=2), _server("2", [2], voters=())],
            ),
            (
                "LeaderCompletenessInv",
                [_server("1", [1, 1], commit=2), _server("2", [1], role=LEADER, voters=())],
            ),
        ],
    )
    def test_it_is_noticed(self, name: str, servers: list[Server]) -> None:
        """A state that breaks it is refused by its name."""
        for nid in ALL[len(servers) :]:
            servers = [*servers, _server(nid, [entry.term for entry in servers[0].log])]
        with pytest.raises(NotAllowed, match=name):
            Invariants(Model({server.nid: server for server in servers}))

    def test_what_is_committed_is_durable(self) -> None:
        """A leader commits nothing beyond what it has made durable."""
        leader = _server("1", [3], role=LEADER, commit=0)
        servers = [leader, _server("2", [3]), _server("3", [3])]
        invariants = Invariants(Model({server.nid: server for server in servers}))
        leader.log.append(LogEntry(3))
        for server in servers[1:]:
            server.log.append(LogEntry(3))
        leader.commit = 2
        with pytest.raises(NotAllowed, match="CommittedIsDurableInv"):
            invariants.check(leader)
