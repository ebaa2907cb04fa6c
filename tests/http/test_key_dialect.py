"""Every row of the ``/key`` dialect's table, against the real site without sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from raftdb.database import Level
from raftdb.errors import (
    LeadershipLost,
    Overloaded,
    ProposalDropped,
    RaftDBError,
    ShuttingDown,
    StorageError,
    Timeout,
    TooLarge,
)

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from tests.http.conftest import Served

TEXT = "text/plain; charset=utf-8"
LEADER = "http://leader.example:8091"


class TestGet:
    """``GET /key/k`` on the leader."""

    @pytest.mark.parametrize("query", ["", "?level=default", "?level=", "?other=1"])
    def test_a_present_key_is_a_json_object_without_newline(
        self, served: Served, query: str
    ) -> None:
        """The answer is the original's, byte for byte."""
        served.ask("POST", "/key", b'{"k":"v"}')
        reply = served.ask("GET", "/key/k" + query)
        assert (reply.status, reply.body) == (200, b'{"k":"v"}')
        assert reply.header("Content-Type") == TEXT
        assert reply.length == 9
        assert served.database.reads == [(b"k", Level.DEFAULT, True)]

    def test_a_missing_key_reads_as_empty(self, served: Served) -> None:
        """Old clients cannot tell a missing key from an empty value, and do not try."""
        reply = served.ask("GET", "/key/nothing")
        assert (reply.status, reply.body) == (200, b'{"nothing":""}')

    @pytest.mark.parametrize(
        ("level", "meant"),
        [
            ("stale", Level.STALE),
            ("consistent", Level.CONSISTENT),
            ("%20Stale%20", Level.STALE),
            ("+CONSISTENT%09", Level.CONSISTENT),
            ("Default", Level.DEFAULT),
        ],
    )
    def test_a_level_is_trimmed_and_its_case_folded(
        self, served: Served, level: str, meant: Level
    ) -> None:
        """Spaces and capitals change nothing."""
        assert served.ask("GET", f"/key/k?level={level}").status == 200
        assert [read[1] for read in served.database.reads] == [meant]

    @pytest.mark.parametrize("level", ["consistant", "strong", "%FF", "stale,", "%zz"])
    def test_an_unknown_level_is_refused(self, served: Served, level: str) -> None:
        """A typo must not weaken a read."""
        reply = served.ask("GET", f"/key/k?level={level}")
        assert (reply.status, reply.code) == (400, "invalid_request")
        if level != "%zz":
            assert b"stale, default, consistent" in reply.body
        assert served.database.reads == []

    def test_the_first_level_counts(self, served: Served) -> None:
        """As in the original."""
        served.ask("GET", "/key/k?level=consistent&level=stale")
        assert [read[1] for read in served.database.reads] == [Level.CONSISTENT]

    def test_head_is_get_without_the_body(self, served: Served) -> None:
        """Same status, same headers, no body."""
        served.ask("POST", "/key", b'{"k":"v"}')
        reply = served.ask("HEAD", "/key/k")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.header("Content-Length") == "9"
        assert reply.header("Content-Type") == TEXT

    def test_the_json_is_escaped_as_go_does(self, served: Served) -> None:
        """Markup and the line separators are escaped, other text is raw UTF-8."""
        value = "<a>&\u2028\u2029\"\\\n\r\t\x00\x08\x1f\x7f/ü😀'"
        served.ask("POST", "/key", json.dumps({"<k>": value}).encode())
        expected = (
            '{"\\u003ck\\u003e":"\\u003ca\\u003e\\u0026\\u2028\\u2029\\"\\\\\\n\\r\\t'
            "\\u0000\\b\\u001f\x7f/ü😀'\"}"
        )
        assert served.ask("GET", "/key/%3Ck%3E").body.decode() == expected

    def test_a_value_of_other_bytes_is_shown_with_replacement_characters(
        self, served: Served
    ) -> None:
        """What another interface wrote as bytes still gives valid JSON."""
        served.ask("PUT", "/api/kv?key=k", b"a\xff\x00")
        assert json.loads(served.ask("GET", "/key/k").body) == {"k": "a\ufffd\x00"}


