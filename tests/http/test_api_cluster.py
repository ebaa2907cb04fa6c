"""``/api/status``, ``/api/cluster``, ``/livez`` and ``/readyz``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from raftdb.errors import (
    ConfChangeError,
    InvalidRequest,
    JoinRefused,
    MembershipBusy,
    RaftDBError,
)
from raftdb.membership import JoinRequest, decode_join_answer, encode_join_request
from raftdb.raft.types import MemberID

if TYPE_CHECKING:
    from tests.http.conftest import Served

REQUEST = JoinRequest(MemberID("node03", 2**127 + 5), "h3:8089", "h3:8091", cluster_id=9)


class TestMembers:
    """``/api/cluster/members``: who belongs."""

    def test_a_node_joins_with_what_it_is(self, served: Served) -> None:
        """The answer is what a joining node reads."""
        reply = served.ask("POST", "/api/cluster/members", encode_join_request(REQUEST))
        assert reply.status == 200
        assert served.membership.asked == [("add", REQUEST)]
        assert decode_join_answer(reply.body).members[0].member == REQUEST.member

    @pytest.mark.parametrize(
        "body",
        [b"", b"{}", b"null", b"[" * 50_000, b'{"id":' + b"[" * 50_000, b"\xff", b'{"x":' + b"[" * 50_000],
    )  # fmt: skip
    def test_a_bad_request_to_join_is_refused(self, served: Served, body: bytes) -> None:
        """400 with the reason."""
        reply = served.ask("POST", "/api/cluster/members", body)
        assert (reply.status, reply.code) == (400, "invalid_request")

    def test_a_member_is_removed_by_its_id(self, served: Served) -> None:
        """The id is the raw path's rest."""
        reply = served.ask("DELETE", "/api/cluster/members/node%2D03")
        assert (reply.status, json.loads(reply.body)) == (200, {"removed": "node-03"})
        assert served.membership.asked == [("remove", "node-03")]

    @pytest.mark.parametrize("path", ["", "%FF", "%", "a%2Fb", "a/b", "%0A", "x" * 300])
    def test_what_cannot_be_an_id_is_refused(self, served: Served, path: str) -> None:
        """400, and nothing is asked."""
        assert served.ask("DELETE", f"/api/cluster/members/{path}").status == 400
        assert served.membership.asked == []

    def test_they_are_listed(self, served: Served) -> None:
        """By any node."""
        served.database.role = "follower"
        reply = served.ask("GET", "/api/cluster/members")
        assert json.loads(reply.body) == [{"id": "node01"}]

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (ConfChangeError("no quorum"), 409, "membership_change_refused"),
            (MembershipBusy("not now"), 503, "membership_busy"),
            (JoinRefused("never"), 403, "join_refused"),
            (InvalidRequest("who?"), 400, "invalid_request"),
        ],
    )
    def test_a_guard_says_why(
        self, served: Served, error: RaftDBError, status: int, code: str
    ) -> None:
        """In the body."""
        served.database.failure = error
        reply = served.ask("POST", "/api/cluster/members", encode_join_request(REQUEST))
        assert (reply.status, reply.code) == (status, code)
        assert reply.header("Retry-After") == ("1" if status == 503 else None)
        assert str(error) in json.loads(reply.body)["error"]["message"]


class TestTransfer:
    """``/api/cluster/transfer`` hands leadership over."""

    def test_to_a_named_member(self, served: Served) -> None:
        """And says who leads now."""
        reply = served.ask("POST", "/api/cluster/transfer", b'{"to": "node03"}')
        assert (reply.status, json.loads(reply.body)) == (200, {"leader": "node03"})
        assert served.membership.asked == [("transfer", "node03")]

    @pytest.mark.parametrize("body", [b"", b"{}", b'{"to":""}', b'{"to":1}', b'{"to":"a","x":1}'])
    def test_a_bad_body_is_refused(self, served: Served, body: bytes) -> None:
        """400 with the reason."""
        assert served.ask("POST", "/api/cluster/transfer", body).code == "invalid_request"

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/api/cluster/transfer", b'{"to": "node03"}'),
            ("DELETE", "/api/cluster/members/node03", None),
            ("POST", "/api/cluster/members", encode_join_request(REQUEST)),
        ],
    )
    def test_a_follower_redirects_all_changes(
        self, served: Served, method: str, path: str, body: bytes | None
    ) -> None:
        """307 to the leader."""
        served.database.role = "follower"
        reply = served.ask(method, path, body)
        assert (reply.status, reply.code) == (307, "not_leader")
        assert reply.header("Location") == "http://leader.example:8091" + path


class TestStatus:
    """``/api/status`` shows what the node knows."""

    def test_is_json(self, served: Served) -> None:
        """With a newline for people."""
        reply = served.ask("GET", "/api/status")
        assert reply.header("Content-Type") == "application/json"
        assert json.loads(reply.body) == {"id": "node02", "role": "leader"}
        assert reply.body.endswith(b"\n")

    def test_other_paths_below_api_are_not_found(self, served: Served) -> None:
        """In JSON, too."""
        for path in ("/api", "/api/", "/api/status/", "/api/kv/", "/api/cluster", "/v3/kv/range"):
            assert served.ask("GET", path).code == "not_found"


class TestHealth:
    """``/livez`` and ``/readyz`` for whoever watches."""

    def test_a_node_that_answers_is_alive(self, served: Served) -> None:
        """Leader or not."""
        served.database.role = "none"
        assert served.ask("GET", "/livez").status == 200

    def test_readiness_has_a_reason(self, served: Served) -> None:
        """503 with it."""
        assert served.ask("GET", "/readyz").status == 200
        served.unready = "no leader is known"
        reply = served.ask("GET", "/readyz")
        assert reply.status == 503
        assert json.loads(reply.body) == {"ready": False, "reason": "no leader is known"}
