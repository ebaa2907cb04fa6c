from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from raftdb.raft.types import SnapshotMetadata
from raftdb.replica.snapshots import load


class Reader:
    """A snapshot of equal slices, all of them at hand."""

    metadata = SnapshotMetadata()

    def __init__(self, count: int, size: int) -> None:
        self.left = count
        self._size = size
        self.closed = False

    def read(self) -> Deferred[tuple[str, bytes] | None]:
        self.left -= 1
        return succeed(None if self.left < 0 else ("kv", bytes(self._size)))

    def close(self) -> None:
        self.closed = True


class Machine:
    """Takes slices, and is its own restorer."""

    def __init__(self) -> None:
        self.fed = 0
        self.finished = False

    def restore(self) -> Machine:
        return self

    def feed(self, section: str, chunk: bytes) -> None:
        assert (section, len(chunk) > 0) == ("kv", True)
        self.fed += 1

    def finish(self) -> None:
        self.finished = True


def loading(reader: Reader, machine: Machine, clock: Clock, wanted: list[bool]) -> list[bool]:
    done: list[bool] = []
    work = load(clock, reader, machine, wanted=lambda: wanted[0])  # type: ignore[arg-type]  # enough
    Deferred.fromCoroutine(work).addCallback(done.append)
    return done


class TestLoadingInTurns:
    """The event loop never waits for more of a snapshot than it would for a page of entries."""

    def test_takes_a_few_slices_a_turn(self) -> None:
        """As many as come to 96 KiB; a turn for each would cost a fifth more."""
        reader, machine, clock = Reader(11, 40_000), Machine(), Clock()
        loading(reader, machine, clock, [True])
        fed = [machine.fed]
        while clock.calls:
            call = clock.calls.pop(0)  # advance() would take all turns at once
            call.func(*call.args, **call.kw)
            fed.append(machine.fed)
        assert fed == [1, 4, 7, 10, 11]
        assert machine.finished
        assert reader.closed

    def test_begins_with_one_and_ends_later(self) -> None:
        """Whoever began it is in the middle of a turn, in which the state must not change."""
        machine, clock = Machine(), Clock()
        loading(Reader(1, 1), machine, clock, [True])
        assert not machine.finished
        clock.advance(0)
        assert machine.finished

    def test_ends_when_it_is_not_wanted_any_more(self) -> None:
        """At the next slice, whether there was a turn before it or not."""
        machine, clock, wanted = Machine(), Clock(), [True]
        done = loading(Reader(10, 1), machine, clock, wanted)
        wanted[0] = False
        clock.advance(0)
        assert done == [False]
        assert not machine.finished
