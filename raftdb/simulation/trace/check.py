"""Says whether a trace is one that the public TLA+ specification of etcd's raft allows.

Line by line it does what that specification's trace checker does: finds the action that the line asks
for, takes that step in a model of the specification, and compares what the line says with the model:
before a receipt, after everything else. TLC with the specification itself is the judge; this one is
written anew from its meaning, needs no Java, and reads tens of thousands of events a second.

``python -m raftdb.simulation.trace.check FILE...`` checks files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from raftdb.simulation.trace.format import (
    CANDIDATE,
    KINDS,
    REQUESTS,
    RESPONSES,
    TraceEvent,
    TraceMessage,
    decode,
)
from raftdb.simulation.trace.invariants import Invariants
from raftdb.simulation.trace.receive import receive
from raftdb.simulation.trace.specification import (
    Letter,
    LogEntry,
    Model,
    NotAllowed,
    Server,
    require,
)

FIRST_WORDS = ("InitState", "BecomeFollower", "ApplyConfChange")
"""Events that only introduce a server, as long as nothing else was told of it."""

RECEIPTS = (
    "ReceiveAppendEntriesRequest",
    "ReceiveAppendEntriesResponse",
    "ReceiveRequestVoteRequest",
    "ReceiveRequestVoteResponse",
)
VARIETIES = {
    "MsgApp": "app",
    "MsgAppResp": "app",
    "MsgHeartbeat": "heartbeat",
    "MsgHeartbeatResp": "heartbeat",
    "MsgSnap": "snapshot",
}


COMPARED = ("InitState", "BecomeLeader", "Commit")
"""Events of one server whose variables are compared after the step, whatever the step was."""


class Rejected(AssertionError):
    """The specification does not allow this trace; the message names the line."""


def check(events: Sequence[TraceEvent]) -> None:
    """Check a whole trace.

    :raises Rejected: naming the first line that is not allowed, counted from 1
    """
    checker = _Checker(events)
    for number, event in enumerate(events):
        try:
            checker.take(number, event)
        except NotAllowed as error:
            raise Rejected(f"line {number + 1}, {event.name} of {event.nid}: {error}") from error


class _Checker:
    def __init__(self, events: Sequence[TraceEvent]) -> None:
        if not events:
            raise Rejected("there are no events")
        self._introductions = _introductions(events)
        self._model = Model(_initial(events, self._introductions))
        self._invariants = Invariants(self._model)
        self._previous: dict[str, TraceEvent] = {}
        self._actions: dict[str, Callable[[Server, TraceEvent], None]] = {
            "InitState": lambda server, _: self._model.restart(server),
            "BecomeCandidate": self._become_candidate,
            "BecomeFollower": self._become_follower,
            "BecomeLeader": lambda server, _: self._model.become_leader(server),
            "Commit": lambda server, _: self._model.advance_commit(server),
            "Replicate": self._replicate,
            "ChangeConf": self._change,
            "ApplyConfChange": lambda server, _: self._model.apply_change(server),
            "Ready": lambda server, _: self._model.ready(server),
            "SendRequestVoteRequest": self._send_vote,
            "SendRequestVoteResponse": self._send_response,
            "SendAppendEntriesRequest": self._send_entries,
            "SendAppendEntriesResponse": self._send_response,
        }

    def take(self, number: int, event: TraceEvent) -> None:
        """Take the step that a line asks for."""
        server = self._model.servers[event.nid]
        if number not in self._introductions:
            if event.name in RECEIPTS:
                letter = self._find(event)
                _compare(server, event)
                receive(self._model, letter)
            else:
                action = self._actions.get(event.name)
                require(action, "there is no such event")
                assert action is not None
                action(server, event)
                if event.name in COMPARED:
                    _compare(server, event)
            self._invariants.check(server)
        self._previous[event.nid] = event

    # -- events of one server -------------------------------------------------------------------

    def _become_candidate(self, server: Server, event: TraceEvent) -> None:
        self._model.time_out(server)
        require(event.role == CANDIDATE, "its role must be candidate")
        require(event.state.term == server.term, f"the term must be {server.term}")

    def _become_follower(self, server: Server, event: TraceEvent) -> None:
        if not self._follows_from_receipt(event):
            self._model.step_down(server)
            _compare(server, event)

    def _follows_from_receipt(self, event: TraceEvent) -> bool:
        """Say whether the receipt told just before was the reason: then nothing is left to do."""
        before = self._previous.get(event.nid)
        if before is None or before.name not in RECEIPTS or before.msg is None:
            return False
        term = before.msg.term
        if term != event.state.term:
            return False
        return before.state.term < term or (
            before.name == "ReceiveAppendEntriesRequest"
            and before.state.term == term
            and before.role == CANDIDATE
        )

    def _replicate(self, server: Server, _: TraceEvent) -> None:
        self._model.replicate(server, LogEntry(server.term))

    def _change(self, server: Server, event: TraceEvent) -> None:
        change = event.prop.cc if event.prop else None
        require(change is not None and len(change.changes) == 1, "one change at a time")
        assert change is not None
        self._model.change(server, change.changes[0].action, change.changes[0].nid)

    # -- messages -------------------------------------------------------------------------------

    def _send_vote(self, server: Server, event: TraceEvent) -> None:
        message = _message(event, REQUESTS)
        letter = self._model.request_vote(server, message.receiver)
        _compare(server, event)
        _compare_message(letter, message)

    def _send_response(self, server: Server, event: TraceEvent) -> None:
        message = _message(event, RESPONSES)
        if message.sender != message.receiver:
            return  # receiving the request has sent it already
        if message.type == "MsgVoteResp":
            letter = self._model.request_vote(server, message.receiver)
        else:
            letter = self._model.acknowledge_to_itself(server)
        _compare(server, event)
        _compare_message(letter, message)

    def _send_entries(self, server: Server, event: TraceEvent) -> None:
        message = _message(event, REQUESTS)
        begin, end = message.index + 1, message.index + 1 + message.entries
        match message.type:
            case "MsgHeartbeat":
                begin = end = 1
            case "MsgSnap":
                begin, end = 1, message.entries + 1
                require(0 < message.entries <= server.commit, "a snapshot of what is not committed")
            case _:
                match = server.match.get(message.receiver, 0)
                require(begin > match, f"entries up to {match} were acknowledged")
                require(end <= len(server.log) + 1, "there are no such entries")
        variety = VARIETIES[message.type]
        letter = self._model.append(server, message.receiver, variety, begin, end)
        _compare(server, event)
        _compare_message(letter, message)

    def _find(self, event: TraceEvent) -> Letter:
        """Return the message under way that a receipt is about."""
        message = _message(event, KINDS)
        require(message.receiver == event.nid, "somebody else receives it")
        for letter in self._model.under_way(_envelope(message)):
            said, is_so = _contents(letter, message)
            if said == is_so:
                return letter
        raise NotAllowed(f"no such message is under way: {message}")


def _introductions(events: Sequence[TraceEvent]) -> dict[int, None]:
    """Return the lines that only introduce a server, in order."""
    found: dict[int, None] = {}
    told: dict[str, None] = {}
    for number, event in enumerate(events):
        if event.name not in FIRST_WORDS:
            told[event.nid] = None
        elif event.nid not in told:
            found[number] = None
    return found


def _initial(events: Sequence[TraceEvent], introductions: dict[int, None]) -> dict[str, Server]:
    """Return every server as the last line that introduces it says."""
    last = {events[number].nid: events[number] for number in introductions}
    for event in events:
        mentioned = [event.nid]
        if event.name == "ChangeConf" and event.prop and event.prop.cc:
            mentioned += [one.nid for one in event.prop.cc.changes if one.action.startswith("Add")]
        for nid in mentioned:
            if nid not in last:
                raise Rejected(f"nothing introduces {nid}")
    servers = {}
    for nid, event in last.items():
        voters = event.conf[0]
        if event.name == "ApplyConfChange" and event.prop and event.prop.cc:
            voters = event.prop.cc.newconf
        voters = tuple(sorted(voters))
        log = [LogEntry(1, (voters, ())) for _ in range(event.log)]
        state = event.state
        servers[nid] = Server(nid, state.term, state.vote, event.role, state.commit, voters, log)
    for nid in servers[events[0].nid].voters:
        if nid not in servers:
            raise Rejected(f"nothing introduces {nid}")
    return servers


def _message(event: TraceEvent, types: dict[str, str]) -> TraceMessage:
    require(event.msg is not None, "the message is missing")
    assert event.msg is not None
    require(event.name.endswith(types.get(event.msg.type, "?")), "it is of another type")
    return event.msg


def _compare(server: Server, event: TraceEvent) -> None:
    """Compare what a line says of a server with the model."""
    state = event.state
    said: list[object] = [state.term, event.role, state.vote, event.log, state.commit]
    said += [tuple(sorted(event.conf[0])), event.conf[1]]
    is_so: list[object] = [server.term, server.role, server.vote, len(server.log), server.commit]
    is_so += [server.voters, ()]
    names = ("term", "role", "vote", "log", "commit", "voters", "outgoing voters")
    wrong = [
        f"{name} is {told}, must be {true}"
        for name, told, true in zip(names, said, is_so, strict=True)
        if told != true
    ]
    require(not wrong, "; ".join(wrong))


def _compare_message(letter: Letter, message: TraceMessage) -> None:
    """Compare what a line says of a message with the model's."""
    require(letter.envelope == _envelope(message), f"the message must be {letter}")
    said, is_so = _contents(letter, message)
    require(said == is_so, f"the message has {said}, must have {is_so}")


