"""Histories of a bare cluster told in a few words, and what became of them: golden scenarios.

A scenario is a text. Lines that begin with ``>`` are inputs, one word and its arguments; what the
cluster did is written beneath each, indented, unless the line begins with ``>>``. All else is
commentary and stays as it is. ``expect`` states what must hold whatever the rest of the text says::

    > cluster abc
    >> elect a
    > propose a x
    > deliver
      a->b AppendEntries term=1 previous=1.1 entries=1.2[x] commit=1 match=1
      ...
    > expect values c x

:data:`VOCABULARY` lists the words. Who drives the nodes is :mod:`raftdb.simulation.cores.network`.
"""

from __future__ import annotations

from collections.abc import Callable

from raftdb.errors import RaftDBError
from raftdb.raft.messages import Message
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    Entry,
    HardState,
    MemberID,
    Role,
    Transition,
)
from raftdb.simulation.cores.narrated_network import (
    NarratedNetwork,
    configuration,
    entry_text,
    standing,
)
from raftdb.simulation.cores.network import Network, member

KINDS = {
    "+": ConfChangeKind.ADD_VOTER,
    "~": ConfChangeKind.ADD_LEARNER,
    "-": ConfChangeKind.REMOVE,
}
TRANSITIONS = {"joint": Transition.JOINT_IMPLICIT, "explicit": Transition.JOINT_EXPLICIT}


