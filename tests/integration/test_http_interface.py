"""The dialect and the client against three real daemons: leader, follower, and without a leader."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no stubs
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from raftdb.client import Client
from raftdb.errors import NoLeader

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster, Daemon

KEYS = {
    "/key/k": "k",
    "/key/a%2Fb": "a/b",
    "/key/a/b": "a/b",
    "/key/..": "..",
    "/key//": "/",
    "/key/%25": "%",
    "/key/%00": "\0",
    "/key/%20%3F": " ?",
    "/key/%F0%9F%98%80": "😀",
    "/key/" + "%C3%BC" * 2048: "ü" * 2048,
}


class Answer(NamedTuple):
    """An answer of one node, redirects not followed."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def raw(node: Daemon, method: str, target: str, body: bytes | None = None) -> Answer:
    """Send a request whose target nobody tidies up on the way."""
    connection = http.client.HTTPConnection(node.http, timeout=15)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        return Answer(reply.status, reply.headers, reply.read())
    finally:
        connection.close()


class TestTheDialect:
    """What old scripts rely on holds on a running cluster."""

    def test_on_a_leader_a_follower_and_without_a_leader(self, cluster: Cluster) -> None:
        """The rows of the table, one node after the other losing its majority."""
        trio = cluster.three()
        leader = cluster.leader()
        follower = next(one for one in trio if one is not leader)
        self.check_keys(leader)
        self.check_follower(leader, follower)
        cluster.wait_until_equal()
        for one in trio:
            if one is not follower:
                one.kill()
        cluster.wait_until(
            "a node that knows no leader", lambda: raw(follower, "GET", "/readyz").status == 503
        )
        self.check_without_leader(follower)

    def test_a_follower_answers_reads_where_it_was_told_to(self, cluster: Cluster) -> None:
        """And sees what was acknowledged before."""
        trio = cluster.three("--follower-reads", "serve")
        leader = cluster.leader()
        follower = next(one for one in trio if one is not leader)
        for value in (b"1", b"2", b"3"):
            assert raw(leader, "POST", "/key", b'{"k":"%b"}' % value).status == 200
            for level in ("default", "consistent"):
                read = raw(follower, "GET", f"/key/k?level={level}")
                assert (read.status, read.body) == (200, b'{"k":"%b"}' % value)

    def check_keys(self, leader: Daemon) -> None:
        """Every key can be written, read at each level, and deleted."""
        for target, key in KEYS.items():
            written = raw(leader, "POST", "/key", json.dumps({key: "<v>"}).encode())
            assert (written.status, written.body) == (200, b"")
            for level in ("", "?level=stale", "?level=consistent", "?level=%20Default"):
                read = raw(leader, "GET", target + level)
                assert read.status == 200
                assert read.headers["Content-Type"] == "text/plain; charset=utf-8"
                assert json.loads(read.body) == {key: "<v>"}
                assert b"\\u003cv\\u003e" in read.body
            assert raw(leader, "DELETE", target).status == 200
            assert json.loads(raw(leader, "GET", target).body) == {key: ""}

    def check_follower(self, leader: Daemon, follower: Daemon) -> None:
        """Reads and writes are redirected, bad ones refused, stale ones answered."""
        raw(leader, "POST", "/key", b'{"a b":"v"}')
        target = "/key/a%20b?level=consistent&x=%2F"
        for method, body in (
            ("GET", None),
            ("HEAD", None),
            ("DELETE", None),
            ("POST", b'{"k":""}'),
        ):
            answer = raw(follower, method, target, body)
            where = f"http://{leader.http}{target}"
            assert (answer.status, answer.headers["Location"]) == (307, where)
            escaped = where.replace("&", "&amp;")
            html = f'<a href="{escaped}">Temporary Redirect</a>.\n\n'.encode()
            assert answer.body == (html if method == "GET" else b"")
        assert raw(follower, "POST", "/key", b"{}").status == 200
        assert raw(follower, "POST", "/key", b"nonsense").status == 400
        assert raw(follower, "GET", "/key/").status == 400
        assert raw(follower, "GET", "/key/k?level=strong").status == 400
        assert raw(follower, "PATCH", "/key/k").headers["Allow"]
        assert raw(follower, "GET", "/keyfoo/k").status == 404
        assert raw(follower, "GET", "/key/a%20b?level=stale").status == 200
        value = raw(follower, "GET", "/api/kv?key=a%20b&level=consistent")
        assert (value.status, value.body) == (200, b"v")

    def check_without_leader(self, node: Daemon) -> None:
        """Nothing happens, and it says so; what needs nobody is answered."""
        for method, target, body in (
            ("GET", "/key/a%20b", None),
            ("GET", "/key/a%20b?level=consistent", None),
            ("POST", "/key", b'{"k":"v"}'),
            ("DELETE", "/key/k", None),
            ("POST", "/join", b'{"id":"x","raftAddr":"h:1","httpAddr":"h:2"}'),
        ):
            answer = raw(node, method, target, body)
            assert (answer.status, answer.body) == (503, b"node is not the leader\n"), target
        assert raw(node, "GET", "/key/a%20b?level=stale").body == b'{"a b":"v"}'
        assert raw(node, "POST", "/key", b"{}").status == 200
        assert raw(node, "POST", "/key", b"[]").status == 400
        assert raw(node, "GET", "/livez").status == 200


