"""What happens in a turn of the reactor, and in which order: the whole control flow of a node.

Every input wakes the pump, and at most one turn is scheduled. A turn sends what may leave at once,
begins the save of what must become durable, unless one is under way, and applies one page of what
may be applied while the disk works: what arrives meanwhile forms the next batch. The ``await`` of
the save is the only suspension on the way of a write. Applying waits for no save: what is committed
and durable here is applied while the next batch, or anybody else's disk, is still at work [R14].
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from raftdb.raft.node import RawNode
from raftdb.raft.ready import Applicable, Ready
from raftdb.raft.types import Entry, EntryID, MemberID, Role, SnapshotMetadata
from raftdb.replica.admission import Admission
from raftdb.replica.clients import Clients
from raftdb.replica.guard import Guard
from raftdb.replica.lease import Lease
from raftdb.replica.seams import Soon, StateMachine, Storage, Transport
from raftdb.replica.snapshots import Snapshots, load

NEWS_S = 0.001
"""For how long news of a commit waits for an append to ride on.

Whoever writes one value after the other writes the next within that time, and each message less is
a sixth of what its followers do for a write. Later it would be seen too late elsewhere.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpParts:
    """What the pump moves things between.

    :param soon: has a turn called, once; never before it returns itself
    """

    clock: IReactorTime
    soon: Soon
    node: RawNode
    storage: Storage
    transport: Transport
    machine: StateMachine
    clients: Clients
    admission: Admission
    lease: Lease
    snapshots: Snapshots


