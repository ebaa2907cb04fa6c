"""A crash before each durable step of everything storage does, and a long life with many crashes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import pytest

from raftdb.disk.failpoints import FailpointFileSystem
from raftdb.errors import StorageError
from raftdb.raft.ready import Ready
from raftdb.raft.types import Entry, EntryID, HardState, SnapshotMetadata
from raftdb.simulation.disk.lossy_disk import LossyDisk
from raftdb.simulation.disk.storage_fixture import (
    IDENTITY,
    StorageFixture,
    entries_of,
    fill_log,
    log_of,
    metadata_at,
    outcome,
    read_snapshot,
    save,
    sections_at,
    send_snapshot,
    take_snapshot,
)
from raftdb.storage import DurableStorage, FileSystem


class _Crash(BaseException):
    """The process is gone; nothing in it may catch this."""


class Fuse:
    """Ends the process before its n-th durable step; a dead process takes no more steps."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.seen: list[str] = []
        self.dead = False

    def __call__(self, point: str) -> None:
        if not point.startswith("before"):
            return
        self.seen.append(point.removeprefix("before "))
        if self.left is not None:
            self.dead = self.dead or self.left == 0
            self.left -= 1
        if self.dead:
            raise _Crash(point)


class View(NamedTuple):
    """What must not get lost."""

    entries: tuple[Entry, ...]
    hard_state: HardState
    snapshot: SnapshotMetadata


def view(storage: DurableStorage) -> View:
    return View(log_of(storage), storage.log.initial_state()[0], storage.log.snapshot())


def covers(found: View, wanted: View) -> bool:
    """Tell whether a recovered state is this one.

    Two things may be more than was shown before: the log may reach further back, where dropping it
    was not durable yet, and the commit index is at least the snapshot's.
    """
    first = wanted.entries[0].index if wanted.entries else wanted.snapshot.last.index + 1
    hard, expected = found.hard_state, wanted.hard_state
    return (
        tuple(entry for entry in found.entries if entry.index >= first) == wanted.entries
        and (hard.term, hard.vote) == (expected.term, expected.vote)
        and hard.commit == max(expected.commit, found.snapshot.last.index)
        and found.snapshot == wanted.snapshot
    )


class Machine:
    """A workbench with a fuse between storage and disk."""

    def __init__(self, seed: int) -> None:
        self.fuse = Fuse()

        def wrap(disk: LossyDisk) -> FileSystem:
            return FailpointFileSystem(disk, self.fuse)

        self.bench = StorageFixture(Random(seed), wrap=wrap)
        self._power = Random(seed + 1000)

    def crash(self) -> None:
        """End the process; more often than not the power is lost, too. No fuse any more."""
        self.fuse.left = None
        self.fuse.dead = False
        if self._power.random() < 0.7:
            self.bench.disk.lose_power()
        else:
            self.bench.disk.kill_process()


Step = Callable[[DurableStorage], None]


def _leader() -> DurableStorage:
    storage = StorageFixture(Random(77)).begin()
    fill_log(storage, 1, 60)
    take_snapshot(storage, 60)
    return storage


def saving(index: int, value: bytes, *, term: int = 1) -> Step:
    return lambda storage: save(
        storage, entries_of(index, value, term=term), term=term, commit=index - 1
    )


def snapshot_at(index: int) -> Step:
    def step(storage: DurableStorage) -> None:
        if storage.snapshot_index < index:
            take_snapshot(storage, index)

    return step


def compacting(storage: DurableStorage) -> None:
    outcome(storage.compact())


def receiving(storage: DurableStorage) -> None:
    send_snapshot(_leader(), EntryID(1, 60), storage)


def installing(storage: DurableStorage) -> None:
    # The core asks for this only after the file has come; a restart in between begins anew.
    receiving(storage)
    save(storage, commit=60, snapshot=metadata_at(60))


SCENES: dict[str, list[Step]] = {
    "a rotation": [
        saving(1, b"\0" * 3500),
        saving(2, b"b" * 2000),
        saving(3, b"\0" * 1500),
        saving(4, b"d" * 9000),
        saving(5, b"e"),
    ],
    "a conflict over a rotation": [
        saving(1, b"a" * 3000),
        saving(2, b"b" * 3000),
        saving(2, b"B" * 3000, term=2),
        saving(3, b"c" * 3000, term=2),
    ],
    "a snapshot and the deletion behind it": [
        *[saving(index, b"x" * 1500) for index in range(1, 9)],
        snapshot_at(4),
        snapshot_at(7),
        compacting,
        snapshot_at(8),
        compacting,
        saving(9, b"after"),
    ],
    "an install": [
        saving(1, b"a" * 2000),
        saving(2, b"b" * 2000),
        snapshot_at(1),
        installing,
        saving(61, b"after"),
        snapshot_at(61),
        compacting,
        saving(62, b"z" * 3000),
    ],
}