class TestHostileClients:
    """A node that is pestered answers the others, and keeps its leadership."""

    def test_cost_nobody_else_anything(self, cluster: Cluster) -> None:
        """Slow ones, greedy ones, and ones that speak no HTTP."""
        (node,) = (cluster.node().start(),)
        cluster.wait_for_voters(1)
        term = node.status()["term"]
        assert raw(node, "PUT", "/api/kv?key=big", bytes(range(256)) * 4096).status == 200
        pests = []
        for number in range(120):
            pest = socket.create_connection(("127.0.0.1", node.http_port), timeout=10)
            pest.sendall(
                (
                    b"POST /key HTTP/1.1\r\nX: ",
                    b"GET /key/big?level=stale HTTP/1.1\r\n\r\n" * 50,
                    b"\x16\x03\x01 no HTTP at all\r\n\r\n",
                )[number % 3]
            )
            pests.append(pest)
        for number in range(20):
            assert raw(node, "POST", "/key", json.dumps({f"k{number}": "v"}).encode()).status == 200
        for pest in pests:
            pest.close()
        status = node.status()
        assert status["term"] == term
        assert "Traceback" not in node.log


class TestTheClient:
    """Once with real nodes: everything it can do, and a leader that dies under it."""

    @pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # as above
    async def test_all_of_it(self, cluster: Cluster) -> None:
        """Reads what it wrote, at each level, before and after the leader is gone."""
        trio = cluster.three()
        client = Client(IReactorTime(reactor), [one.http for one in trio], timeout_s=15.0)
        key, value = bytes(range(256)), b"\x00\xff" * 1000
        assert await client.put(key, value) > 0
        await client.put_many({"a": "1", "b": "2"})
        assert await client.get(key, level="consistent") == value
        assert await client.delete("a") is True
        assert await client.get("a") is None
        leader = cluster.leader()
        leader.kill()
        # What the reactor has not heard of yet would make the next write's outcome unknown.
        await deferLater(IReactorTime(reactor), 0.2)
        await client.put("after", "the leader")
        assert await client.get("after", level="consistent") == b"the leader"
        assert await client.get("b") == b"2"
        await client.close()

    @pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # as above
    async def test_a_minority_refuses(self, cluster: Cluster) -> None:
        """Surely not written, or nobody to be asked: never unknown without a reason."""
        trio = cluster.three()
        leader = cluster.leader()
        follower = next(one for one in trio if one is not leader)
        for one in trio:
            if one is not follower:
                one.kill()
        cluster.wait_until(
            "a node that knows no leader", lambda: raw(follower, "GET", "/readyz").status == 503
        )
        client = Client(IReactorTime(reactor), [follower.http], timeout_s=2.0)
        with pytest.raises(NoLeader):
            await client.put("k", "v")
        await client.close()