def _envelope(message: TraceMessage) -> tuple[object, ...]:
    kind, variety = KINDS[message.type], VARIETIES.get(message.type, "")
    return (kind, variety, message.term, message.sender, message.receiver)


def _contents(letter: Letter, message: TraceMessage) -> tuple[list[object], list[object]]:
    """Return what a line says of a message, and what the model does, as far as it counts."""
    said: list[object] = []
    is_so: list[object] = []
    match letter.kind:
        case "AppendEntriesRequest":
            said.append(message.entries)
            is_so.append(len(letter.entries))
            if letter.variety != "snapshot":
                said.append(message.commit)
                is_so.append(letter.commit)
            if letter.variety != "heartbeat":
                said += [message.index, message.log_term]
                is_so += [letter.last, letter.log_term]
        case "AppendEntriesResponse":
            said.append(not message.reject)
            is_so.append(letter.ok)
            if letter.ok and letter.variety != "heartbeat":
                said.append(message.index)
                is_so.append(letter.last)
        case "RequestVoteRequest":
            said += [message.index, message.log_term]
            is_so += [letter.last, letter.log_term]
        case _:
            said.append(not message.reject)
            is_so.append(letter.ok)
    return said, is_so


def main(arguments: list[str]) -> int:
    """Check files; return the exit status, 1 where one is rejected."""
    status = 0
    for argument in arguments:
        try:
            events = decode(Path(argument).read_bytes().splitlines())
            check(events)
        except (OSError, ValueError, Rejected) as error:
            print(f"{argument}: {error}")  # noqa: T201
            status = 1
        else:
            print(f"{argument}: {len(events)} events are allowed")  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