def observe(steps: list[Step]) -> tuple[list[View], int]:
    """Run without a crash: the state before, and after each step; and how many points there are."""
    machine = Machine(0)
    storage = machine.bench.begin()
    machine.fuse.seen.clear()
    views = [view(storage)]
    for step in steps:
        step(storage)
        views.append(view(storage))
    return views, len(machine.fuse.seen)


def run(storage: DurableStorage, steps: list[Step]) -> int:
    """Take steps until the process dies; return how many were acknowledged."""
    for done, step in enumerate(steps):
        try:
            step(storage)
        except _Crash:
            return done
    return len(steps)


@pytest.mark.parametrize("name", list(SCENES), ids=lambda name: name.replace(" ", "-"))
class TestACrashBeforeEachStep:
    """It leaves the state before or the state after, and the node goes on from there."""

    def test_leaves_the_old_state_or_the_new_one(self, name: str) -> None:
        """Then the rest is done, and the end is the same."""
        steps = SCENES[name]
        views, points = observe(steps)
        assert points > 10
        for point in range(points):
            for seed in (1, 2):
                machine = Machine(seed * 1000 + point)
                storage = machine.bench.begin()
                machine.fuse.left = point
                done = run(storage, steps)
                assert machine.fuse.dead
                machine.crash()
                storage = machine.bench.recover()
                found = view(storage)
                old, new = covers(found, views[done]), covers(found, [*views, views[-1]][done + 1])
                assert old or new, (point, found, views[done])
                rest = steps[done + 1 :] if new else steps[done:]
                assert run(storage, rest) == len(rest)
                machine.crash()
                assert covers(view(machine.bench.recover()), views[-1])


class TestDeletingSegments:
    """A gap in the numbers would look like a loss."""

    def test_leaves_no_gap_at_a_power_loss(self) -> None:
        """Each deletion is durable before the next, whatever order the disk would have liked."""
        for seed in range(40):
            machine = Machine(seed)
            storage = machine.bench.begin()
            fill_log(storage, 1, 70)
            take_snapshot(storage, 66)
            take_snapshot(storage, 68)
            machine.fuse.left = seed % 9
            with contextlib.suppress(_Crash):
                outcome(storage.compact())
            machine.bench.disk.lose_power()
            machine.crash()
            assert machine.bench.recover().log.last_index() == 70


class TestACrashWhileStarting:
    """Starting takes durable steps itself, and may be interrupted at each of them."""

    def test_recovery_may_be_interrupted_anywhere(self) -> None:
        """A torn tail is cut once or twice, and what was acknowledged stays."""
        for point in range(20):
            machine = Machine(point)
            storage = machine.bench.begin()
            fill_log(storage, 1, 20)
            take_snapshot(storage, 5)
            take_snapshot(storage, 9)
            outcome(storage.compact())
            wanted = view(storage)
            machine.crash()
            machine.fuse.left = point
            with contextlib.suppress(_Crash):
                machine.bench.recover()
            machine.crash()
            assert covers(view(machine.bench.recover()), wanted)

    def test_creation_may_be_interrupted_anywhere(self) -> None:
        """The directory is empty or complete, never in between."""
        entries = entries_of(1, b"first", b"second")
        for point in range(25):
            machine = Machine(point)
            machine.fuse.left = point
            with contextlib.suppress(_Crash):
                machine.bench.create(HardState(1, None, 2), entries)
            machine.crash()
            if f"{StorageFixture.path}/identity" not in [
                f"{StorageFixture.path}/{name}"
                for name in machine.bench.disk.list(StorageFixture.path)
            ]:
                machine.bench.create(HardState(1, None, 2), entries)
            storage = machine.bench.recover()
            assert log_of(storage) == entries
            assert storage.log.initial_state()[0].commit == 2

    def test_every_step_of_a_life_is_named(self) -> None:
        """Crash tests with real processes can rely on these names."""
        seen: set[str] = set()
        for steps in SCENES.values():
            machine = Machine(1)
            storage = machine.bench.begin()
            run(storage, steps)
            outcome(storage.close())
            seen |= set(machine.fuse.seen)
        assert seen >= {
            "write log",
            "fdatasync log",
            "write spare",
            "fsync spare",
            "fdatasync spare",
            "rename spare",
            "fsync_dir wal",
            "unlink log",
            "fsync copy",
            "rename copy",
            "write part",
            "fdatasync part",
            "fsync part",
            "rename part",
            "fsync_dir snapshots",
            "unlink snapshot",
            "rename identity-part",
            "fsync_dir directory",
        }


