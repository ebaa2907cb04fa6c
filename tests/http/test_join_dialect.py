"""The ``/join`` row of the dialect, against the real site without sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from raftdb.errors import MembershipBusy

if TYPE_CHECKING:
    from tests.http.conftest import Served

GOOD = {"id": "node02", "raftAddr": "10.0.0.2:8089", "httpAddr": "[::1]:8091"}


class TestJoin:
    """``POST /join`` takes a node in by its addresses alone."""

    def test_invites_and_answers_nothing(self, served: Served) -> None:
        """200, empty."""
        reply = served.ask("POST", "/join", json.dumps(GOOD).encode())
        assert (reply.status, reply.body) == (200, b"")
        assert served.membership.asked == [("invite", "node02", "10.0.0.2:8089", "[::1]:8091")]

    def test_a_follower_redirects(self, served: Served) -> None:
        """307, empty, to the leader's same path."""
        served.database.role = "follower"
        reply = served.ask("POST", "/join", json.dumps(GOOD).encode())
        assert (reply.status, reply.body) == (307, b"")
        assert reply.header("Location") == "http://leader.example:8091/join"

    def test_without_a_leader_it_is_refused(self, served: Served) -> None:
        """503 as the original tells it."""
        served.database.role = "none"
        reply = served.ask("POST", "/join", json.dumps(GOOD).encode())
        assert (reply.status, reply.body) == (503, b"node is not the leader\n")

    @pytest.mark.parametrize(
        "change",
        [
            {"id": ""},
            {"id": None},
            {"id": "a\nb"},
            {"id": "x" * 256},
            {"raftAddr": ""},
            {"raftAddr": "localhost"},
            {"raftAddr": "localhost:0"},
            {"raftAddr": "localhost:65536"},
            {"raftAddr": "localhost:٣"},
            {"raftAddr": ":8089"},
            {"raftAddr": "a b:8089"},
            {"httpAddr": "http://localhost:8091"},
            {"httpAddr": "evil.example:80/x?"},
            {"httpAddr": "a@b:80"},
            {"httpAddr": 8091},
            {"more": "x"},
        ],
    )
    def test_anything_but_three_good_strings_is_refused(
        self, served: Served, change: dict[str, object]
    ) -> None:
        """400 with the reason, and nothing is changed."""
        reply = served.ask("POST", "/join", json.dumps(GOOD | change).encode())
        assert (reply.status, reply.code) == (400, "invalid_request")
        assert served.membership.asked == []

    @pytest.mark.parametrize("missing", sorted(GOOD))
    def test_no_field_may_be_missing(self, served: Served, missing: str) -> None:
        """Exactly three."""
        fields = {name: text for name, text in GOOD.items() if name != missing}
        reply = served.ask("POST", "/join", json.dumps(fields).encode())
        assert reply.status == 400
        assert missing.encode() in reply.body

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    def test_other_methods_are_not_allowed(self, served: Served, method: str) -> None:
        """405 with Allow."""
        reply = served.ask(method, "/join")
        assert (reply.status, reply.header("Allow")) == (405, "POST")

    def test_a_refused_change_says_why(self, served: Served) -> None:
        """503, surely not applied, and worth another try."""
        served.database.failure = MembershipBusy("another change is under way")
        reply = served.ask("POST", "/join", json.dumps(GOOD).encode())
        assert (reply.status, reply.code) == (503, "membership_busy")
        assert reply.header("Retry-After") == "1"
        assert b"another change is under way" in reply.body