class Scenario:
    """One history under way."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._network: NarratedNetwork | None = None
        self._held: list[Message] = []

    def play(self, text: str) -> str:
        """Return ``text`` with what happens written beneath each input anew.

        :raises AssertionError: naming the line, where an expectation does not hold or an invariant
            of Raft is broken
        """
        lines: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("  "):
                continue
            lines.append(line)
            if line.startswith(">"):
                try:
                    told = self._do(line.lstrip(">"))
                except (AssertionError, LookupError, TypeError, ValueError) as error:
                    raise AssertionError(f"line {number}, {line}: {error!r}") from error
                if not line.startswith(">>"):
                    lines.extend(f"  {event}" for event in told)
        return "\n".join(lines) + "\n"

    def _do(self, line: str) -> list[str]:
        word, *arguments = line.split()
        self._told.clear()
        try:
            VOCABULARY[word](self, *arguments)
        except RaftDBError as error:
            self._told.append(f"refused: {type(error).__name__}: {error}")
        if self._network is not None:
            self._network.pump_all()
        return list(self._told)

    @property
    def network(self) -> NarratedNetwork:
        """The cluster; the first word makes it."""
        assert self._network is not None, "a scenario begins with cluster"
        return self._network

    # -- the cluster --

    def cluster(self, voters: str, *options: str) -> None:
        """``cluster VOTERS [learners=L] [strangers=S] [OPTION=NUMBER…]``: start it, logs empty."""
        named = dict(option.split("=") for option in options)
        learners, strangers = named.pop("learners", ""), named.pop("strangers", "")
        config = {name: int(value) for name, value in named.items()}
        self._network = NarratedNetwork(
            voters, self._told.append, learners=learners, strangers=strangers, **config
        )

    def log(self, name: str, now: str, *terms: str) -> None:
        """``log NODE NOW TERM…``: start it in term NOW with a durable log of TERMs, none committed."""
        entries = tuple(
            Entry(int(term), index, f"{term}.{index}".encode())
            for index, term in enumerate(terms, 1)
        )
        self.network.crash(name)
        storage = MemoryStorage(
            hard_state=HardState(int(now)), conf_state=self.network.conf_state, entries=entries
        )
        self.network.start(name, storage)

    def restart(self, *names: str) -> None:
        """``restart NODE…``: kill it and start it again on what is durable."""
        for name in names:
            self.network.restart(name)

    def crash(self, name: str) -> None:
        """``crash NODE``: kill it; ``start`` brings it back."""
        self.network.crashed[name] = self.network.crash(name)

    def start(self, name: str) -> None:
        """``start NODE``: start a crashed node on what is durable."""
        self.network.start(name, self.network.crashed.pop(name))

    def rot(self, name: str, count: str) -> None:
        """``rot NODE N``: a crashed node's disk forgets the last N entries, commit index included."""
        storage = self.network.crashed[name]
        hard_state, conf_state = storage.initial_state()
        last = storage.last_index() - int(count)
        kept = storage.entries(storage.first_index(), last + 1, 2**60)
        commit = min(hard_state.commit, last)
        self.network.crashed[name] = MemoryStorage(
            hard_state=HardState(hard_state.term, hard_state.vote, commit),
            conf_state=conf_state,
            entries=kept,
        )

    # -- links and disks --

    def cut(self, sender: str, receiver: str) -> None:
        """``cut A B``: lose everything from A to B, not the other way round."""
        self.network.cut(sender, receiver)

    def isolate(self, *names: str) -> None:
        """``isolate NODE…``: cut each off from all others, both ways."""
        for name in names:
            self.network.isolate(name)

    def lose(self, kind: str, receiver: str = "") -> None:
        """``lose MESSAGE [NODE]``: lose all messages of this class (to this node) until ``heal``."""
        self.network.losing = lambda message: (
            type(message).__name__ == kind and receiver in {"", message.receiver.id}
        )

    def heal(self) -> None:
        """``heal``: repair all links."""
        self.network.heal()

    def drop(self) -> None:
        """``drop``: lose all that is in flight."""
        self.network.in_flight.clear()

    def hold(self, *links: str) -> None:
        """``hold AB…``: what is in flight from A to B now takes a long way; see ``release``."""
        for link in links:
            chosen = self.network.on_link(link)
            self.network.in_flight = [m for m in self.network.in_flight if m not in chosen]
            self._held.extend(chosen)

    def release(self) -> None:
        """``release``: what was held arrives now."""
        for message in self._held:
            self.network.carry(message)
        self._held.clear()

    def repeat(self, *links: str) -> None:
        """``repeat AB…``: what is in flight from A to B now will arrive twice."""
        for link in links:
            self.network.in_flight.extend(self.network.on_link(link))

    def hang(self, name: str) -> None:
        """``hang NODE``: its disk does not answer."""
        self.network.peer(name).saves_hang = True

    def fill(self, name: str) -> None:
        """``fill NODE``: its disk is full; it takes no entries, and its core knows."""
        self.network.peer(name).full = True
        self.network[name].report_full(True)

    def resume(self, name: str) -> None:
        """``resume NODE``: its disk answers and has room, its state machine applies again."""
        self.network.peer(name).saves_hang = self.network.peer(name).full = False
        self.network[name].report_full(False)
        self.network.peer(name).applies = True

    def stall(self, name: str) -> None:
        """``stall NODE``: its state machine does not apply."""
        self.network.peer(name).applies = False

    def snapshot(self, name: str, keep: str = "0") -> None:
        """``snapshot NODE [KEEP]``: take a snapshot, drop the log but the last KEEP entries."""
        metadata = self.network.snapshot(name, keep=int(keep))
        self._told.append(f"{name}: snapshot at {entry_text(metadata.last)}")

    # -- inputs --

    def deliver(self, *links: str) -> None:
        """``deliver``: until all is at rest. ``deliver AB…``: what is in flight from A to B now."""
        if not links:
            self.network.deliver()
        for link in links:
            for message in self.network.on_link(link):
                self.network.in_flight.remove(message)
                self.network.carry(message)

    def tick(self, name: str, count: str = "1", elapsed: str = "1") -> None:
        """``tick NODE [N [ELAPSED]]``: N calls, each of so many ticks; nothing is delivered."""
        self.network.tick(name, count=int(count), elapsed=int(elapsed))

    def run(self, ticks: str) -> None:
        """``run N``: N ticks of everybody, all delivered after each."""
        self.network.run(int(ticks))

    def settle(self) -> None:
        """``settle``: the quarantine after a start passes."""
        self.network.settle()

    def campaign(self, *names: str) -> None:
        """``campaign NODE…``: each tries to become leader; nothing is delivered."""
        for name in names:
            self.network[name].campaign()

    def elect(self, name: str) -> None:
        """``elect NODE``: nobody holds a lease, it campaigns, all is delivered, and it leads."""
        self.network.elect(name)

    def propose(self, name: str, *values: str) -> None:
        """``propose NODE VALUE…``: at this node; nothing is delivered."""
        for value in values:
            self.network[name].propose(value.encode())

    def change(self, name: str, *words: str) -> None:
        """``change NODE [+VOTER…] [~LEARNER…] [-REMOVED…] [joint|explicit|leave]``."""
        singles = tuple(
            ConfChangeSingle(KINDS[word[0]], _incarnation(word[1:]))
            for word in words
            if word[0] in KINDS
        )
        transitions = [TRANSITIONS[word] for word in words if word in TRANSITIONS]
        self.network[name].propose_conf_change(
            ConfChange(singles, transitions[0] if transitions else Transition.AUTO)
        )

    def read(self, name: str) -> None:
        """``read NODE``: ask for a linearizable read."""
        self.network[name].read_index()

    def transfer(self, name: str, to: str) -> None:
        """``transfer NODE TO``: hand leadership over."""
        self.network[name].transfer_leadership(member(to))

    def forget(self, name: str) -> None:
        """``forget NODE``: it has its own evidence that the leader is dead."""
        self.network[name].forget_leader()

    def unreachable(self, name: str, peer: str) -> None:
        """``unreachable NODE PEER``: NODE hears that messages to PEER were dropped."""
        self.network[name].report_unreachable(member(peer))

    # -- looking --

    def status(self, *names: str) -> None:
        """``status [NODE…]``: tell where each stands."""
        for known, peer in self.network.peers.items():
            if not names or known.id in names:
                self._told.extend(standing(peer))

    def expect(self, what: str, *words: str) -> None:
        """``expect FACT …``: one of :data:`FACTS` holds."""
        found, expected = FACTS[what](self.network, words)
        assert found == expected, f"expected {expected}, found {found}"


