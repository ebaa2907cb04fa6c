"""The client and the real site together, without sockets: three nodes, one of which leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import pytest
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

from raftdb.client import Client
from raftdb.client.exchange import Body
from raftdb.errors import (
    InvalidRequest,
    LeadershipLost,
    NoLeader,
    OutcomeUnknown,
    RaftDBError,
    ShuttingDown,
    StorageError,
    TooLarge,
)
from raftdb.http.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.conftest import Served

T = TypeVar("T")
NAMES = ("node01:8091", "node02:8091", "node03:8091")


@implementer(IAgent)
class Cluster:
    """Three sites; the followers read what the leader has, as if replication took no time."""

    def __init__(self, serve: Callable[[Limits], Served]) -> None:
        self.clock = Clock()
        self.nodes = {name: serve(Limits()) for name in NAMES}
        self.down: list[str] = []
        self.lead(NAMES[1])
        shared = self.nodes[NAMES[0]].database.store
        for node in self.nodes.values():
            node.database.store = shared
        self.client = Client(self.clock, NAMES, http=HTTPClient(self, data_to_body_producer=Body))

    def lead(self, leader: str | None) -> None:
        """Let a node lead, or none."""
        for name, node in self.nodes.items():
            role = "follower" if leader else "none"
            node.database.role = "leader" if name == leader else role
            node.database.leader_http = leader or ""

    def request(self, method: bytes, uri: bytes, *args: object) -> Deferred[IResponse]:
        """Send a request to the node of its address."""
        address = urlsplit(uri.decode()).netloc
        if address in self.down:
            return fail(RefusedError())
        agent = self.nodes[address].agent
        answer: Deferred[IResponse] = agent.request(method, uri, *args)
        agent.flush()
        self.clock.callLater(0.001, agent.flush)
        return answer

    def finish(self, deferred: Deferred[T]) -> T:
        """Let time pass until a Deferred fires."""
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        while not results:
            assert self.clock.seconds() < 60
            self.clock.advance(0.01)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    @property
    def entries(self) -> list[tuple[str, tuple[bytes, ...]]]:
        """What has been proposed on any node."""
        return [entry for node in self.nodes.values() for entry in node.database.entries]


@pytest.fixture
def cluster(serve: Callable[[Limits], Served]) -> Cluster:
    """Three nodes, the second leads."""
    return Cluster(serve)


class TestTheRoundTrip:
    """What the client writes is what it reads."""

    @pytest.mark.parametrize(
        "key", [b"k", b"a/b", b"..", b"%", b"\x00\xff", b"+ &=?#", bytes(range(256)), "ü😀"]
    )
    @pytest.mark.parametrize("value", [b"", b"v", bytes(range(256)), "ü😀"])
    def test_any_key_any_value(
        self, cluster: Cluster, key: bytes | str, value: bytes | str
    ) -> None:
        """Byte for byte, once written, and gone when deleted."""
        client, raw = cluster.client, value if isinstance(value, bytes) else value.encode()
        assert cluster.finish(client.put(key, value)) == 2
        assert cluster.finish(client.get(key)) == raw
        assert cluster.finish(client.get(key, level="stale")) == raw
        assert cluster.finish(client.delete(key)) is True
        assert cluster.finish(client.delete(key)) is False
        assert cluster.finish(client.get(key, level="consistent")) is None

    def test_many_at_once(self, cluster: Cluster) -> None:
        """As one entry."""
        cluster.finish(cluster.client.put_many({"a": "1", "ü/": "<&>"}))
        assert cluster.entries == [("put", (b"a", "ü/".encode()))]
        assert cluster.finish(cluster.client.get("ü/")) == b"<&>"

    def test_status(self, cluster: Cluster) -> None:
        """Of any node."""
        assert cluster.finish(cluster.client.status(NAMES[2])) == {
            "id": "node02",
            "role": "follower",
        }


class TestChanges:
    """The leader changes under the client."""

    def test_every_write_finds_the_leader(self, cluster: Cluster) -> None:
        """Whoever it is at the moment; each write is applied once."""
        for number in range(9):
            cluster.lead(NAMES[number % 3])
            cluster.finish(cluster.client.put(f"k{number}", b""))
        assert [keys for _, keys in sorted(cluster.entries)] == [
            (f"k{number}".encode(),) for number in range(9)
        ]

    def test_an_election_is_waited_for(self, cluster: Cluster) -> None:
        """Half a second without a leader is no error."""
        cluster.lead(None)
        cluster.clock.callLater(0.5, cluster.lead, NAMES[2])
        assert cluster.finish(cluster.client.put("k", "v")) == 2
        assert 0.5 < cluster.clock.seconds() < 1.5

    def test_a_dead_leader_is_waited_for(self, cluster: Cluster) -> None:
        """Its followers still redirect to it for a while."""
        cluster.down.append(NAMES[1])
        cluster.clock.callLater(0.4, cluster.lead, NAMES[0])
        assert cluster.finish(cluster.client.put("k", "v")) == 2
        assert cluster.entries == [("put", (b"k",))]

    def test_no_leader_for_long_is_told_as_a_refusal(self, cluster: Cluster) -> None:
        """Surely not written."""
        cluster.lead(None)
        with pytest.raises(NoLeader):
            cluster.finish(cluster.client.put("k", "v", timeout_s=2.0))
        assert cluster.entries == []


class TestErrors:
    """What the server means is what the client raises."""

    @pytest.mark.parametrize(
        ("error", "kind", "asked_again"),
        [
            (TooLarge("big"), TooLarge, False),
            (InvalidRequest("bad"), InvalidRequest, False),
            (ShuttingDown(), ShuttingDown, True),
            (LeadershipLost("?"), OutcomeUnknown, False),
            (StorageError("?"), OutcomeUnknown, False),
        ],
    )
    def test_arrive_as_they_were_sent(
        self, cluster: Cluster, error: RaftDBError, kind: type[RaftDBError], asked_again: bool
    ) -> None:
        """And only what surely did not happen is asked again."""
        for node in cluster.nodes.values():
            node.database.failure = error
        with pytest.raises(kind):
            cluster.finish(cluster.client.put("k", "v", timeout_s=1.0))
        assert (cluster.clock.seconds() > 0.2) is asked_again

    def test_a_body_beyond_the_limit_is_too_large(self, cluster: Cluster) -> None:
        """Refused by the connection itself, while it arrives."""
        with pytest.raises(TooLarge):
            cluster.finish(cluster.client.put("k", b"x" * (Limits().body_bytes_max + 1)))
        assert cluster.entries == []

    def test_a_key_beyond_the_limit_is_invalid(self, cluster: Cluster) -> None:
        """4,096 bytes are the longest."""
        with pytest.raises(InvalidRequest):
            cluster.finish(cluster.client.put("k" * 4097, b""))
