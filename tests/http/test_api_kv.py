"""``/api/kv``: any bytes as key and value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from raftdb.database import Level

if TYPE_CHECKING:
    from tests.http.conftest import Served


class TestValues:
    """A value is bytes and stays bytes."""

    @pytest.mark.parametrize("value", [b"", b"v", bytes(range(256)), b"\0" * 100_000])
    def test_is_read_as_it_was_written(self, served: Served, value: bytes) -> None:
        """Raw, with its revisions as headers."""
        put = served.ask("PUT", "/api/kv?key=k", value)
        assert (put.status, json.loads(put.body)) == (200, {"revision": 2})
        got = served.ask("GET", "/api/kv?key=k")
        assert (got.status, got.body, got.length) == (200, value, len(value))
        if value:
            assert got.header("Content-Type") == "application/octet-stream"
        revisions = [
            got.header(f"Raftdb-{name}") for name in ("Create-Revision", "Mod-Revision", "Version")
        ]
        assert revisions == ["2", "2", "1"]

    def test_a_missing_key_is_not_found(self, served: Served) -> None:
        """Unlike an empty value."""
        reply = served.ask("GET", "/api/kv?key=k")
        assert (reply.status, reply.code) == (404, "key_not_found")

    def test_delete_tells_how_many_there_were(self, served: Served) -> None:
        """One or none."""
        served.ask("PUT", "/api/kv?key=k", b"v")
        assert json.loads(served.ask("DELETE", "/api/kv?key=k").body)["deleted"] == 1
        assert json.loads(served.ask("DELETE", "/api/kv?key=k").body)["deleted"] == 0

    def test_head_has_the_length_and_no_body(self, served: Served) -> None:
        """The head of what GET would get."""
        served.ask("PUT", "/api/kv?key=k", b"value")
        reply = served.ask("HEAD", "/api/kv?key=k")
        assert (reply.status, reply.body, reply.header("Content-Length")) == (200, b"", "5")


class TestKeys:
    """The key is the percent-decoded bytes of the parameter."""

    @pytest.mark.parametrize(
        "key",
        [
            b"a/b", b"/", b"..", b".", b"../..", b"%", b"%41", b"\0", b" ", b"+", b"&", b"=", b";",
            b"#", b"?", b"\xff\xfe", b"\r\n", b"level", "😀".encode(), b"k" * 4096, bytes(range(256)),
        ],
        ids=lambda key: repr(key[:12]),
    )  # fmt: skip
    def test_every_key_can_be_written_read_and_deleted(self, served: Served, key: bytes) -> None:
        """Whatever its bytes."""
        target = f"/api/kv?key={quote(key, safe='')}"
        assert served.ask("PUT", target, b"v").status == 200
        assert list(served.database.pairs) == [key]
        assert served.ask("GET", target).body == b"v"
        assert served.ask("DELETE", target).status == 200
        assert served.database.pairs == {}

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    def test_a_raw_plus_is_refused(self, served: Served, method: str) -> None:
        """Most libraries write a space so; taken for a plus sign, two keys would become one."""
        reply = served.ask(method, "/api/kv?key=a+b", b"v")
        assert reply.status == 400
        if method != "HEAD":
            assert b"%20" in reply.body
            assert b"%2B" in reply.body
        assert served.database.entries == []
        for escaped in ("a%20b", "a%2Bb"):
            assert served.ask("PUT", f"/api/kv?key={escaped}", b"v").status == 200
        assert list(served.database.pairs) == [b"a b", b"a+b"]

    @pytest.mark.parametrize(
        "query",
        [
            "", "?", "?key", "?key=", "?level=stale", "?key=%", "?key=%zz", "?key=a&key=b",
            "?key=a&levle=consistent", "?key=a&level=strong", "?key=" + "k" * 4097, "?=a", "?%FF=a",
            "?key=a&level=stale&level=consistent",
        ],
    )  # fmt: skip
    def test_what_is_not_one_key_is_refused(self, served: Served, query: str) -> None:
        """400 with the reason, and nothing is read or written."""
        for method, body in (("GET", None), ("HEAD", None), ("PUT", b"v"), ("DELETE", None)):
            reply = served.ask(method, "/api/kv" + query, body)
            assert reply.status == 400
            assert reply.header("Raftdb-Error") == "invalid_request"
        assert served.database.reads == []
        assert served.database.entries == []

    def test_a_level_is_no_business_of_a_write(self, served: Served) -> None:
        """What means nothing is refused rather than passed over."""
        assert served.ask("PUT", "/api/kv?key=k&level=stale", b"v").status == 400


class TestLeadership:
    """Reads are answered where they arrive, writes are redirected."""

    @pytest.mark.parametrize("level", ["stale", "default", "consistent"])
    def test_a_follower_reads_for_itself(self, served: Served, level: str) -> None:
        """The level is kept; only the way differs."""
        served.ask("PUT", "/api/kv?key=k", b"v")
        served.database.role = "follower"
        assert served.ask("GET", f"/api/kv?key=k&level={level}").body == b"v"
        assert served.database.reads == [(b"k", Level(level), False)]

    @pytest.mark.parametrize(("method", "body"), [("PUT", b"v"), ("DELETE", None)])
    def test_a_follower_redirects_writes(
        self, served: Served, method: str, body: bytes | None
    ) -> None:
        """To the same raw target, with a body that says why."""
        served.database.role = "follower"
        reply = served.ask(method, "/api/kv?key=%2F%00", body)
        assert (reply.status, reply.code) == (307, "not_leader")
        assert reply.header("Location") == "http://leader.example:8091/api/kv?key=%2F%00"

    @pytest.mark.parametrize(("method", "body"), [("PUT", b"v"), ("DELETE", None), ("GET", None)])
    def test_without_a_leader_nothing_happens(
        self, served: Served, method: str, body: bytes | None
    ) -> None:
        """503 with a name, and when to try again."""
        served.database.role = "none"
        reply = served.ask(method, "/api/kv?key=k", body)
        assert (reply.status, reply.code) == (503, "no_leader")
        assert reply.header("Retry-After") == "1"


class TestHeaders:
    """Every answer tells where the node stands."""

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/key/k"), ("GET", "/nowhere"), ("PATCH", "/key"), ("GET", "/api/kv"),
            ("GET", "/livez"), ("POST", "/join"), ("HEAD", "/api/status"),
        ],
    )  # fmt: skip
    def test_say_applied_index_term_leader_and_age(
        self, served: Served, method: str, target: str
    ) -> None:
        """Whatever was asked."""
        served.database.applied = 41
        reply = served.ask(method, target)
        assert reply.header("Raftdb-Applied-Index") == "41"
        assert reply.header("Raftdb-Term") == "7"
        assert reply.header("Raftdb-Leader") == "node02"
        assert reply.header("Raftdb-Leader-Contact-Age-Ms") == "12"

    def test_leave_out_what_is_not_known(self, served: Served) -> None:
        """No leader, no age."""
        served.database.role = "none"
        reply = served.ask("GET", "/livez")
        assert reply.header("Raftdb-Leader") is None
        assert reply.header("Raftdb-Leader-Contact-Age-Ms") is None

    def test_are_taken_when_answering(self, served: Served) -> None:
        """A write's own entry is in the index that its answer tells."""
        assert served.ask("PUT", "/api/kv?key=k", b"v").header("Raftdb-Applied-Index") == "1"
