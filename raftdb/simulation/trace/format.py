"""How a trace is written down: the JSON that the public TLA+ specification of etcd's raft reads.

One object a line, with ``"tag": "trace"`` and an ``event``: what happened to which node, and that
node's variables. ``docs/traces.md`` says where the form comes from. Members go by numbers in decimal,
``"0"`` is nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    RequestVote,
    RequestVoteResponse,
)
from raftdb.raft.types import MemberID

NOBODY = "0"
"""Who a vote is for that was not given; no member has this number."""

TS_FIRST = 1_000_000_000
"""The first line's ``ts``. etcd's script sorts lines by it, as text, so all have as many digits; and
TLC's integers have 31 bits."""

FOLLOWER, CANDIDATE, LEADER = "StateFollower", "StateCandidate", "StateLeader"

REQUESTS = {
    "MsgApp": "AppendEntriesRequest",
    "MsgHeartbeat": "AppendEntriesRequest",
    "MsgSnap": "AppendEntriesRequest",
    "MsgVote": "RequestVoteRequest",
}
RESPONSES = {
    "MsgAppResp": "AppendEntriesResponse",
    "MsgHeartbeatResp": "AppendEntriesResponse",
    "MsgVoteResp": "RequestVoteResponse",
}
KINDS = REQUESTS | RESPONSES
"""Each type of message, and what its events are called after Send and Receive."""


class TraceState(msgspec.Struct):
    """A node's hard state."""

    term: int
    vote: str
    commit: int


class TraceMessage(msgspec.Struct):
    """A message; ``type`` is one of :data:`KINDS`."""

    type: str
    term: int
    sender: str = msgspec.field(name="from")
    receiver: str = msgspec.field(name="to")
    entries: int = 0
    log_term: int = msgspec.field(name="logTerm", default=0)
    index: int = 0
    commit: int = 0
    vote: str = NOBODY
    reject: bool = False
    reject_hint: int = msgspec.field(name="rejectHint", default=0)


class SingleChange(msgspec.Struct):
    """A member, and AddNewServer, AddLearner or RemoveServer."""

    nid: str
    action: str


class TraceChange(msgspec.Struct, omit_defaults=True):
    """A change that was proposed, or the voters after one that was applied."""

    changes: tuple[SingleChange, ...] = ()
    newconf: tuple[str, ...] = ()


class Properties(msgspec.Struct, omit_defaults=True):
    """What only some events have."""

    cc: TraceChange | None = None


class TraceEvent(msgspec.Struct, omit_defaults=True):
    """What happened, to whom, and that node's variables: before a receipt, after everything else.

    :param log: the last index
    :param conf: the voters, and those of the outgoing configuration
    """

    name: str
    nid: str
    state: TraceState
    role: str
    log: int
    conf: tuple[tuple[str, ...], tuple[str, ...]]
    msg: TraceMessage | None = None
    prop: Properties | None = None


class _Line(msgspec.Struct):
    ts: int
    tag: str
    event: TraceEvent


class _LevelLine(_Line, tag="trace", tag_field="level"):
    """With the field before ``ts`` that makes it the third, as etcd's script expects."""


class _Tagged(msgspec.Struct):
    tag: str = ""
    event: msgspec.Raw = msgspec.Raw(b"{}")


def encode(events: Iterable[TraceEvent]) -> Iterator[bytes]:
    """Return the lines of a file."""
    encoder = msgspec.json.Encoder()
    for number, event in enumerate(events):
        yield encoder.encode(_LevelLine(TS_FIRST + number, "trace", event)) + b"\n"


def decode(lines: Iterable[bytes]) -> list[TraceEvent]:
    """Return the events of a file; lines that are no trace are passed over.

    :raises ValueError: naming the line that is none of this form
    """
    outer = msgspec.json.Decoder(_Tagged)
    inner = msgspec.json.Decoder(TraceEvent)
    events = []
    for number, line in enumerate(lines, 1):
        try:
            tagged = outer.decode(line)
            if tagged.tag == "trace":
                events.append(inner.decode(tagged.event))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"line {number}: {error}") from error
    return events


def in_trace(message: Message, number: Callable[[MemberID], str]) -> TraceMessage | None:
    """Return how the trace tells a message, None for one that the specification does not know.

    :param number: says how a member is called
    """
    told = TraceMessage("", message.term, number(message.sender), number(message.receiver))
    match message:
        case AppendEntries(previous=previous, entries=entries):
            told.type = "MsgApp"
            told.index, told.log_term, told.entries = previous.index, previous.term, len(entries)
            # Nobody commits more than that by it, and etcd's leader says no more.
            told.commit = min(message.commit, previous.index + len(entries))
        case Heartbeat():
            told.type, told.commit = "MsgHeartbeat", message.commit
        case InstallSnapshot():
            told.type, told.entries = "MsgSnap", message.snapshot.last.index
        case AppendEntriesResponse():
            told.type, told.index = "MsgAppResp", message.index
            # Acknowledging nothing is how a lower term is answered here; there it is a rejection.
            told.reject = message.rejected or message.index == 0
            told.reject_hint, told.log_term = message.hint.index, message.hint.term
        case HeartbeatResponse():
            told.type = "MsgHeartbeatResp"
        case RequestVote(last=last):
            told.type, told.index, told.log_term = "MsgVote", last.index, last.term
        case RequestVoteResponse():
            told.type, told.reject = "MsgVoteResp", not message.granted
        case _:
            return None
    return told