class TestALongLife:
    """Random saves, conflicts, snapshots, installs and crashes, against a model."""

    @pytest.mark.parametrize("seed", range(40))
    def test_never_loses_what_was_acknowledged(self, seed: int) -> None:
        """After each crash the state is the last acknowledged one or the one being saved."""
        rng = Random(seed)
        machine = Machine(seed)
        storage = machine.bench.begin()
        for _ in range(12):
            machine.fuse.left = rng.randrange(60)
            before = after = view(storage)
            try:
                while True:
                    before = after
                    after = self._step(rng, storage, before)
                    assert covers(view(storage), after)
            except _Crash:
                pass
            machine.crash()
            storage = machine.bench.recover()
            found = view(storage)
            assert covers(found, before) or covers(found, self._intended)
            if found.snapshot.last.index:
                last = found.snapshot.last
                assert read_snapshot(storage, last) == sections_at(last.index)

    def _step(self, rng: Random, storage: DurableStorage, now: View) -> View:
        last = storage.log.last_index()
        commit = max(now.hard_state.commit, now.snapshot.last.index)
        self._intended = now
        match rng.randrange(10):
            case 0 if commit > now.snapshot.last.index:
                metadata = SnapshotMetadata(
                    EntryID(storage.log.term(commit), commit), metadata_at(commit).conf_state
                )
                self._intended = now._replace(snapshot=metadata)
                writer = storage.create_snapshot(metadata)
                for section, chunk in sections_at(commit):
                    outcome(writer.write(section, chunk))
                outcome(writer.commit())
            case 1:
                index = storage._snapshots.compact_index
                kept = tuple(entry for entry in now.entries if entry.index > index)
                self._intended = now._replace(entries=kept)
                outcome(storage.compact())
            case _:
                term = now.hard_state.term + rng.choice([0, 0, 0, 1])
                first = rng.randint(max(commit, last - 2), last) + 1
                sizes = [rng.choice([0, 1, 100, 511, 2000]) for _ in range(rng.randrange(4))]
                values = [bytes((rng.randrange(3),)) * size for size in sizes]
                entries = entries_of(first, *values, term=max(term, 1))
                end = first + len(entries) - 1 if entries else last
                state = HardState(max(term, 1), IDENTITY.member, rng.randint(commit, end))
                before = [entry for entry in now.entries if not entries or entry.index < first]
                self._intended = View((*before, *entries), state, now.snapshot)
                outcome(storage.save(Ready(state, entries)))
        return self._intended

    _intended: View


class TestAFailedFsync:
    """Nobody knows what the disk holds, so nothing is promised any more."""

    def test_fails_this_save_and_all_that_follow(self) -> None:
        """A second fsync that succeeds proves nothing, so it is never tried."""
        bench = StorageFixture(Random(1))
        storage = bench.begin()
        save(storage, entries_of(1, b"a"))
        bench.disk.syncs_to_fail = 1
        with pytest.raises(StorageError, match="the process has to end"):
            outcome(storage.save(Ready(HardState(1), entries_of(2, b"b"))))
        assert storage.log.last_index() == 1

    def test_what_the_next_start_read_from_the_cache_is_made_durable_first(self) -> None:
        """Recovery trusts no page cache [R4]: after it speaks, a power loss takes nothing."""
        for seed in range(8):
            bench = StorageFixture(Random(seed))
            storage = bench.begin()
            save(storage, entries_of(1, b"a"))
            bench.disk.syncs_to_fail = 1
            with pytest.raises(StorageError):
                save(storage, entries_of(2, b"b"))
            spoke_of = log_of(bench.restart())
            assert log_of(bench.power_cycle()) == spoke_of == entries_of(1, b"a", b"b")

    def test_closing_after_it_writes_nothing(self) -> None:
        """A closing batch would say that all before it is whole."""
        bench = StorageFixture(Random(1))
        storage = bench.begin()
        bench.disk.syncs_to_fail = 1
        with pytest.raises(StorageError):
            save(storage, entries_of(1, b"b"))
        before = bench.disk.contents(bench.segments()[-1])
        with pytest.raises(StorageError):
            outcome(storage.close())
        assert bench.disk.contents(bench.segments()[-1]) == before
        bench.recover()

    def test_in_the_filler_ends_the_next_save(self) -> None:
        """A disk that fails at zeros is not trusted with entries."""
        bench = StorageFixture(Random(1))
        storage = bench.begin()
        bench.disk.syncs_to_fail = 1
        assert storage.admits(1)
        with pytest.raises(StorageError, match="failed to sync"):
            save(storage, entries_of(1, b"b"))
