"""A machine with the production storage on a lossy disk, and threads that take their time.

A save is done by a simulated writer thread a little after it was asked for. When the power fails,
what the thread had begun is done up to some point, and of what was not synced the disk keeps what
chance lets it keep: torn batches, lost names. Recovery is the production code's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from raftdb.disk.failpoints import FailpointFileSystem
from raftdb.errors import RaftDBError, StorageError
from raftdb.raft.types import Entry, HardState, MemberID, SnapshotMetadata
from raftdb.simulation.disk.damage import LogDamage
from raftdb.simulation.disk.memory_disk import HUNG_S
from raftdb.simulation.disk.power import BEGINNING, FusedDisk, PowerFailure, Trap
from raftdb.storage import DataDirectory, DurableStorage, Identity, StorageLimits

T = TypeVar("T")

DATA_DIRECTORY = "/data"
LOG = f"{DATA_DIRECTORY}/wal"
LIMITS = StorageLimits(
    segment_bytes=4096 + 32 * 512,
    spare_segments=2,
    reserve_bytes=2048,
    free_bytes_min=0,
    slice_bytes=4096,
    drop_entries=20,
    sync_bytes=16_384,
)
"""Segments of 16 KiB, so that a short run rotates many times."""

APPEND_BYTES_MAX = 8192
"""Of entries in one append: they and a record's overhead fit into an empty segment [R30].

1. A leader holds 20 KiB of entries that a follower lacks, and sends them in one append. 2. The
follower has no segment that could hold it, and drops it, however much room its disk has. 3. The
leader sends the same append again, for ever (seed 10028).
"""

SAVE_MAX_S = 0.002
"""A good disk's longest piece of work."""

STREAM_BYTES = 8192
"""Of a snapshot file, in one piece from machine to machine."""


