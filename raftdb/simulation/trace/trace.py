"""A trace that is being written: its lines in order, the nodes' variables, the messages under way.

A line can still change while the run goes on: a message that the network delivers twice was *sent*
twice in the specification's eyes, and what a snapshot stands for is known when it is received. What
a call of the core means is :mod:`raftdb.simulation.trace.traced`'s question.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from raftdb.raft import confchange
from raftdb.raft.state import State
from raftdb.raft.types import ConfState, MemberID
from raftdb.simulation.trace.format import (
    FOLLOWER,
    KINDS,
    NOBODY,
    REQUESTS,
    Properties,
    TraceChange,
    TraceEvent,
    TraceMessage,
    TraceState,
)

Key: TypeAlias = tuple[object, ...]


class TraceError(AssertionError):
    """What happened cannot be told in the specification's words."""


@dataclass(slots=True)
class View:
    """One node's variables as they were told last; unlike the node they survive its death.

    :ivar terms: of its whole log: the specification's logs are never compacted
    :ivar pending: the change that the specification thinks this leader is busy with, 0 for none
    """

    nid: str
    term: int = 0
    vote: str = NOBODY
    commit: int = 0
    role: str = FOLLOWER
    terms: list[int] = field(default_factory=list)
    voters: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    pending: int = 0

    @property
    def last(self) -> int:
        """The last index of the log."""
        return len(self.terms)


@dataclass(slots=True)
class Written:
    """An event, and how many lines it will take."""

    event: TraceEvent
    copies: int = 1


@dataclass(slots=True)
class Sent:
    """A message under way.

    :ivar terms: of the log that a snapshot stands for
    :ivar match: up to where the sender knew the receiver's log to be its own
    """

    message: TraceMessage
    written: Written
    terms: list[int] = field(default_factory=list)
    match: int = 0


class Trace:
    """Everything told so far."""

    def __init__(self) -> None:
        self._written: list[Written] = []
        self._numbers: dict[MemberID, str] = {}
        self._views: dict[MemberID, View] = {}
        self._pending: dict[str, list[tuple[Key, Sent]]] = {}
        self._waiting: dict[Key, deque[Sent]] = {}
        self._latest: dict[Key, Sent] = {}

    def __len__(self) -> int:
        """Return how many lines there are."""
        return sum(written.copies for written in self._written)

    def events(self) -> Iterator[TraceEvent]:
        """Return all events in order."""
        for written in self._written:
            for _ in range(written.copies):
                yield written.event

    # -- members --------------------------------------------------------------------------------

    def number(self, member: MemberID) -> str:
        """Return how the trace calls a member."""
        return self._numbers.setdefault(member, str(len(self._numbers) + 1))

    def knows(self, member: MemberID, voters: tuple[str, ...]) -> bool:
        """Say whether a member was told to have these voters in force."""
        view = self._views.get(member)
        return view is not None and view.voters == voters

    def introduce(self, member: MemberID) -> None:
        """Begin the story of a member that has not run yet: the specification must know it."""
        if member not in self._views:
            view = self._views[member] = View(self.number(member))
            self.tell(view, "InitState")

    def begins(self, state: State) -> View:
        """Tell that a node starts: for the first time, or with all that it had when it died."""
        view = self._views.get(state.id)
        if view is None:
            view = self._views[state.id] = self._founded(state)
        view.role, view.pending = FOLLOWER, 0
        self.tell(view, "InitState")
        return view

    def _founded(self, state: State) -> View:
        """Return a view with the founding entries, if the node has them; they count as applied."""
        conf_state, terms = ConfState(), []
        for entry in state.log.entries(1, state.log.last_index + 1, 1 << 60):
            terms.append(entry.term)
            if entry.change is not None:
                conf_state = confchange.apply(conf_state, entry.change)
        voters = self.numbers(conf_state.voters)
        return View(
            self.number(state.id),
            term=state.term,
            commit=state.log.committed,
            terms=terms,
            voters=voters,
        )

    def numbers(self, members: Iterable[MemberID]) -> tuple[str, ...]:
        """Return how the trace calls some members."""
        return tuple(self.number(member) for member in members)

    # -- events ---------------------------------------------------------------------------------

    def tell(
        self,
        view: View,
        name: str,
        message: TraceMessage | None = None,
        change: TraceChange | None = None,
    ) -> Written:
        """Write an event with a node's variables as they are in its view."""
        event = TraceEvent(
            name,
            view.nid,
            TraceState(view.term, view.vote, view.commit),
            view.role,
            view.last,
            (view.voters, ()),
            message,
            None if change is None else Properties(change),
        )
        written = Written(event)
        self._written.append(written)
        return written

    def sent(self, view: View, message: TraceMessage, *, match: int = 0) -> None:
        """Tell that a message leaves, or will.

        :param match: up to where the sender knows the receiver's log to be its own
        """
        key = _key(message)
        terms = view.terms[: message.entries] if message.type == "MsgSnap" else []
        written = self.tell(view, f"Send{KINDS[message.type]}", message)
        sent = Sent(message, written, terms, match)
        self._pending.setdefault(view.nid, []).append((key, sent))

    def ready(self, view: View) -> None:
        """Tell that an output is taken; what was sent until now can be received from now on."""
        self.tell(view, "Ready")
        for key, sent in self._pending.pop(view.nid, ()):
            self._waiting.setdefault(key, deque()).append(sent)
            self._latest[key] = sent

    def can_arrive(self, message: TraceMessage) -> bool:
        """Say whether a receipt can be told: a response that was received already has no second one."""
        key = _key(message)
        return bool(self._waiting.get(key)) or (message.type in REQUESTS and key in self._latest)

    def received(self, view: View, message: TraceMessage) -> Sent:
        """Tell that a message is received.

        :raises TraceError: it was never sent
        """
        key = _key(message)
        waiting = self._waiting.get(key)
        if waiting:
            sent = waiting.popleft()
            if message.type == "MsgSnap":
                _fit(sent, view)
        elif self.can_arrive(message):
            sent = self._latest[key]
            sent.written.copies += 1
        else:
            raise TraceError(f"{message} was never sent")
        self.tell(view, f"Receive{KINDS[message.type]}", sent.message)
        return sent


def _fit(sent: Sent, receiver: View) -> None:
    """Tell a snapshot as an append of the entries that its receiver lacks.

    The specification has an action for snapshots, but lets nobody take one in who has anything
    committed: the answer is the commit index; and no event of a trace can receive an answer to one.
    """
    message = sent.message
    index = min(max(sent.match, receiver.commit), message.entries)
    message.type, message.commit = "MsgApp", message.entries
    message.index, message.log_term = index, sent.terms[index - 1] if index else 0
    message.entries -= index


def _key(message: TraceMessage) -> Key:
    return msgspec.structs.astuple(message)