class TestPost:
    """``POST /key`` on the leader."""

    @pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
    def test_all_pairs_are_one_entry(self, served: Served, kind: str | None) -> None:
        """The answer is 200 and empty whatever the Content-Type, and the write is atomic."""
        headers = {} if kind is None else {"Content-Type": [kind]}
        reply = served.ask("POST", "/key", b'{"a":"1","b":"2"}', headers)
        assert (reply.status, reply.body) == (200, b"")
        assert reply.header("Content-Type") is None
        assert reply.length == 0
        assert served.database.entries == [("put", (b"a", b"b"))]

    @pytest.mark.parametrize("role", ["leader", "follower", "none"])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"nonsense",
            b'{"a":1}',
            b'{"a":null}',
            b'{"a":["b"]}',
            b'{"a":"1"} x',
            b'{"a":"1"}{}',
            b"null",
            b"[]",
            b'"a"',
            b'{"a":"\xff"}',
            b'{"\xff":"a"}',
            rb'{"a":"\ud800"}',
            rb'{"a":"\udc00\ud800"}',
            rb'{"\ud800":"a"}',
            b'{"":"a"}',
            b'{"a":"1","":"2"}',
            b'{"a":' + b"[" * 200_000,
            b"[" * 200_000,
            b'{"a":' + b"9" * 5_000 + b"}",
            b'{"' + b"k" * 4097 + b'":"v"}',
            b'\xef\xbb\xbf{"a":"1"}',
            b'{"a":"1"',
        ],
    )
    def test_a_bad_body_is_refused_before_leadership_is_asked(
        self, served: Served, body: bytes, role: str
    ) -> None:
        """400 with the reason, at every node."""
        served.database.role = role
        reply = served.ask("POST", "/key", body)
        assert (reply.status, reply.code) == (400, "invalid_request")
        assert served.database.entries == []

    @pytest.mark.parametrize("role", ["leader", "follower", "none"])
    def test_an_empty_object_does_nothing_anywhere(self, served: Served, role: str) -> None:
        """Never redirected."""
        served.database.role = role
        reply = served.ask("POST", "/key", b" {} ")
        assert (reply.status, reply.body) == (200, b"")
        assert served.database.entries == []

    def test_the_last_of_duplicate_keys_wins(self, served: Served) -> None:
        """As in the original."""
        served.ask("POST", "/key", b'{"a":"1","a":"2"}')
        assert served.ask("GET", "/key/a").body == b'{"a":"2"}'

    @pytest.mark.parametrize("path", ["/key/", "/key/anything"])
    def test_the_rest_of_the_path_never_meant_anything(self, served: Served, path: str) -> None:
        """The body alone names the keys."""
        assert served.ask("POST", path, b'{"a":"1"}').status == 200
        assert served.database.entries == [("put", (b"a",))]

    def test_a_key_of_4096_bytes_is_written_and_read(self, served: Served) -> None:
        """The longest key there is, all of it percent-encoded, fits the request line."""
        key = "ü" * 2048
        body = json.dumps({key: "v"}, ensure_ascii=False).encode()
        assert served.ask("POST", "/key", body).status == 200
        target = "/key/" + "%C3%BC" * 2048
        assert json.loads(served.ask("GET", target).body) == {key: "v"}
        assert served.ask("DELETE", target).status == 200
        assert served.database.pairs == {}

    def test_too_many_keys_at_once_are_refused(self, served: Served) -> None:
        """One write must not stall the event loop."""
        body = json.dumps({f"k{n}": "" for n in range(10_001)}).encode()
        assert served.ask("POST", "/key", body).code == "too_large"
        assert served.database.entries == []


class TestDelete:
    """``DELETE /key/k`` on the leader."""

    @pytest.mark.parametrize("present", [True, False])
    def test_deletes_once_and_answers_nothing(self, served: Served, present: bool) -> None:
        """Present or not, one entry, 200, empty."""
        if present:
            served.ask("PUT", "/api/kv?key=k", b"v")
        served.database.entries.clear()
        reply = served.ask("DELETE", "/key/k")
        assert (reply.status, reply.body) == (200, b"")
        assert served.database.entries == [("delete", (b"k",))]
        assert served.database.pairs == {}


