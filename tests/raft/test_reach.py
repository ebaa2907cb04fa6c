"""[R6] A leader whose entries reach no quorum, although its heartbeats do, gives way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftdb.raft.messages import AppendEntries, InstallSnapshot, Message, TimeoutNow
from raftdb.raft.progress import Inflights, Progress
from raftdb.raft.transfer import REACH_MIN, REST
from raftdb.raft.types import Role
from raftdb.simulation.cores.network import Network

TICKS = 8
"""Of an election timeout."""

LARGE = b"x" * 2000


def loses_large(*senders: str) -> Callable[[Message], bool]:
    """Lose what is large of all that these nodes send, as a wrong MTU at their hosts does."""

    def losing(message: Message) -> bool:
        if not isinstance(message, AppendEntries) or message.sender.id not in senders:
            return False
        return sum(len(entry.data) for entry in message.entries) > 1000

    return losing


def led(size: int = 3) -> Network:
    """A cluster led by a, which loses what is large; an entry waits."""
    network = Network(size)
    network.elect("a")
    network.losing = loses_large("a")
    network.propose("a", LARGE)
    return network


class TestALeaderWhoseEntriesReachNobody:
    """Heartbeats would keep it in office for ever."""

    @pytest.mark.parametrize("size", [3, 5])
    def test_gives_way_to_who_can_commit(self, size: int) -> None:
        """Within a bounded number of election timeouts."""
        network = led(size)
        network.run((REACH_MIN - 1) * TICKS)
        assert network.leaders == ["a"]
        network.run(3 * TICKS)
        assert len(network.leaders) == 1
        assert network.leaders != ["a"]
        network.propose(network.leaders[0], LARGE)
        network.run(2)
        assert network.values("b") == network.values("c") == [LARGE]

    def test_does_not_win_again_at_once(self) -> None:
        """Its log is the longest, so it would: it leaves the next elections to the others."""
        network = led()
        ordinary = network.losing
        network.losing = lambda m: isinstance(m, TimeoutNow) or ordinary(m)
        network.run((REACH_MIN + 1) * TICKS)
        assert not network.leaders or network.leaders != ["a"]
        network["a"].campaign()
        assert network["a"].role is Role.FOLLOWER
        network.run(REST * TICKS)
        assert network.leaders
        assert network.leaders != ["a"]
        assert network["a"].term <= 3

    def test_leads_again_where_nobody_else_can(self) -> None:
        """Only it has an entry that is committed: after its rest it tries again, more patiently."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: m.receiver.id == "c" and isinstance(m, AppendEntries)
        network.propose("a", b"kept")
        network.crash("b")
        network.losing = loses_large("a")
        network.propose("a", LARGE)
        before = network["a"].term
        network.run(400 * TICKS)
        assert 4 <= network["a"].term - before <= 10, "the pauses grow"
        network.heal()
        network.run(2 * (REST + 2) * TICKS)
        assert network.leaders == ["a"]
        assert network.values("c") == [b"kept", LARGE]

    def test_is_as_patient_as_at_first_once_somebody_has_committed(self) -> None:
        """To give way was right, so an old trouble does not make the next one last longer."""
        network = led()
        network.run((REACH_MIN + 3) * TICKS)
        assert network["a"].state.unreached == 0
        network.losing = lambda _: False
        network.propose(network.leaders[0], b"by somebody else")
        network.run(REST * TICKS)
        network.elect("a")
        network.losing = loses_large("a")
        network.propose("a", LARGE)
        network.run((REACH_MIN + 3) * TICKS)
        assert network.leaders != ["a"]

    def test_does_not_count_who_is_silent(self) -> None:
        """Whoever is dead was reached once, and is of no use now."""
        network = led()
        network.peer("b").full = True
        network["b"].report_full(True)
        network.run(2)
        network.crash("b")
        network.run((REACH_MIN + 3) * TICKS)
        assert network["a"].term > 1 or network.leaders != ["a"]

    def test_of_five_one_that_is_reached_is_not_enough(self) -> None:
        """Small steps of a minority are no reason to stay."""
        network = Network(5)
        network.elect("a")
        lost = loses_large("a")
        network.losing = lambda m: m.receiver.id != "b" and lost(m)
        for number in range((REACH_MIN + 2) * TICKS // 4):
            if network.leaders == ["a"]:
                network.propose("a", LARGE + b"%d" % number)
            network.run(4)
        assert network.leaders
        assert network.leaders != ["a"]


class TestALeaderThatGetsOn:
    """It stays, however slow everything is."""

    def test_stays_on_slow_links(self) -> None:
        """Each append takes five election timeouts, and only every other one comes to c."""
        network = Network(5, append_bytes_max=1, inflight_messages_max=1)
        network.elect("a")
        for name in "de":
            network.isolate(name)
        network.losing = lambda m: isinstance(m, AppendEntries) and bool(m.entries)
        for number in range(REACH_MIN):
            network["a"].propose(b"%d" % number)
        for number in range(2 * REACH_MIN):
            network.run(5 * TICKS)
            network.losing = lambda m, n=number: (  # type: ignore[misc]  # its default is its memory
                isinstance(m, AppendEntries) and bool(m.entries) and m.receiver.id != "bc"[n % 2]
            )
            network.run(2)
            network.losing = lambda m: isinstance(m, AppendEntries) and bool(m.entries)
            assert (network.leaders, network["a"].term) == (["a"], 1)
        assert network.values("a")

    def test_stays_for_its_readers_where_nothing_waits(self) -> None:
        """Who had acknowledged it has died since; the other one confirms reads still."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: m.receiver.id == "c" and loses_large("a")(m)
        network.propose("a", LARGE)
        assert network.values("a") == [LARGE]
        network.crash("b")
        network.run(4 * REACH_MIN * TICKS)
        assert (network.leaders, network["a"].term) == (["a"], 1)

    def test_stays_with_nothing_to_commit(self) -> None:
        """Nobody is hurt by links that nothing large is sent on."""
        network = Network(3)
        network.elect("a")
        network.losing = loses_large("a")
        network.run(4 * REACH_MIN * TICKS)
        assert (network.leaders, network["a"].term) == (["a"], 1)

    def test_stays_while_the_others_are_full(self) -> None:
        """They have been reached, and say that nobody could do better."""
        network = Network(3)
        network.elect("a")
        for name in "bc":
            network.peer(name).full = True
        network.propose("a", b"x")
        network.run(4 * REACH_MIN * TICKS)
        assert (network.leaders, network["a"].term) == (["a"], 1)

    def test_stays_while_a_first_snapshot_is_under_way(self) -> None:
        """Another leader would have to begin it anew."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        for number in range(3):
            network.propose("a", b"%d" % number)
        network.snapshot("a")
        network.crash("b")
        under_way: list[Message] = []
        carry = network.carry

        def carry_slowly(message: Message) -> None:
            if isinstance(message, InstallSnapshot):
                under_way.append(message)
            else:
                carry(message)

        network.carry = carry_slowly  # type: ignore[method-assign]  # a stream that takes its time
        network.heal()
        network.propose("a", b"y")
        network.run(4 * REACH_MIN * TICKS)
        assert under_way
        assert (network.leaders, network["a"].term) == (["a"], 1)


class TestWhatCountsAsAStep:
    """One member, as its leader sees it."""

    @staticmethod
    def _progress(next_index: int = 10) -> Progress:
        return Progress(next=next_index, inflights=Inflights(messages_max=1, bytes_max=1))

    def test_an_answer_that_comes_nearer(self) -> None:
        """Looking for where two logs agree takes its time."""
        progress = self._progress()
        assert not progress.is_reached(20)
        assert progress.maybe_decr_to(rejected=9, hint=5)
        assert progress.is_reached(20)

    def test_not_one_that_only_takes_back_what_was_sent(self) -> None:
        """An empty append gets through to a member that lacks the large one before it."""
        progress = self._progress()
        progress.maybe_update(9)
        progress.become_replicate()
        progress.gained = False
        progress.sent_entries(count=1, bytes_count=1, commit=0)
        assert progress.maybe_decr_to(rejected=10, hint=9)
        progress.become_probe()
        assert not progress.is_reached(20)

    def test_to_have_everything(self) -> None:
        """Nothing can be lost that is not sent."""
        progress = self._progress()
        progress.maybe_update(9)
        assert progress.is_reached(10), "this was a step"
        progress.gained = False
        assert not progress.is_reached(10)
        assert progress.is_reached(9)

    def test_a_snapshot_but_not_after_one_was_lost(self) -> None:
        """Until something is acknowledged again."""
        progress = self._progress()
        progress.become_snapshot(9)
        assert progress.is_reached(20)
        progress.snapshot_failed()
        progress.become_snapshot(9)
        assert not progress.is_reached(20)
        progress.maybe_update(9)
        assert progress.is_reached(20)