class Pump:
    """Takes turns while it runs.

    :param parts: the parts
    :param crash: is called with what must not have happened
    :param turned: is called at the end of each turn
    :param loaded: is called when a snapshot has become the state
    """

    def __init__(
        self,
        parts: PumpParts,
        *,
        crash: Callable[[Failure], None],
        turned: Callable[[], None],
        loaded: Callable[[], None],
    ) -> None:
        self._clock = parts.clock
        self._soon = parts.soon
        self._node = parts.node
        self._storage = parts.storage
        self._transport = parts.transport
        self._machine = parts.machine
        self._proposals = parts.clients.proposals
        self._reads = parts.clients.reads
        self._admission = parts.admission
        self._lease = parts.lease
        self._snapshots = parts.snapshots
        self._crash = crash
        self._guard = Guard(crash)
        self._turned = turned
        self._loaded = loaded
        self._running = False
        self._awake = False
        self._saving = False
        self._busy = 0
        self._news: IDelayedCall | None = None
        self._news_due = False
        self._seen: tuple[Role, MemberID | None, int] | None = None
        self._rest: list[Deferred[None]] = []
        self._applied_term = 0
        self.applied = 0
        """The index at which the state machine stands, between two turns; at first it is empty."""

    @property
    def running(self) -> bool:
        """Whether turns are taken."""
        return self._running

    def start(self) -> None:
        """Begin to take turns; the first one begins to load the newest snapshot."""
        self._running = True
        self.wake()

    def stop(self) -> Deferred[None]:
        """Take no more turns; fires when the storage is not used any more.

        A save in hand is waited for; one that fails crashes the node, and this never fires.
        """
        self._running = False
        self._hold_news(held=False)
        rest: Deferred[None] = Deferred()
        self._rest.append(rest)
        self._settle_down()
        return rest

    def wake(self) -> None:
        """See to it that a turn comes; to be called after every input."""
        if not self._awake:
            self._awake = True
            self._soon(self._turn)

    def wake_if_due(self) -> None:
        """See to it that a turn comes, if it would find anything to do.

        For inputs that often leave nothing: a turn for nothing costs as much as another one.
        """
        node = self._node
        if not self._awake and (
            node.has_applicable()
            or (not self._saving and node.has_ready())
            or node.standing != self._seen
            or node.has_messages(news=self._news is None)
        ):
            self.wake()

    def _hold_news(self, *, held: bool) -> None:
        """See to it that news of a commit which is held back is told soon, by a turn of its own."""
        if held and self._news is None:
            self._news = self._clock.callLater(NEWS_S, self._tell_news)
        elif not held and self._news is not None:
            self._news.cancel()
            self._news = None

    def _tell_news(self) -> None:
        self._news = None
        self._news_due = True
        self.wake()

    def _turn(self) -> None:
        self._awake = False
        if not self._running:
            return
        with self._guard:
            self._reads.ask(self._clock.seconds())
            messages = self._node.take_messages(news=self._news_due)
            self._news_due = False
            # Stamped before it is sent: a stamp later than the sending would stretch a lease [R13].
            self._lease.sending()
            if messages:
                self._transport.send(messages)
            self._begin_save()
            self._apply(self._node.take_applicable())
            self._begin_save()
            self._seen = self._node.standing
            self._turned()
            urgent, news = self._node.pending_sends()
            self._hold_news(held=news and self._running)
            if urgent or self._node.has_applicable():
                self.wake()

    def _begin_save(self) -> None:
        """Begin the next save, if there is anything to save and none is under way."""
        if self._running and not self._saving and self._node.has_ready():
            self._saving = True
            self._save(self._node.ready())
            self._admission.saving()

    def _save(self, ready: Ready) -> None:
        """Begin to make ``ready`` durable: the only thing on the way of a write that is waited for.

        No coroutine, unless there is a snapshot to wait for, too: one costs as much as a message.
        """
        if ready.snapshot is not None:
            self._begin(self._save_snapshot(ready))
        elif ready.must_save:
            self._busy += 1
            self._storage.save(ready).addCallback(self._durable, ready).addErrback(self._crash)
        else:
            self._saved(ready)

    async def _save_snapshot(self, ready: Ready) -> None:
        # Never two writers of snapshots: an older one must not be committed after this one.
        await self._snapshots.abandon()
        await self._storage.save(ready)
        self._saved(ready)

    def _durable(self, _: None, ready: Ready) -> None:
        self._saved(ready)
        self._ended(None)

    def _saved(self, ready: Ready) -> None:
        """Go on with what is durable now."""
        self._saving = False
        if not self._running:
            return
        if ready.persisted_messages:
            self._transport.send(ready.persisted_messages)
        self._node.advance(ready)
        self.wake_if_due()

    def _apply(self, page: Applicable) -> None:
        if page.snapshot is not None:
            self._begin(self._install(page.snapshot))
        if page.entries:
            self._apply_entries(page.entries)
        if page.reads:
            self._reads.confirm(page.reads)
        # Answers come last: whoever is called back finds the whole page applied.
        self._proposals.settle()
        self._reads.release(self.applied)
        if page.entries:
            self._machine.page_applied()

    def _apply_entries(self, entries: tuple[Entry, ...]) -> None:
        bytes_count = 0
        for entry in entries:
            assert entry.index == self.applied + 1, "entries are applied in order, each once"
            result: object = None
            if entry.change is not None:
                conf_state = self._node.apply_conf_change(entry.change)
                result = self._machine.apply_conf_change(
                    entry.index, entry.change.context, conf_state
                )
            elif entry.data:
                result = self._machine.apply(entry.index, entry.data)
            self.applied = entry.index
            bytes_count += entry.size
            self._proposals.applied(entry.term, entry.index, result)
        self._applied_term = entries[-1].term
        self._snapshots.applied(self.applied, bytes_count)
        self.take_snapshot_if_due()

    def take_snapshot_if_due(self) -> None:
        """Begin to take a snapshot of what is applied, if it is time for one."""
        if self._snapshots.due:
            last = EntryID(self._applied_term, self.applied)
            self._snapshots.take(SnapshotMetadata(last, self._node.conf_state))

    async def _install(self, metadata: SnapshotMetadata) -> None:
        if await self._restore(metadata):
            self._snapshots.installed(metadata.last.index)
            self._node.restored(metadata)
            self._proposals.jumped(metadata.last)
            self._reads.release(self.applied)
            self.wake()

    async def _restore(self, metadata: SnapshotMetadata) -> bool:
        reader = await self._storage.open_snapshot(metadata.last)
        complete = await load(self._clock, reader, self._machine, wanted=lambda: self._running)
        if complete:
            self.applied = metadata.last.index
            self._applied_term = metadata.last.term
            self._loaded()
        return complete

    def _begin(self, work: Coroutine[Deferred[object], object, None]) -> None:
        self._busy += 1
        Deferred.fromCoroutine(work).addCallback(self._ended).addErrback(self._crash)

    def _ended(self, _: None) -> None:
        self._busy -= 1
        self._settle_down()

    def _settle_down(self) -> None:
        if not self._running and self._busy == 0:
            rest, self._rest = self._rest, []
            for deferred in rest:
                deferred.callback(None)
