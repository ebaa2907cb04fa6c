"""A network of bare cores that tells what happens: every message, transition and applied entry.

Only how things are worded is decided here; they happen in :mod:`raftdb.simulation.cores.network`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from raftdb.errors import DataLost
from raftdb.raft.messages import Message
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import (
    ZERO,
    ConfChange,
    ConfChangeKind,
    ConfState,
    Entry,
    EntryID,
    MemberID,
    ReadID,
    Role,
    SnapshotMetadata,
    Transition,
)
from raftdb.simulation.cores.network import Network, Peer

SIGNS = {ConfChangeKind.ADD_VOTER: "+", ConfChangeKind.ADD_LEARNER: "~", ConfChangeKind.REMOVE: "-"}

UNSET = (0, (), None, ZERO)


class NarratedNetwork(Network):
    """Tells each event as one line.

    :param voters: their names, one letter each
    :param tell: receives the lines
    """

    def __init__(
        self,
        voters: str,
        tell: Callable[[str], None],
        *,
        learners: str = "",
        strangers: str = "",
        **options: int,
    ) -> None:
        self._tell = tell
        self.crashed: dict[str, MemoryStorage] = {}
        """What is durable on nodes that are down, by name."""
        super().__init__(
            voters, learners=learners, strangers=strangers, trace=self._traced, **options
        )

    def step(self, message: Message) -> None:
        """Hand over a message; a node that finds its data lost is down from then on."""
        self._tell(message_text(message))
        refused = len(self.refused)
        try:
            super().step(message)
        except DataLost as error:
            name = message.receiver.id
            self._tell(f"{name} stops: {error}")
            self.crashed[name] = self.crash(name)
        for refusal in self.refused[refused:]:
            self._tell(f"{message.receiver.id} refuses it: {refusal}")

    def carry(self, message: Message) -> None:
        """Deliver a message or lose it."""
        if self.lost(message):
            self._tell(f"{message_text(message)} LOST")
        super().carry(message)

    def apply(self, peer: Peer) -> None:
        """Apply a page."""
        count, snapshot, reads = len(peer.machine), peer.restored_to, len(peer.reads)
        super().apply(peer)
        name = peer.node.id.id
        if peer.restored_to != snapshot:
            count = 0
            self._tell(f"{name}: restored {entry_text(peer.restored_to.last)}")
        if peer.machine[count:]:
            applied = " ".join(entry_text(entry) for entry in peer.machine[count:])
            self._tell(f"{name}: applied {applied}")
        for read in peer.reads[reads:]:
            self._tell(f"{name}: read {read.id.counter} confirmed at {read.index}")

    def on_link(self, link: str) -> list[Message]:
        """Return what is in flight on the link ``AB``, from A to B, oldest first."""
        return [m for m in self.in_flight if m.sender.id + m.receiver.id == link]

    def pump_all(self) -> None:
        """Take out of every node what it has."""
        for peer in tuple(self.peers.values()):
            self.pump(peer)

    def _traced(self, event: str, fields: dict[str, object]) -> None:
        details = [f"{name}={value_text(value)}" for name, value in fields.items() if name != "id"]
        self._tell(" ".join((f"{value_text(fields['id'])}: {event}", *details)))


def message_text(message: Message) -> str:
    """Return one line; what is 0, empty or not set is left out."""
    fields = [
        f"{field.name}={value_text(value)}"
        for field in msgspec.structs.fields(message)
        if field.name not in {"sender", "receiver"}
        if (value := getattr(message, field.name)) not in UNSET or field.name == "granted"
    ]
    names = f"{message.sender.id}->{message.receiver.id}"
    return " ".join((names, type(message).__name__, *fields))


def value_text(value: object) -> str:
    """Return the shortest text for a value of a message or a transition."""
    match value:
        case MemberID():
            return value.id if value.incarnation == 1 else f"{value.id}#{value.incarnation}"
        case EntryID() | Entry():
            return entry_text(value)
        case ConfState():
            return configuration(value)
        case SnapshotMetadata():
            return f"{entry_text(value.last)}:{configuration(value.conf_state)}"
        case ReadID():
            return f"{value.requester.id}/{value.counter}"
        case Role():
            return value.value
        case tuple():
            return ",".join(map(value_text, value))
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def entry_text(entry: EntryID | Entry) -> str:
    """Return ``term.index``, with the data or the change in brackets."""
    name = f"{entry.term}.{entry.index}"
    if isinstance(entry, EntryID):
        return name
    if entry.change is not None:
        return f"{name}[{_change_text(entry.change)}]"
    return f"{name}[{entry.data.decode()}]" if entry.data else name


def _change_text(change: ConfChange) -> str:
    singles = [f"{SIGNS[kind]}{value_text(who)}" for kind, who in change.changes] or ["leave"]
    how = {Transition.JOINT_IMPLICIT: ["joint"], Transition.JOINT_EXPLICIT: ["explicit"]}
    return " ".join(singles + how.get(change.transition, []))


def configuration(conf_state: ConfState) -> str:
    """Return ``voters[&outgoing][~learners][>staged][ auto]``, names run together."""
    parts = [value_text(conf_state.voters)]
    for sign, group in (
        ("&", conf_state.voters_outgoing),
        ("~", conf_state.learners),
        (">", conf_state.learners_next),
    ):
        if group:
            parts.append(sign + value_text(group))
    if conf_state.auto_leave:
        parts.append("!")
    return "".join(parts)


def standing(peer: Peer) -> list[str]:
    """Return where a node stands, and on a leader how it sees the others."""
    status = peer.node.status()
    state = status.hard_state
    whole = (
        f"{status.id.id}: {status.role.value} term={state.term} vote={value_text(state.vote)}"
        f" leader={value_text(status.leader)} commit={state.commit} applied={status.applied}"
        f" last={entry_text(status.last)} config={configuration(status.conf_state)}"
    )
    lines = [whole]
    for member, seen in status.peers.items():
        active = "" if seen.recent_active else " inactive"
        lines.append(
            f"   {value_text(member)}: {seen.state} match={seen.match} next={seen.next}{active}"
        )
    return lines
