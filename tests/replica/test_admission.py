from __future__ import annotations

from random import Random

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from raftdb.errors import Overloaded
from raftdb.raft.messages import AppendEntries
from raftdb.raft.types import ZERO, Entry, MemberID
from raftdb.replica import ReplicaOptions
from raftdb.replica.admission import Admission
from raftdb.replica.snapshots import Snapshots
from raftdb.simulation.disk.memory_disk import MemoryDisk, Platter
from raftdb.state import ReplicatedState


class _Small(MemoryDisk):
    """Room for 100 bytes in the next batch."""

    def admits(self, bytes_count: int) -> bool:
        return bytes_count <= 100


def _raise(failure: Failure) -> None:
    failure.raiseException()


class TestAdmission:
    """Nothing gets an index that the log has no reserved room for [R18]."""

    def setup_method(self) -> None:
        self.platter = Platter()
        disk = _Small(Clock(), self.platter, Random(1))
        self.machine = ReplicatedState()
        snapshots = Snapshots(
            Clock(), disk, self.machine, ReplicaOptions(snapshot_entries=10), crash=_raise
        )
        self.snapshots = snapshots
        self.admission = Admission(disk, snapshots, patience_s=1.0)

    def test_counts_what_is_not_saved_yet(self) -> None:
        """Two that fit alone do not fit together; after the save began, there is room again."""
        self.admission.check(60)
        self.admission.took(60)
        with pytest.raises(Overloaded):
            self.admission.check(60)
        self.admission.saving()
        self.admission.check(60)

    def test_counts_what_a_leader_sends(self) -> None:
        """A follower has one log for both; what it has no room for is as good as lost."""
        append = AppendEntries(
            sender=MemberID("a", 1),
            receiver=MemberID("b", 1),
            term=1,
            previous=ZERO,
            entries=(Entry(1, 1, b"x" * 28),),
        )
        assert self.admission.takes(append)
        assert not self.admission.takes(append)

    def test_takes_nothing_in_where_too_much_waits_for_a_snapshot(self) -> None:
        """Neither of clients nor of the leader: log without a snapshot cannot be dropped."""
        append = AppendEntries(
            sender=MemberID("a", 1),
            receiver=MemberID("b", 1),
            term=1,
            previous=ZERO,
            entries=(Entry(1, 1, b"x"),),
        )
        self.snapshots.applied(39, 1)
        self.admission.check(1)
        assert self.admission.takes(append)
        self.snapshots.applied(40, 1)
        with pytest.raises(Overloaded, match="snapshot"):
            self.admission.check(1)
        assert not self.admission.takes(append)
        self.snapshots.installed(40)
        self.admission.check(1)

    def test_is_full_only_after_a_while(self) -> None:
        """Reserved space is made a little later than it is used up: a burst says nothing [R6]."""
        append = AppendEntries(
            sender=MemberID("a", 1),
            receiver=MemberID("b", 1),
            term=1,
            previous=ZERO,
            entries=(Entry(1, 1, b"x" * 60),),
        )
        self.admission.took(60)
        assert not self.admission.full(5.0), "nothing was dropped"
        assert not self.admission.takes(append)
        assert not self.admission.full(5.0)
        assert not self.admission.full(5.9)
        assert self.admission.full(6.0)
        self.admission.saving()  # there is room again
        assert not self.admission.full(6.1)
        self.admission.took(60)
        assert not self.admission.takes(append)
        assert not self.admission.full(7.0), "another burst"
        assert self.admission.full(8.0)

    def test_asks_for_relief_once_in_a_while(self) -> None:
        """A burst is no reason to give leadership away, a full disk is."""
        assert not self.admission.needs_relief(0.0)
        with pytest.raises(Overloaded):
            self.admission.check(101)
        assert not self.admission.needs_relief(0.0)
        assert self.admission.needs_relief(1.0)
        assert self.admission.needs_relief(1.05), "there was nobody to hand over to"
        self.admission.handed_over(1.1)
        assert not self.admission.needs_relief(1.2)
        assert self.admission.needs_relief(3.1)

    def test_asks_again_soon_and_then_less_and_less(self) -> None:
        """The first successor may have been cut off; but with every disk full, hands are not wrung."""
        with pytest.raises(Overloaded):
            self.admission.check(101)
        asked = []
        for at in range(60):
            if self.admission.needs_relief(float(at)):
                self.admission.handed_over(float(at))
                asked.append(at)
        assert asked == [1, 3, 7, 15, 25, 35, 45, 55]