class TestPaths:
    """What under ``/key`` is a key, and what is none."""

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    @pytest.mark.parametrize("path", ["/key", "/key/", "/key?level=stale", "/key/?level=stale"])
    def test_no_key_is_a_bad_request(self, served: Served, method: str, path: str) -> None:
        """400 everywhere, before leadership is asked."""
        served.database.role = "none"
        assert served.ask(method, path).status == 400

    @pytest.mark.parametrize(
        ("raw", "key"),
        [
            ("a%2Fb", "a/b"),
            ("a/b", "a/b"),
            ("/", "/"),
            ("/a", "/a"),
            ("a/", "a/"),
            ("a//b", "a//b"),
            ("..", ".."),
            ("../key", "../key"),
            (".", "."),
            ("%2E%2E", ".."),
            ("%25", "%"),
            ("%2525", "%25"),
            ("%00", "\0"),
            ("%20", " "),
            ("a+b", "a+b"),
            ("%3Flevel=x", "?level=x"),
            ("%23", "#"),
            ("a;b&c=d", "a;b&c=d"),
            ("%F0%9F%98%80", "😀"),
            ("%0D%0ASet-Cookie:x", "\r\nSet-Cookie:x"),
            ("key/key", "key/key"),
            ("<path:key>", "<path:key>"),
        ],
    )
    def test_every_key_can_be_written_read_and_deleted(
        self, served: Served, raw: str, key: str
    ) -> None:
        """The key is the raw path's rest, percent-decoded once."""
        assert served.ask("POST", "/key", json.dumps({key: "v"}).encode()).status == 200
        assert json.loads(served.ask("GET", f"/key/{raw}").body) == {key: "v"}
        assert served.ask("DELETE", f"/key/{raw}").status == 200
        assert served.database.pairs == {}

    @pytest.mark.parametrize("raw", ["%", "%zz", "a%2", "%FF", "%C3%28", "%ED%A0%80"])
    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_what_is_no_utf8_or_no_escape_is_refused(
        self, served: Served, method: str, raw: str
    ) -> None:
        """Nothing is guessed."""
        assert served.ask(method, f"/key/{raw}").code == "invalid_request"

    def test_a_key_too_long_is_refused(self, served: Served) -> None:
        """4,097 bytes cannot have been written."""
        reply = served.ask("GET", "/key/" + "k" * 4097)
        assert (reply.status, reply.code) == (400, "invalid_request")

    @pytest.mark.parametrize("path", ["/keyfoo/k", "/keyfoo", "/Key/k", "/", "//key/k", "/join/x"])
    def test_other_paths_are_not_found(self, served: Served, path: str) -> None:
        """Close is not enough."""
        reply = served.ask("GET", path)
        assert (reply.status, reply.code) == (404, "not_found")

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "get", "BREW"])
    @pytest.mark.parametrize("path", ["/key", "/key/", "/key/k"])
    def test_other_methods_are_told_which_are_allowed(
        self, served: Served, method: str, path: str
    ) -> None:
        """405 with Allow."""
        reply = served.ask(method, path, b"")
        assert (reply.status, reply.code) == (405, "method_not_allowed")
        assert reply.header("Allow") == "DELETE, GET, HEAD, POST"


class TestFollower:
    """A node that knows the leader."""

    @pytest.fixture(autouse=True)
    def follows(self, served: Served) -> None:
        """Make the node a follower with something to read."""
        served.ask("POST", "/key", b'{"k":"v"}')
        served.database.role = "follower"

    @pytest.mark.parametrize(
        "target", ["/key/k", "/key/k?level=consistent", "/key/k?level=default"]
    )
    def test_get_is_redirected(self, served: Served, target: str) -> None:
        """307 with the body that Go's net/http writes."""
        reply = served.ask("GET", target)
        assert reply.status == 307
        assert reply.header("Location") == LEADER + target
        assert reply.header("Content-Type") == "text/html; charset=utf-8"
        assert reply.body == f'<a href="{LEADER}{target}">Temporary Redirect</a>.\n\n'.encode()

    def test_head_is_redirected_without_a_body(self, served: Served) -> None:
        """The head of what GET would get."""
        reply = served.ask("HEAD", "/key/k")
        assert (reply.status, reply.body) == (307, b"")
        assert reply.header("Content-Type") == "text/html; charset=utf-8"

    @pytest.mark.parametrize(
        ("method", "target", "body"),
        [("POST", "/key", b'{"a":"b"}'), ("DELETE", "/key/k", None)],
    )
    def test_writes_are_redirected_with_an_empty_body(
        self, served: Served, method: str, target: str, body: bytes | None
    ) -> None:
        """307 keeps method and body, so that curl -L works."""
        reply = served.ask(method, target, body)
        assert (reply.status, reply.body) == (307, b"")
        assert reply.header("Location") == LEADER + target
        assert reply.header("Content-Type") is None

    def test_a_stale_read_is_answered_here(self, served: Served) -> None:
        """From the node's own store."""
        reply = served.ask("GET", "/key/k?level=stale")
        assert (reply.status, reply.body) == (200, b'{"k":"v"}')

    def test_the_location_keeps_the_raw_path_and_query(self, served: Served) -> None:
        """The original decodes them and breaks keys with spaces and question marks."""
        target = "/key/a%20b%3Fc%2F..//%25?level=%20consistent&x=<>&y='%22"
        reply = served.ask("GET", target)
        assert reply.header("Location") == LEADER + target
        escaped = target.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        escaped = escaped.replace("'", "&#39;")
        assert reply.body.decode() == f'<a href="{LEADER}{escaped}">Temporary Redirect</a>.\n\n'

    def test_bytes_beyond_ascii_are_escaped_in_the_location(self, served: Served) -> None:
        """A header is ASCII."""
        wire = served.wire()
        wire.send(b"DELETE /key/k?x=\x80 HTTP/1.1\r\n\r\n")
        assert b"\r\nLocation: http://leader.example:8091/key/k?x=%80\r\n" in wire.received

    def test_the_scheme_is_the_requests(self, served: Served) -> None:
        """Over TLS the leader is reached over TLS."""
        reply = served.ask("DELETE", "/key/k", scheme="https")
        assert reply.header("Location") == "https://leader.example:8091/key/k"

    def test_a_leader_without_an_address_is_no_help(self, served: Served) -> None:
        """Nowhere to send the client: as if nobody led."""
        served.database.leader_http = ""
        assert served.ask("GET", "/key/k").body == b"node is not the leader\n"


