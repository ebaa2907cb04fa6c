"""A network of bare Raft cores in memory, without Twisted, clock or disk, for tests.

It drives :class:`~raftdb.raft.node.RawNode` as a Replica does, but a step at a time and in the open:
a test says who ticks, which links are cut, whose saves hang, and looks at every message. Everything
is checked against Figure 3 after every input.

    network = Network(3)
    network.elect("a")
    network.propose("a", b"x")
    assert network.values("c") == [b"x"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TypedDict

from raftdb.errors import RemoteProtocolError
from raftdb.raft.config import Config
from raftdb.raft.messages import AppendEntries, InstallSnapshot, Message
from raftdb.raft.node import RawNode
from raftdb.raft.ready import Ready
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import (
    ConfChange,
    ConfState,
    Entry,
    EntryID,
    HardState,
    MemberID,
    ReadState,
    Role,
    SnapshotMetadata,
)
from raftdb.simulation.checks.safety import Safety

ROUNDS_MAX = 10_000
"""Deliveries after which a network that does not come to rest is called a livelock."""


class NetworkOptions(TypedDict, total=False):
    """What tests like to set of :class:`~raftdb.raft.config.Config`, for those who check types."""

    election_ticks: int
    heartbeat_ticks: int
    pre_vote: bool
    check_quorum: bool
    append_bytes_max: int
    inflight_messages_max: int
    inflight_bytes_max: int
    uncommitted_bytes_max: int
    apply_bytes_max: int
    reads_max: int


def member(name: str) -> MemberID:
    """Return the first incarnation of ``name``."""
    return MemberID(name, 1)


class Peer:
    """One node with its durable storage and a state machine that just remembers.

    :param storage: survives a crash; the rest does not
    """

    def __init__(self, config: Config, storage: MemoryStorage) -> None:
        self.config = config
        self.storage = storage
        self.node = RawNode(config, storage)
        self.machine: list[Entry] = []
        """Every entry applied since the newest snapshot that was restored."""
        self.restored_to = SnapshotMetadata()
        self.reads: list[ReadState] = []
        self.saves_hang = False
        self.full = False
        self.saving: Ready | None = None
        self.applies = True


class Network:
    """Some peers and the messages between them.

    :param names: how many peers, or their names
    :param learners: further peers that begin as learners
    :param strangers: further peers that know the first configuration but are not in it; one that
        knew none could only begin with a snapshot
    :param seed: of every random choice
    :param options: passed on to every :class:`~raftdb.raft.config.Config`
    """

    def __init__(
        self,
        names: int | Iterable[str] = 3,
        *,
        learners: Iterable[str] = (),
        strangers: Iterable[str] = (),
        seed: int = 0,
        **options: object,
    ) -> None:
        voters = "abcdefghi"[:names] if isinstance(names, int) else tuple(names)
        self.conf_state = ConfState(
            voters=tuple(sorted(map(member, voters))), learners=tuple(sorted(map(member, learners)))
        )
        self.random = Random(seed)
        self.options = options
        self.safety = Safety()
        self.peers: dict[MemberID, Peer] = {}
        self.in_flight: list[Message] = []
        self.log: list[Message] = []
        """Every message that left a node, oldest first."""
        self.refused: list[RemoteProtocolError] = []
        self._cut: dict[tuple[MemberID, MemberID], None] = {}
        self.losing: Callable[[Message], bool] = lambda _: False
        for name in (*voters, *learners, *strangers):
            self.start(name, MemoryStorage(conf_state=self.conf_state))

    # -- nodes --

    def start(self, name: str, storage: MemoryStorage) -> Peer:
        """Start a node on what is durable."""
        me = member(name)
        boot = self.random.getrandbits(64)
        rng = Random(self.random.getrandbits(64))
        config = Config(id=me, rng=rng, boot=boot, **self.options)  # type: ignore[arg-type]  # a test's own options
        self.safety.restarted(me)
        peer = self.peers[me] = Peer(config, storage)
        return peer

    def __getitem__(self, name: str) -> RawNode:
        return self.peers[member(name)].node

    def peer(self, name: str) -> Peer:
        """Return a node with its surroundings."""
        return self.peers[member(name)]

    def crash(self, name: str) -> MemoryStorage:
        """Stop a node at once, unsaved Readies and its messages lost; return what was durable."""
        peer = self.peers.pop(member(name))
        return peer.storage

    def restart(self, name: str) -> RawNode:
        """Crash a node and start it again on what was durable."""
        return self.start(name, self.crash(name)).node

    def load(
        self,
        name: str,
        terms: Iterable[int],
        *,
        term: int | None = None,
        vote: str | None = None,
        commit: int = 0,
    ) -> RawNode:
        """Start a node anew on a log of the given terms, out of quarantine.

        :param terms: of the entries from index 1 on; an entry's data tells its term and index
        :param term: the durable term; the last entry's without it
        """
        entries = [
            Entry(term=entry_term, index=index, data=b"%d.%d" % (entry_term, index))
            for index, entry_term in enumerate(terms, 1)
        ]
        current = term if term is not None else entries[-1].term if entries else 0
        hard_state = HardState(current, member(vote) if vote else None, commit)
        storage = MemoryStorage(hard_state=hard_state, conf_state=self.conf_state, entries=entries)
        peer = self.start(name, storage)
        peer.node.state.uptime = peer.config.election_ticks
        return peer.node

    def terms(self, name: str) -> list[int]:
        """Return the terms along a node's log, as far as it is kept."""
        log = self[name].state.log
        return [log.term(index) for index in range(log.first_index, log.last_index + 1)]

    def values(self, name: str) -> list[bytes]:
        """Return the data a node has applied, without the entries that only open a term."""
        return [entry.data for entry in self.peer(name).machine if entry.data]

    @property
    def leaders(self) -> list[str]:
        """Who thinks it leads, by name."""
        return [known.id for known, peer in self.peers.items() if peer.node.role is Role.LEADER]

    # -- links --

    def cut(self, sender: str, receiver: str) -> None:
        """Lose everything from one to the other from now on, not the other way round."""
        self._cut[member(sender), member(receiver)] = None

    def isolate(self, name: str) -> None:
        """Cut a node off, both ways."""
        for other in tuple(self.peers):
            if other.id != name:
                self.cut(name, other.id)
                self.cut(other.id, name)

    def heal(self) -> None:
        """Repair every link."""
        self._cut.clear()
        self.losing = lambda _: False

    def lost(self, message: Message) -> bool:
        """Whether a message does not arrive."""
        link = (message.sender, message.receiver)
        return link in self._cut or message.receiver not in self.peers or self.losing(message)

    # -- inputs --

    def tick(self, *names: str, count: int = 1, elapsed: int = 1) -> None:
        """Let time pass for some nodes, all without names, one tick after the other; no delivery."""
        chosen = [member(name) for name in names] or list(self.peers)
        for _ in range(count):
            for who in chosen:
                if who in self.peers:
                    self.peers[who].node.tick(elapsed)
                    self.pump(self.peers[who])

    def run(self, ticks: int = 1) -> None:
        """Let time pass for everybody, and deliver everything after each tick."""
        for _ in range(ticks):
            self.tick()
            self.deliver()

    def settle(self) -> None:
        """Let every node's quarantine after its start pass, without anybody campaigning."""
        for peer in self.peers.values():
            peer.node.state.uptime = peer.config.election_ticks

    def campaign(self, name: str) -> None:
        """Let a node campaign and deliver everything."""
        self[name].campaign()
        self.deliver()

    def elect(self, name: str) -> RawNode:
        """Make a node the leader: nobody else holds a lease, then it campaigns."""
        self.settle()
        for peer in self.peers.values():
            peer.node.forget_leader()
        self.campaign(name)
        assert self[name].role is Role.LEADER, f"{name} was not elected"
        return self[name]

    def propose(self, name: str, data: bytes) -> EntryID:
        """Propose at a node and deliver everything."""
        entry_id = self[name].propose(data)
        self.deliver()
        return entry_id

    def change(self, name: str, change: ConfChange) -> EntryID:
        """Propose a configuration change at a node and deliver everything."""
        entry_id = self[name].propose_conf_change(change)
        self.deliver()
        return entry_id

    def step(self, message: Message) -> None:
        """Hand a message to its receiver now; a refused one is noted in ``refused``."""
        peer = self.peers[message.receiver]
        if peer.full and isinstance(message, AppendEntries) and message.entries:
            peer.node.report_full(True)
            return  # as a Replica does without log space
        try:
            peer.node.step(message)
        except RemoteProtocolError as error:
            self.refused.append(error)
        self.pump(peer)

    def snapshot(self, name: str, *, keep: int = 0) -> SnapshotMetadata:
        """Take a snapshot of a node's applied state and drop its log but the last ``keep``."""
        peer = self.peer(name)
        last = EntryID(peer.storage.term(peer.node.applied), peer.node.applied)
        metadata = SnapshotMetadata(last, peer.node.conf_state)
        peer.storage.create_snapshot(metadata)
        peer.storage.compact(last.index - keep)
        return metadata

    def ask(self, message: Message) -> list[Message]:
        """Hand a message of one's own making to its receiver; return all that it sends then.

        What it sends is not delivered to anybody.
        """
        before = len(self.log)
        self.step(message)
        return self.take_back(before)

    def take_back(self, before: int = 0) -> list[Message]:
        """Return what was sent since the log was ``before`` long, and deliver none of it."""
        sent = self.log[before:]
        self.in_flight = [message for message in self.in_flight if message not in sent]
        return sent

    # -- what leaves --

    def pump(self, peer: Peer) -> None:
        """Take everything out of a node that it has, saving and applying as far as allowed."""
        node = peer.node
        self.safety.check(node)
        while True:
            if node.has_messages():
                self._post(node.take_messages())
            elif peer.applies and node.has_applicable():
                self.apply(peer)
            elif peer.saving is None and node.has_ready():
                peer.saving = node.ready()
            elif peer.saving is not None and not (peer.saves_hang and peer.saving.must_save):
                self.save(peer)
            else:
                return
            self.safety.check(node)

    def save(self, peer: Peer) -> None:
        """Make the outstanding Ready durable, send what waited for it, advance."""
        ready, peer.saving = peer.saving, None
        assert ready is not None
        if ready.snapshot is not None:
            peer.storage.apply_snapshot(ready.snapshot)
        peer.storage.append(ready.entries)
        if ready.hard_state is not None:
            peer.storage.set_hard_state(ready.hard_state)
        self._post(ready.persisted_messages)
        peer.node.advance(ready)

    def apply(self, peer: Peer) -> None:
        """Apply one page."""
        page = peer.node.take_applicable()
        peer.reads.extend(page.reads)
        if page.snapshot is not None:
            peer.machine.clear()
            peer.restored_to = page.snapshot
            peer.node.restored(page.snapshot)
        for entry in page.entries:
            self.safety.applied(entry)
            peer.machine.append(entry)
            if entry.change is not None:
                peer.node.apply_conf_change(entry.change)

    def _post(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.log.append(message)
            self.in_flight.append(message)

    def deliver(self) -> None:
        """Deliver messages in the order they were sent until the network is at rest."""
        for peer in tuple(self.peers.values()):
            self.pump(peer)
        for _ in range(ROUNDS_MAX):
            if not self.in_flight:
                return
            self.carry(self.in_flight.pop(0))
        raise AssertionError("the network does not come to rest")

    def carry(self, message: Message) -> None:
        """Deliver one message or lose it; a snapshot's sender hears how that went."""
        lost = self.lost(message)
        if not lost:
            self.step(message)
        if isinstance(message, InstallSnapshot) and message.sender in self.peers:
            sender = self.peers[message.sender]
            sender.node.report_snapshot(message.receiver, not lost)
            self.pump(sender)
