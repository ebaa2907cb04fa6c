"""The work for n bytes from outside is linear in n, whatever they are: nobody stops a node by a shape."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import product

import pytest

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.http.parser import read_plain
from raftdb.http.targets import parameters, percent_decode, split_target
from raftdb.membership import check_address, check_id
from raftdb.membership.wire import decode_join_request
from tests.fuzz.linear import check_linear
from tests.fuzz.targets import TARGETS
from tests.http.conftest import Served

PLAIN_BYTES = 4096
"""As many as a plain request may have."""

HEAD_BYTES = 16 * 1024
"""As many as the head of a request may have."""

READ_BYTES = 64 * 1024
"""As many as come at once from a socket."""

UNITS = (
    b" ", b"\t", b" \t", b":", b": ", b"\r", b"\n", b"\r\n", b"a:\r\n", b"\x00", b"a", b"0", b"/", b"//", b"%",
    b"%2", b"%25", b"+", b"&", b"=", b"a=&", b";", b",", b"[", b"]", b"{", b'"', b"\\", b'{"a":', b"\xff", b"\xc3\xbc",
    b"1\r\nx\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST /key HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
)  # fmt: skip
"""What an input is made of: whatever means something to one of the parsers, again and again."""

ENDS = (b"", b"\x00", b"\r\n\r\n", b"\x00\r\n\r\n", b" HTTP/1.1\r\n\r\n", b'"}')

REQUESTS = (
    b"",
    b"GET ",
    b"GET /",
    b"GET /livez HTTP/1.1\r\n",
    b"GET /livez HTTP/1.1\r\nHost: h\r\nA:",
    b"GET /livez HTTP/1.1\r\nHost:",
    b"GET /livez HTTP/1.1\r\nContent-Length:",
    b"PUT /api/kv?key=",
    b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
)


@pytest.fixture(params=[True, False], ids=["fast", "stock"])
def fast(request: pytest.FixtureRequest) -> bool:
    """Whether plain requests go past twisted.web's parser."""
    return bool(request.param)


def grown(begin: bytes, unit: bytes, end: bytes) -> Callable[[int], bytes]:
    """Return what makes an input of about n bytes."""

    def make(length: int) -> bytes:
        return begin + unit * (max(0, length - len(begin) - len(end)) // len(unit)) + end

    return make


def refused(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """Return ``parse`` without its refusals."""

    def run(data: bytes) -> None:
        try:
            parse(data)
        except (InvalidRequest, RemoteProtocolError):
            return

    return run


def check_all(run: Callable[[bytes], object], begins: tuple[bytes, ...], *, bytes_max: int) -> None:
    """Check every beginning with every unit and every end."""
    for begin, unit, end in product(begins, UNITS, ENDS):
        check_linear(run, grown(begin, unit, end), bytes_max=bytes_max)


class TestHttp:
    """What a stranger sends to the clients' port."""

    def test_the_plain_request(self) -> None:
        """Its header fields above all: 4 KiB of blanks once took a minute."""
        check_all(read_plain, REQUESTS, bytes_max=PLAIN_BYTES)

    @pytest.mark.parametrize("begin", REQUESTS)
    def test_a_whole_connection(self, begin: bytes, fast: bool) -> None:
        """From the first byte to the last answer, at once, with all turns that it takes."""

        def run(data: bytes) -> None:
            served = Served(fast=fast)
            wire = served.wire()
            wire.send(data)
            before = -1
            while len(wire.received) != before:
                before = len(wire.received)
                served.clock.turn()
            wire.lose()

        # What is longer than a plain request is the other lane's, at another price.
        check_all(run, (begin,), bytes_max=PLAIN_BYTES if fast else READ_BYTES)

    @pytest.mark.parametrize(
        "parse",
        [
            lambda data: percent_decode(data, "it"),
            lambda data: parameters(data, ("key",)),
            split_target,
            lambda data: check_id(data.decode("latin-1")),
            lambda data: check_address(data.decode("latin-1")),
        ],
        ids=["percent_decode", "parameters", "split_target", "check_id", "check_address"],
    )
    def test_a_target(self, parse: Callable[[bytes], object]) -> None:
        """And what stands in it."""
        begins = (b"", b"key=", b"http://", b"[")
        check_all(refused(parse), begins, bytes_max=HEAD_BYTES)


class TestJson:
    """What stands in a body."""

    @pytest.mark.parametrize("begin", [b"", b'{"a":"', b'{"id":"a","feature_level":', b'{"'])
    def test_a_join_request(self, begin: bytes) -> None:
        """Of the cluster's own dialect."""
        check_all(refused(decode_join_request), (begin,), bytes_max=READ_BYTES)

    @pytest.mark.parametrize("target", [b"/key", b"/join", b"/api/cluster/transfer"])
    @pytest.mark.parametrize("begin", [b"", b'{"a":"', b'{"to":', b'{"id":1', b'{"a":"b","'])
    def test_a_body(self, target: bytes, begin: bytes) -> None:
        """Of all the others."""
        served = Served()

        def run(data: bytes) -> None:
            head = b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (target, len(data))
            wire = served.wire()
            wire.send(head + data)
            wire.lose()

        check_all(run, (begin,), bytes_max=READ_BYTES)


class TestTheFuzzTargets:
    """Everything that make fuzz attacks."""

    @pytest.mark.parametrize("name", [name for name in TARGETS if name not in {"log", "snapshot"}])
    def test_grow_as_their_input(self, name: str) -> None:
        """From each of their examples."""
        target = TARGETS[name]
        begins = tuple(target.examples())[:3]
        for begin, unit in product(begins, UNITS):
            check_linear(target.run, grown(begin, unit, b""), bytes_max=PLAIN_BYTES)


class TestTheMeasure:
    """It sees what it is there for."""

    def test_finds_what_is_quadratic(self) -> None:
        """At a fraction of the length at which it hurts."""
        slow = re.compile(rb" *x| *y")
        with pytest.raises(AssertionError, match="bytes take"):
            check_linear(slow.search, grown(b"", b" ", b""), bytes_max=READ_BYTES)

    def test_lets_pass_what_is_linear(self) -> None:
        """However long it takes."""

        def steps(data: bytes) -> None:
            for byte in data:
                hash(byte)

        check_linear(steps, grown(b"", b"a", b""), bytes_max=16 * READ_BYTES)

    def test_is_not_deceived_by_what_is_remembered(self) -> None:
        """A result that is kept takes no time when the same input is measured again."""
        slow = lru_cache(lambda data: re.compile(rb" *x| *y").search(data))
        with pytest.raises(AssertionError, match="bytes take"):
            check_linear(slow, grown(b"", b" ", b""), bytes_max=READ_BYTES, forget=[slow])
