"""The demonstration: three real nodes do real work, one is killed, and nothing is lost.

It exits with 1 at the first acknowledged key that any node does not hold as it was acknowledged.
Knows nodes as processes (:mod:`raftdb.cli.cluster`) and the cluster as a client.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from importlib.resources import files
from itertools import count

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from raftdb.cli.acknowledged import Ledger, at_once
from raftdb.cli.cluster import ClusterFailed, LocalCluster, Node, Reactor
from raftdb.cli.steps import Story
from raftdb.client import Client
from raftdb.client.client import Level

START_S = 90.0
FAILOVER_S = 60.0
CATCH_UP_S = 120.0
BATCH_KEYS = 50
BATCHES_AT_ONCE = 8
READS = 500
READS_AT_ONCE = 8
BEFORE_KILL_S = 0.5
AFTER_KILL_S = 1.0


def dictionary() -> dict[str, str]:
    """Return the example data: characters and their names."""
    text = files("raftdb.cli").joinpath("characters.tsv").read_text(encoding="utf-8")
    lines = (line.split("\t") for line in text.split("\n") if "\t" in line)
    return {character: name for character, name in lines}  # noqa: C416  # says what is what


class Demo:
    """One performance.

    :param reactor: measures, waits, spawns
    :param cluster: not started yet
    :param story: who tells
    """

    def __init__(self, reactor: Reactor, cluster: LocalCluster, story: Story) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self._story = story
        self._ledger = Ledger(cluster.client)
        self._notes_end = False

    async def tell(self) -> bool:
        """Tell the whole story; return whether everything held that had to.

        :raises ClusterFailed: where a node did not do what was waited for
        """
        leader = await self._start()
        await self._load()
        await self._read(leader)
        dead = await self._kill(leader)
        survivors = [node for node in self._cluster.nodes if node is not dead]
        if not await self._compare(survivors):
            return False
        await self._return(dead)
        return await self._compare(self._cluster.nodes) and await self._same_hash()

    async def _start(self) -> Node:
        story, cluster = self._story, self._cluster
        story.chapter("Start three nodes")
        for node in cluster.nodes:
            story.line(f"{node.name}  http {node.http}  raft {node.raft}  data {node.data}")
        began = self._reactor.seconds()
        cluster.start()
        leader = await cluster.wait_for_leader(START_S)
        took = self._reactor.seconds() - began
        story.good(f"{leader.name} leads; all three vote, {took:.1f} s after the start")
        return leader

    async def _load(self) -> None:
        story, words = self._story, dictionary()
        story.chapter(f"Load {len(words):,} characters and their names, {BATCH_KEYS} to a request")
        progress = story.progress("keys", len(words))
        began = self._reactor.seconds()

        async def write(batch: dict[str, str]) -> None:
            if not await self._ledger.put(batch):
                raise ClusterFailed("a write was refused though nobody was killed yet")
            progress.advance(len(batch))

        pairs = list(words.items())
        batches = [dict(pairs[at : at + BATCH_KEYS]) for at in range(0, len(pairs), BATCH_KEYS)]
        await at_once(BATCHES_AT_ONCE, write, batches)
        took = self._reactor.seconds() - began
        progress.end(
            f"{len(words):,} keys in {took:.1f} s, each on the disks of a majority before it was"
            " acknowledged"
        )

    async def _read(self, leader: Node) -> None:
        story = self._story
        story.chapter(f"Read at three levels, {READS} keys each, {READS_AT_ONCE} at a time")
        follower = next(node for node in self._cluster.nodes if node is not leader)
        asked: tuple[tuple[Level, Node, str], ...] = (
            ("consistent", leader, "linearizable: a quorum confirms the leader first"),
            ("default", leader, "the leader's lease"),
            ("stale", follower, "a follower's own copy"),
        )
        for level, node, why in asked:
            times_ms = await self._measure(node, level)
            middle, late = times_ms[len(times_ms) // 2], times_ms[len(times_ms) * 99 // 100]
            story.good(
                f"{level:<11} from {node.name}  p50 {middle:5.1f} ms  p99 {late:5.1f} ms  ({why})"
            )

    async def _measure(self, node: Node, level: Level) -> list[float]:
        """Read known keys of ``node``; return how long each took in ms, sorted."""
        client = Client(self._reactor, [node.http])
        known = list(self._ledger.acknowledged.items())
        times_ms: list[float] = []

        async def read(item: tuple[str, str]) -> None:
            key, value = item
            began = self._reactor.seconds()
            found = await client.get(key, level=level)
            times_ms.append((self._reactor.seconds() - began) * 1000)
            if found is None or found.decode() != value:
                raise ClusterFailed(f"{node.name} has {found!r} under {key!r}, not {value!r}")

        try:
            await at_once(READS_AT_ONCE, read, known[:: max(1, len(known) // READS)])
        finally:
            await client.close()
        return sorted(times_ms)

    async def _kill(self, leader: Node) -> Node:
        story, clock = self._story, self._reactor
        story.chapter(f"kill -9 {leader.name}, the leader, while a client goes on writing")
        acknowledged_at: list[float] = []
        self._notes_end = False
        writing = Deferred.fromCoroutine(self._write_notes(acknowledged_at))
        await deferLater(clock, BEFORE_KILL_S)
        killed_at = clock.seconds()
        story.line(f"kill -9 {leader.pid}")
        await leader.end("KILL")

        async def written_again() -> bool:
            return bool(acknowledged_at) and acknowledged_at[-1] > killed_at + 0.02

        await self._cluster.wait_until(written_again, "the next acknowledged write", FAILOVER_S)
        first = next(at for at in acknowledged_at if at > killed_at + 0.02)
        new = await self._cluster.wait_for_leader(FAILOVER_S)
        story.good(
            f"{new.name} leads; the next write was acknowledged"
            f" {(first - killed_at) * 1000:.0f} ms after the kill"
        )
        await deferLater(clock, AFTER_KILL_S)
        self._notes_end = True
        await writing
        story.line(
            f"written meanwhile: {len(acknowledged_at):,} keys acknowledged,"
            f" {len(self._ledger.unknown)} of unknown outcome, {self._ledger.refused} refused"
        )
        return leader

    async def _write_notes(self, acknowledged_at: list[float]) -> None:
        """Write one key after the other until told to end; each key once, come what may."""
        for number in count(1):
            if self._notes_end:
                return
            began = self._reactor.seconds()
            if await self._ledger.put({f"note-{number:05}": f"written at {began:.3f}"}):
                acknowledged_at.append(self._reactor.seconds())

    async def _compare(self, nodes: list[Node]) -> bool:
        story, keys = self._story, len(self._ledger.acknowledged)
        names = ", ".join(node.name for node in nodes)
        story.chapter(f"Compare every acknowledged key on {names}")
        await self._wait_for_equal_indexes(nodes)
        for node in nodes:
            progress = story.progress(f"keys on {node.name}", keys)
            difference = await deferToThread(
                self._ledger.difference,
                node.http,
                partial(self._reactor.callFromThread, progress.advance),
            )
            if difference is not None:
                story.bad(difference)
                return False
            progress.end(f"{node.name} holds all {keys:,} keys as they were acknowledged")
        return True

    async def _wait_for_equal_indexes(self, nodes: list[Node]) -> None:
        async def equal() -> bool:
            indexes = [await self._applied(node) for node in nodes]
            return None not in indexes and min(indexes) == max(indexes)

        await self._cluster.wait_until(equal, "the same applied index everywhere", CATCH_UP_S)

    async def _applied(self, node: Node) -> int:
        """Return the node's applied index, -1 where it does not answer."""
        status = await self._cluster.status(node)
        index = -1 if status is None else status["applied_index"]
        assert isinstance(index, int)
        return index

    async def _return(self, dead: Node) -> None:
        story = self._story
        story.chapter(f"Start {dead.name} again, with the same flags")
        others = [node for node in self._cluster.nodes if node is not dead]
        target = max([await self._applied(node) for node in others])
        began = self._reactor.seconds()
        dead.start()

        async def caught_up() -> bool:
            return await self._applied(dead) >= target

        await self._cluster.wait_until(caught_up, f"{dead.name} to catch up", CATCH_UP_S)
        took = self._reactor.seconds() - began
        leader = await self._cluster.wait_for_leader(FAILOVER_S)
        story.good(
            f"{dead.name} has applied everything up to index {target:,} {took:.1f} s after its"
            f" start; {leader.name} still leads"
        )

    async def _same_hash(self) -> bool:
        found = {}
        for node in self._cluster.nodes:
            status = await self._cluster.status(node)
            if status is not None:
                found[node.name] = (status["applied_index"], status["state_hash"])
        if len(found) == len(self._cluster.nodes) and len(set(found.values())) == 1:
            index, digest = next(iter(found.values()))
            self._story.good(f"one state everywhere: hash {digest} at index {index}")
            return True
        self._story.bad(f"the nodes' states differ: {found}")
        return False

    def invite(self) -> None:
        """Say what to try while the cluster is up."""
        story, cluster = self._story, self._cluster
        first, second, third = cluster.addresses[:3]
        story.chapter("Your turn: the cluster is up until you press Ctrl-C")
        for line in (
            f"curl -L 'http://{first}/key/☃?level=consistent'",
            f'curl -L -X POST http://{second}/key -d \'{{"foo": "bar"}}\'',
            f"curl 'http://{third}/key/foo?level=stale'",
            f"curl -L -X DELETE http://{second}/key/foo",
            f"curl http://{first}/api/status",
            f"kill -9 {cluster.nodes[0].pid}   # and ask the others",
        ):
            story.line(line)
        story.line()
        story.line(f"logs and data: {cluster.directory}, removed at the end")


async def perform(reactor: Reactor, *, once: bool) -> bool:
    """Run the demonstration; return whether it went well.

    :param once: return at its end instead of waiting for Ctrl-C
    """
    story = Story()
    story.line("raftdb: three nodes on this machine, real disks, real deaths")
    cluster = LocalCluster(reactor)
    demo = Demo(reactor, cluster, story)
    went_well = False
    try:
        went_well = await demo.tell()
        if went_well and not once:
            demo.invite()
            await Deferred()
    except ClusterFailed as failed:
        story.bad(str(failed))
    except CancelledError:
        if not went_well:
            raise
    finally:
        with suppress(OSError):  # the terminal may be gone
            story.line()
            story.line("stopping the nodes and removing their directory")
        await cluster.stop()
    return went_well
