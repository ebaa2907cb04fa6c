"""No input yields a 500, a traceback, a lost count or a silent connection, whatever it is."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftdb.http.limits import Limits

if TYPE_CHECKING:
    from tests.http.conftest import Served, Wire

LIMITS = Limits(body_bytes_max=3000, held_bytes_max=6000, key_bytes_max=500)
FUZZ = settings(
    max_examples=int(os.environ.get("RAFTDB_FUZZ_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD"]) | st.one_of(
    st.sampled_from([b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"get"]),
    st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True),
)
VISIBLE = st.binary(max_size=30).map(lambda raw: bytes(33 + byte % 144 for byte in raw))
ESCAPED = st.binary(max_size=30).map(lambda raw: b"".join(b"%%%02X" % byte for byte in raw))
PIECES = VISIBLE | ESCAPED | st.sampled_from([b"", b"..", b".", b"%", b"%2", b"%zz", b"+", b"*"])
PATHS = st.one_of(
    PIECES.map(lambda piece: b"/key/" + piece),
    PIECES.map(lambda piece: b"/api/cluster/members/" + piece),
    st.sampled_from(
        [b"/key", b"/join", b"/api/kv", b"/api/cluster/members", b"/api/cluster/transfer"]
    ),
    st.sampled_from([b"/key/", b"/api/status", b"/livez", b"/readyz", b"http://h/key/k"]),
    st.sampled_from([b"*", b"/", b"http://h", b"HTTPS://h:1?", b"//key/k", b"h:80", b"key"]),
    PIECES.filter(bool),
)
QUERIES = st.one_of(
    st.just(b"key=k"),
    PIECES.map(lambda piece: b"key=" + piece),
    PIECES.map(lambda piece: b"key=k&level=" + piece),
    st.lists(
        st.tuples(st.sampled_from([b"level", b"key", b"%6Cevel", b"x", b""]), PIECES).map(b"=".join)
        | PIECES,
        max_size=4,
    ).map(b"&".join),
)
TARGETS = st.builds(
    lambda path, query: path + (b"?" + query if query is not None else b""),
    PATHS,
    st.none() | QUERIES,
)
TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
BODIES = (
    st.binary(max_size=100)
    | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | st.dictionaries(TEXTS, TEXTS, max_size=5).map(lambda pairs: json.dumps(pairs).encode())
    | st.fixed_dictionaries(
        {"id": TEXTS, "raftAddr": TEXTS | st.just("a:1"), "httpAddr": TEXTS | st.just("a:1")}
    ).map(lambda pairs: json.dumps(pairs).encode())
    | st.fixed_dictionaries({"to": TEXTS}).map(lambda pairs: json.dumps(pairs).encode())
    | st.sampled_from([b"x" * 3001, b"[" * 3000, b'{"a":' * 500, b"", b"null"])
)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"Host: [::1", b"Host: xn--\xff", b"Host: a\xc3\xbc..b:99999", b"Cookie: a=b; =; c",
            b"Content-Type: multipart/form-data; boundary=\xff", b"Expect: 100-continue",
            b"Connection: close", b"Connection: keep-alive", b"If-None-Match: *", b"Range: bytes=0-",
            b"Accept-Encoding: gzip", b"If-Modified-Since: never", b"Upgrade: websocket",
            b"Transfer-Encoding: identity", b"X-Forwarded-For: \xff",
            b"Content-Type: application/x-www-form-urlencoded",
        ]
    )
    | st.tuples(
        st.from_regex(rb"[A-Za-z-]{1,10}", fullmatch=True),
        st.binary(max_size=20).map(lambda raw: bytes(32 + byte % 224 for byte in raw)),
    ).map(b": ".join),
    max_size=4,
)  # fmt: skip
ROLES = st.sampled_from(["leader", "follower", "none"])
CHUNKED = st.booleans()


def written(
    method: bytes, target: bytes, headers: list[bytes], body: bytes, chunked: bool
) -> bytes:
    """Spell a request out."""
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        headers = [*headers, b"Transfer-Encoding: chunked"]
    else:
        headers = [*headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *headers]) + b"\r\n\r\n" + body


PUTS = st.dictionaries(TEXTS, TEXTS, max_size=5).map(lambda pairs: json.dumps(pairs).encode())
KEYS = ESCAPED | VISIBLE
SENSIBLE = st.one_of(
    st.tuples(st.just(b"POST"), st.just(b"/key"), PUTS),
    st.tuples(
        st.sampled_from([b"GET", b"HEAD", b"DELETE"]), KEYS.map(lambda key: b"/key/" + key), BODIES
    ),
    st.tuples(
        st.sampled_from([b"GET", b"HEAD", b"PUT", b"DELETE"]),
        KEYS.map(lambda key: b"/api/kv?key=" + key),
        BODIES,
    ),
    st.tuples(st.just(b"POST"), st.sampled_from([b"/join", b"/api/cluster/transfer"]), BODIES),
)
REQUESTS = st.builds(written, METHODS, TARGETS, HEADERS, BODIES, CHUNKED) | st.builds(
    lambda sensible, headers, chunked: written(
        sensible[0], sensible[1], headers, sensible[2], chunked
    ),
    SENSIBLE,
    HEADERS,
    CHUNKED,
)


def check_answers(wire: Wire) -> None:
    """Check that everything said so far is a proper answer."""
    rest = wire.received
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        assert lines[0].startswith(b"HTTP/1."), lines
        if status == 100:
            continue
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        assert len(headers) == len(lines) - 1, f"a header twice, or split: {lines}"
        assert status in {200, 307, 400, 403, 404, 405, 408, 413, 431, 503}, head
        assert (status in {200, 307}) or b"Raftdb-Error" in headers or b"Allow" in headers, head
        length = int(headers[b"Content-Length"])
        # The answer to a HEAD request has a length and no body.
        if rest[:length].startswith(b"HTTP/1.") or not rest:
            continue
        body, rest = rest[:length], rest[length:]
        if headers.get(b"Content-Type") == b"application/json" and status >= 400:
            assert json.loads(body)["error"]["code"].encode() == headers[b"Raftdb-Error"]


def settle(served: Served, wire: Wire) -> None:
    """End a connection and check that nothing of it is left."""
    check_answers(wire)
    served.clock.pump([1.0] * 15)
    check_answers(wire)
    wire.lose()
    assert served.site.budget.held == 0
    assert served.site.connections == 0
    assert served.site.resource.waiting == 0


class TestAnyRequest:
    """Well-formed HTTP with any content."""

    @FUZZ
    @given(request=REQUESTS, role=ROLES, fast=st.booleans())
    def test_is_answered_properly(
        self, serve_either: type[Served], request: bytes, role: str, fast: bool
    ) -> None:
        """With one final status of those that are documented."""
        served = serve_either(LIMITS, fast=fast)
        served.database.role = role
        wire = served.wire()
        wire.send(request)
        assert [status for status in wire.statuses if status != 100], "no answer"
        settle(served, wire)


class TestAnyBytes:
    """Requests cut, glued, damaged, and in pieces of any size."""

    @FUZZ
    @given(
        parts=st.lists(REQUESTS | st.binary(max_size=60), min_size=1, max_size=4),
        damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
        cuts=st.lists(st.integers(1, 400), max_size=30),
        role=ROLES,
        waits=st.booleans(),
        fast=st.booleans(),
    )
    def test_leave_nothing_behind(
        self,
        serve_either: type[Served],
        parts: list[bytes],
        damage: list[tuple[int, int]],
        cuts: list[int],
        role: str,
        waits: bool,
        fast: bool,
    ) -> None:
        """No exception, no count that is not given back, no answer that is none."""
        served = serve_either(LIMITS, fast=fast)
        served.database.role, served.database.waits = role, waits
        stream = bytearray(b"".join(parts))
        for place, byte in damage:
            if stream:
                stream[place % len(stream)] = byte
        wire = served.wire()
        for cut in cuts:
            wire.send(bytes(stream[:cut]))
            del stream[:cut]
            served.database.release()
            served.clock.turn()
        wire.send(bytes(stream))
        for _ in range(10):
            served.database.release()
            served.clock.turn()
        settle(served, wire)


class TestBothLanes:
    """The fast lane is a short cut, not another server."""

    @FUZZ
    @given(
        requests=st.lists(REQUESTS, min_size=1, max_size=4),
        damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=2),
        role=ROLES,
        waits=st.booleans(),
    )
    def test_lead_to_the_same_answers_byte_for_byte(
        self,
        serve_either: type[Served],
        requests: list[bytes],
        damage: list[tuple[int, int]],
        role: str,
        waits: bool,
    ) -> None:
        """Whatever comes, in whatever order: the same bytes out, the same entries."""
        fast, stock = serve_either(LIMITS, fast=True), serve_either(LIMITS, fast=False)
        wires = [fast.wire(), stock.wire()]
        for served in (fast, stock):
            served.database.role, served.database.waits = role, waits
        for number, request in enumerate(requests):
            sent = bytearray(request)
            for place, byte in damage[number:]:
                sent[place % len(sent)] = byte
            for served, wire in zip((fast, stock), wires, strict=True):
                wire.send(bytes(sent))
                served.database.release()
                served.clock.turn()
            assert sorted_heads(wires[0].received) == sorted_heads(wires[1].received)
        assert fast.database.entries == stock.database.entries
        assert wires[0].closing == wires[1].closing
        for served, wire in zip((fast, stock), wires, strict=True):
            settle(served, wire)


def sorted_heads(received: bytes) -> list[list[bytes]]:
    """Return the answers' lines, without the order of the header fields and the date."""
    parts = received.split(b"\r\n\r\n")
    return [
        sorted(line for line in part.split(b"\r\n") if not line.startswith(b"Date: "))
        for part in parts
    ]