class SimulatedThread:
    """Does one piece of work after the other, each a little later.

    :param clock: the node's own
    :param machine: whose disk it works on
    :param rng: draws how long a piece of work takes
    """

    def __init__(self, clock: IReactorTime, machine: DurableHost, rng: Random) -> None:
        self._clock = clock
        self._machine = machine
        self._rng = rng
        self._queue: deque[tuple[Callable[[], object], Deferred[Any]]] = deque()
        self._busy = False

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire with what ``work`` returns or raises."""
        done: Deferred[T] = Deferred()
        self._queue.append((work, done))
        if not self._busy:
            self._busy = True
            self._schedule()
        return done

    def interrupt(self, rng: Random) -> None:
        """Let the power fail in the middle of the piece of work in hand, if there is one."""
        if self._queue and rng.random() < 0.7:
            work, _ = self._queue[0]
            disk = self._machine.disk
            disk.fuse = rng.randrange(8)
            try:
                work()
            except (PowerFailure, OSError, StorageError):
                pass
            finally:
                disk.fuse = None
        self._queue.clear()

    def _schedule(self) -> None:
        machine = self._machine
        delay_s = self._rng.uniform(machine.save_min_s, machine.save_max_s)
        self._clock.callLater(delay_s, self._next)

    def _next(self) -> None:
        if self._machine.hangs:
            self._clock.callLater(HUNG_S, self._next)
            return
        work, done = self._queue.popleft()
        try:
            result = work()
        except PowerFailure as failure:
            self._machine.power_failed(str(failure))
            return
        except Exception as error:  # noqa: BLE001  # whatever it is goes to who asked
            done.errback(error)
        else:
            done.callback(result)
        self._busy = bool(self._queue)
        if self._busy:
            self._schedule()


class DurableHost:
    """One node's machine: what is on its disk outlives the node.

    :param member: whose data directory it holds
    :param cluster_id: of that member's cluster
    :param hard_state: in force from the start
    :param entries: that the log begins with
    :param rng: decides what a power failure leaves
    :param disk: that holds a data directory already; an empty one where there is none
    """

    def __init__(
        self,
        member: MemberID,
        cluster_id: int,
        *,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        rng: Random,
        disk: FusedDisk | None = None,
    ) -> None:
        self.hangs = False
        self.save_min_s = 0.0001
        self.save_max_s = SAVE_MAX_S
        self.disk = disk or FusedDisk(rng)
        self.storage: DurableStorage | None = None
        self._rng = rng
        self._threads: list[SimulatedThread] = []
        self.trap = Trap()
        self.power_failed: Callable[[str], None] = lambda _: None
        """Is called when the power has failed at a named step."""
        self.disk_failed: Callable[[Failure], None] = lambda _: None
        """Is called when the disk has failed in work that no save waits for."""
        self._files = FailpointFileSystem(self.disk, self.trap)
        identity = self._identity = Identity(member.id, member.incarnation, cluster_id)
        if disk is None and rng.random() < 0.3:
            self.trap.arm(rng.choice(BEGINNING))
        while not self._is_made(identity, hard_state, entries):
            self.crash()

    def _is_made(
        self, identity: Identity, hard_state: HardState | None, entries: Sequence[Entry]
    ) -> bool:
        """Make the data directory, unless it is there; return False where the power failed."""
        try:
            directory = DataDirectory.open(self._files, DATA_DIRECTORY)
            if directory.identity is None:
                directory.create(
                    identity,
                    hard_state=hard_state,
                    entries=entries,
                    limits=LIMITS,
                    entropy=self._rng.randbytes,
                )
        except PowerFailure:
            return False
        self.trap.disarm()
        directory.close()
        return True

    def copy(self) -> DurableHost:
        """Return a machine with a copy of the data directory as it is at this instant."""
        disk = deepcopy(self.disk)
        disk.kill_process()
        member = MemberID(self._identity.id, self._identity.incarnation)
        return DurableHost(
            member,
            self._identity.cluster_id,
            hard_state=None,
            entries=(),
            rng=Random(f"{member}/{self._rng.random()}"),
            disk=disk,
        )

    def boot(self, clock: IReactorTime, rng: Random) -> DurableStorage:
        """Recover what the disk holds."""
        directory = DataDirectory.open(self._files, DATA_DIRECTORY)
        self._threads = [SimulatedThread(clock, self, rng) for _ in range(2)]
        writer, filler = self._threads
        try:
            self.storage = directory.recover(
                run=writer,
                fill=filler,
                crash=self.disk_failed,
                limits=LIMITS,
                entropy=rng.randbytes,
            )
        except BaseException:
            directory.close()
            raise
        return self.storage

    def crash(self) -> None:
        """Lose the power, or only the process, in the middle of whatever is being written."""
        power = self._rng.random() < 0.7
        for thread in self._threads:
            thread.interrupt(self._rng)
        self._threads = []
        self.storage = None
        if self.trap.sprung is not None:
            self.trap.disarm()
        if power:
            self.disk.lose_power()
        else:
            self.disk.kill_process()

    def fill(self, full: bool) -> None:
        """Let the disk be full, or give it room again."""
        self.disk.capacity_bytes = 0 if full else None

    def fail(self) -> None:
        """Let the next sync fail."""
        self.disk.syncs_to_fail = 1

    @property
    def damage(self) -> LogDamage:
        """What can happen to the log while the power is off."""
        return LogDamage(self.disk, LOG, self._identity.owner, self._rng)

    def mend(self) -> None:
        """Let the disk be a good one from now on."""
        self.hangs = False
        self.save_max_s = SAVE_MAX_S
        self.disk.syncs_to_fail = 0
        self.trap.disarm()
        self.fill(full=False)

    def receive(self, source: object, metadata: SnapshotMetadata) -> Deferred[bool]:
        """Stream a snapshot file over from another machine; say whether it is durable here."""
        assert isinstance(source, DurableHost)
        return Deferred.fromCoroutine(self._receive(source, metadata))

    async def _receive(self, other: DurableHost, metadata: SnapshotMetadata) -> bool:
        here, there = self.storage, other.storage
        if here is None or there is None:
            return False
        try:
            source = await there.open_snapshot_file(metadata.last)
        except RaftDBError:
            return False
        receiving = here.receive_snapshot(metadata, source.size)
        try:
            for offset in range(0, source.size, STREAM_BYTES):
                await receiving.write(offset, await source.read_at(offset, STREAM_BYTES))
            await receiving.commit()
        except (RaftDBError, OSError):
            await receiving.abort()
            return False
        finally:
            source.close()
        return True
