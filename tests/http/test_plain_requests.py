"""What is plain, what is not, and that the fast lane really is taken."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from raftdb.http.parser import Plain, read_plain
from raftdb.http.site import LimitedSite

if TYPE_CHECKING:
    from tests.http.conftest import Served

POST = b'POST /key HTTP/1.1\r\nHost: a:1\r\nContent-Length: 9\r\n\r\n{"a":"b"}'


class TestPlainRequests:
    """Whole, alone and simple."""

    def test_a_read(self) -> None:
        """Without header fields, too."""
        assert read_plain(b"GET /key/a?level=stale HTTP/1.1\r\n\r\n") == Plain(
            b"GET", b"/key/a?level=stale", b""
        )

    def test_a_write(self) -> None:
        """With its body, whatever is in it."""
        assert read_plain(POST) == Plain(b"POST", b"/key", b'{"a":"b"}')
        head = b"PUT /api/kv?key=k HTTP/1.1\r\ncontent-length:\t 4 \r\nConnection: Keep-Alive\r\n"
        assert read_plain(head + b"\r\n\r\n\r\n") == Plain(b"PUT", b"/api/kv?key=k", b"\r\n\r\n")


class TestOtherRequests:
    """twisted.web's, of which nothing was taken."""

    @pytest.mark.parametrize("cut", range(len(POST)))
    def test_one_that_is_not_all_there(self, cut: int) -> None:
        """However much is missing."""
        assert read_plain(POST[:cut]) is None

    def test_one_with_more_behind_it(self) -> None:
        """Even a byte."""
        assert read_plain(POST + b"G") is None

    @pytest.mark.parametrize(
        "fields",
        [
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: identity",
            b"transfer-encoding:",
            b"Transfer-Encoding : chunked",
            b"Content-Length: 0\r\nContent-Length: 0",
            b"Content-Length: 0, 0",
            b"Content-Length: +0",
            b"Content-Length: 0x0",
            b"Content-Length:",
            b"Content-Length: 0000000000",
            b"Expect: 100-continue",
            b"Connection: close",
            b"Connection: keep-alive, Upgrade",
            b"Upgrade: websocket",
            b"X: a\r\n folded",
            b" X: a",
            b"X: a\nContent-Length: 0",
            b"X: a\rb",
            b"X: a\x00b",
            b"X Y: a",
            b"no colon",
            b": no name",
            b"\r",
            b"X: y\r\n" * 100 + b"X: y",
            b"X: " + b"y" * 5000,
        ],
        ids=lambda fields: repr(fields[:40]),
    )
    def test_one_with_something_to_think_about(self, fields: bytes) -> None:
        """Or with nothing but its name in common with a header."""
        assert read_plain(b"GET /key/a HTTP/1.1\r\n" + fields + b"\r\n\r\n") is None

    @pytest.mark.parametrize(
        "line",
        [
            b"GET /key/a HTTP/1.0",
            b"GET /key/a HTTP/2.0",
            b"get /key/a HTTP/1.1",
            b"PATCH /key/a HTTP/1.1",
            b"GET  /key/a HTTP/1.1",
            b"GET /key/a  HTTP/1.1",
            b"GET /key/a HTTP/1.1 ",
            b"GET key HTTP/1.1",
            b"GET http://h/key/a HTTP/1.1",
            b"GET * HTTP/1.1",
            b"GET /\xff HTTP/1.1",
            b"GET /\x7f HTTP/1.1",
            b"\nGET /key/a HTTP/1.1",
            b"\r\nGET /key/a HTTP/1.1",
            b"GET /key/a HTTP/1.1\nX: y",
        ],
    )
    def test_one_that_begins_strangely(self, line: bytes) -> None:
        """Or by another version's rules."""
        assert read_plain(line + b"\r\n\r\n") is None


class TestTheFastLane:
    """Is taken where it may be, or all of this measures nothing."""

    def test_takes_plain_requests_only(
        self, served: Served, fast: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And only where it is switched on."""
        taken: list[bytes] = []

        def take(site: LimitedSite, asked: object, exchange: object) -> None:
            taken.append(asked.method)  # type: ignore[attr-defined]  # an Asked
            real(site, asked, exchange)  # type: ignore[arg-type]  # passed on as it came

        real = LimitedSite.take
        monkeypatch.setattr(LimitedSite, "take", take)
        wire = served.wire()
        wire.send(POST)
        wire.send(b"GET /key/a HTTP/1.1\r\n")
        wire.send(b"\r\n")
        wire.send(b"HEAD /key/a HTTP/1.1\r\n\r\n")
        assert wire.statuses == [200] * 3
        assert taken == ([b"POST", b"HEAD"] if fast else [])

    def test_what_comes_before_the_answer_waits_behind_it(self, served: Served) -> None:
        """In pieces, and after it all is as before."""
        served.database.waits = True
        wire = served.wire()
        wire.send(POST)
        wire.send(POST[:20])
        wire.send(POST[20:] + POST)
        assert len(served.database.waiting) == 1
        for _ in range(3):
            served.database.release()
            served.clock.turn()
        assert wire.statuses == [200] * 3
        assert served.site.budget.held == 0
        served.database.waits = False
        wire.send(POST)
        assert wire.statuses == [200] * 4

    def test_a_connection_that_has_ended_is_freed_at_once(self, served: Served) -> None:
        """With what its client did not take: not when the collector comes, if it comes there at all."""
        wire = served.wire()
        wire.send(POST)
        channel = weakref.ref(wire.channel)
        wire.lose()
        wire.transport.unregisterProducer()  # as a socket that has ended does
        gc.disable()
        try:
            del wire
            assert channel() is None
        finally:
            gc.enable()

    def test_no_timer_is_left_for_each_request(self, served: Served) -> None:
        """One for all of them, which goes when it finds nobody waiting."""
        served.database.waits = True
        timers = len(served.clock.getDelayedCalls())
        wires = [served.wire() for _ in range(50)]
        for wire in wires:
            wire.send(POST)
        served.database.release()
        assert len(served.clock.getDelayedCalls()) <= timers + 2
        served.clock.pump([1.0] * 12)
        assert len(served.clock.getDelayedCalls()) == timers