def _incarnation(word: str) -> MemberID:
    """Read ``a`` as the first incarnation of a, ``a#2`` as the second."""
    name, _, incarnation = word.partition("#")
    return MemberID(name, int(incarnation or 1))


Facts = Callable[[Network, tuple[str, ...]], tuple[object, object]]

FACTS: dict[str, Facts] = {
    # leader [NODE…]: exactly these think that they lead
    "leader": lambda network, words: (network.leaders, list(words)),
    # follows NODE LEADER, or NODE alone: it knows of no leader
    "follows": lambda network, words: (
        network[words[0]].leader,
        member(words[1]) if words[1:] else None,
    ),
    # role NODE ROLE
    "role": lambda network, words: (network[words[0]].role, Role(words[1])),
    # term NODE TERM
    "term": lambda network, words: (network[words[0]].term, int(words[1])),
    # commit NODE INDEX
    "commit": lambda network, words: (network[words[0]].commit, int(words[1])),
    # applied NODE INDEX
    "applied": lambda network, words: (network[words[0]].applied, int(words[1])),
    # values NODE VALUE…: what its state machine was given, in order
    "values": lambda network, words: (
        [value.decode() for value in network.values(words[0])],
        list(words[1:]),
    ),
    # log NODE TERM…: the terms along its log
    "log": lambda network, words: (_terms(network, words[0]), [int(term) for term in words[1:]]),
    # config NODE TEXT: as ``status`` writes it
    "config": lambda network, words: (
        configuration(network[words[0]].conf_state),
        " ".join(words[1:]),
    ),
    # reads NODE INDEX…: of the reads it had confirmed
    "reads": lambda network, words: (
        [read.index for read in network.peer(words[0]).reads],
        [int(index) for index in words[1:]],
    ),
    # stopped NODE…: exactly these are down
    "stopped": lambda network, words: (_stopped(network), sorted(words)),
    # sent MESSAGE COUNT: so many were sent since the scenario began
    "sent": lambda network, words: (
        sum(type(message).__name__ == words[0] for message in network.log),
        int(words[1]),
    ),
}


def _terms(network: Network, name: str) -> list[int]:
    log = network[name].state.log
    return [log.term(index) for index in range(log.first_index, log.last_index + 1)]


def _stopped(network: Network) -> list[str]:
    assert isinstance(network, NarratedNetwork)
    return sorted(network.crashed)


VOCABULARY: dict[str, Callable[..., None]] = {
    word.__name__: word
    for word in (
        *(Scenario.cluster, Scenario.log, Scenario.restart, Scenario.crash, Scenario.start),
        *(Scenario.rot, Scenario.cut, Scenario.isolate, Scenario.lose, Scenario.heal),
        *(Scenario.hold, Scenario.release, Scenario.repeat, Scenario.drop, Scenario.hang),
        *(Scenario.fill, Scenario.resume, Scenario.stall, Scenario.snapshot),
        *(Scenario.deliver, Scenario.tick, Scenario.run, Scenario.settle, Scenario.campaign),
        *(Scenario.elect, Scenario.propose, Scenario.change, Scenario.read, Scenario.transfer),
        *(Scenario.forget, Scenario.unreachable, Scenario.status, Scenario.expect),
    )
}
"""Every word of a scenario; its docstring says what it does."""