class TestFollowerThatServesReads:
    """A node that was told to answer reads itself, see ``--follower-reads``."""

    @pytest.fixture
    def serving(self, serve_either: type[Served], fast: bool) -> Served:
        """Make a follower with something to read."""
        served = serve_either(fast=fast, serve_reads=True)
        served.ask("POST", "/key", b'{"k":"v"}')
        served.database.role = "follower"
        return served

    @pytest.mark.parametrize("level", list(Level))
    def test_answers_at_every_level(self, serving: Served, level: Level) -> None:
        """With the level that was asked for, which the database has to keep."""
        reply = serving.ask("GET", f"/key/k?level={level.value}")
        assert (reply.status, reply.body) == (200, b'{"k":"v"}')
        assert serving.database.reads == [(b"k", level, False)]

    @pytest.mark.parametrize(("method", "target"), [("POST", "/key"), ("DELETE", "/key/k")])
    def test_writes_are_redirected_all_the_same(
        self, serving: Served, method: str, target: str
    ) -> None:
        """Nobody but the leader writes."""
        assert serving.ask(method, target, b'{"a":"b"}').header("Location") == LEADER + target


class TestNoLeader:
    """A node that knows no leader."""

    @pytest.mark.parametrize(
        ("method", "target", "body"),
        [
            ("GET", "/key/k", None),
            ("GET", "/key/k?level=consistent", None),
            ("POST", "/key", b'{"a":"b"}'),
            ("DELETE", "/key/k", None),
        ],
    )
    def test_is_told_as_the_original_tells_it(
        self, served: Served, method: str, target: str, body: bytes | None
    ) -> None:
        """503, text/plain."""
        served.database.role = "none"
        reply = served.ask(method, target, body)
        assert (reply.status, reply.body) == (503, b"node is not the leader\n")
        assert reply.header("Content-Type") == TEXT
        assert reply.header("Retry-After") == "1"
        assert reply.code == "no_leader"

    def test_a_stale_read_is_answered(self, served: Served) -> None:
        """It needs nobody."""
        served.ask("POST", "/key", b'{"k":"v"}')
        served.database.role = "none"
        assert served.ask("GET", "/key/k?level=stale").body == b'{"k":"v"}'


class TestInternalFailures:
    """503 if it surely did not happen, 504 if nobody knows, never 500."""

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (Overloaded("full"), 503, "overloaded"),
            (ShuttingDown(), 503, "shutting_down"),
            (ProposalDropped("term"), 503, "proposal_dropped"),
            (TooLarge("big"), 413, "too_large"),
            (LeadershipLost("?"), 504, "leadership_lost"),
            (Timeout("?"), 504, "timeout"),
            (StorageError("disk"), 504, "failed"),
        ],
    )
    def test_are_json(self, served: Served, error: RaftDBError, status: int, code: str) -> None:
        """With the stable name and a message."""
        served.database.failure = error
        reply = served.ask("POST", "/key", b'{"a":"b"}')
        assert (reply.status, reply.code) == (status, code)
        assert (reply.header("Retry-After") == "1") is (status == 503)

    def test_a_bug_is_logged_and_its_outcome_unknown(
        self, served: Served, logged: list[LogEvent]
    ) -> None:
        """The client sees no traceback; the log does."""
        served.database.failure = ZeroDivisionError("a bug")
        reply = served.ask("POST", "/key", b'{"a":"b"}')
        assert (reply.status, reply.code) == (504, "internal")
        assert b"bug" not in reply.body
        assert [event["log_failure"].value for event in logged] == [served.database.failure]
        logged.clear()
