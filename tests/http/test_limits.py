"""An end to everything: bytes, time, connections, requests that wait."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, globalLogPublisher
from twisted.web import http

from raftdb.dialects.go.go_json import json_string
from raftdb.errors import InvalidRequest
from raftdb.http.bodies import decode_json
from raftdb.http.connection import ANSWERING
from raftdb.http.limits import Limits
from raftdb.http.site import LimitedSite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.logger import LogEvent

    from tests.http.conftest import Served, Wire

SMALL = Limits(
    body_bytes_max=1000,
    key_bytes_max=100,
    connections_max=3,
    refusals_max=2,
    waiting_max=2,
    held_bytes_max=1500,
)
GET = b"GET /key/k HTTP/1.1\r\n\r\n"


@pytest.fixture
def small(serve: Callable[[Limits], Served]) -> Served:
    """A site whose limits are quickly reached."""
    return serve(SMALL)


def error(wire: Wire) -> str:
    """Return the name of the error that a connection has been told."""
    _, _, body = wire.received.partition(b"\r\n\r\n")
    name: str = json.loads(body)["error"]["code"]
    assert f"Raftdb-Error: {name}\r\n".encode() in wire.received
    assert b"\r\nConnection: close\r\n" in wire.received
    return name


class TestBodies:
    """A body is refused while it arrives."""

    @pytest.mark.parametrize("count", ["1001", "1000000000", "9" * 400, "9" * 5000, "0" * 5000])
    def test_too_long_by_its_own_word(self, small: Served, count: str) -> None:
        """Before any of it is there, and without an invitation to send it."""
        wire = small.wire()
        head = f"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: {count}\r\n"
        wire.send(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert wire.statuses == [413]
        assert error(wire) == "too_large"
        assert wire.closing
        assert b"100 Continue" not in wire.received

    def test_too_long_in_chunks(self, small: Served) -> None:
        """As soon as it is, not at its end."""
        wire = small.wire()
        wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            wire.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        assert wire.statuses == []
        wire.send(b"1\r\nx\r\n0\r\n\r\n")
        assert (wire.statuses, error(wire)) == ([413], "too_large")
        assert small.database.entries == []

    def test_nothing_that_follows_a_refusal_is_heard(self, small: Served) -> None:
        """What was told to be refused is not done after all."""
        wire = small.wire()
        wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001)
        wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        assert wire.statuses == [413]
        assert small.database.entries == []

    def test_the_longest_is_taken(self, small: Served) -> None:
        """The limit itself is allowed, whole or in chunks."""
        assert small.ask("PUT", "/api/kv?key=k", b"x" * 1000).status == 200
        wire = small.wire()
        wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n")
        assert wire.statuses == [200]

    def test_bodies_of_all_clients_are_counted_together(self, small: Served) -> None:
        """Beyond the limit a quick 503, and all is given back in the end."""
        head = b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
        first, second = small.wire(), small.wire()
        first.send(head + b"x" * 999)
        second.send(head)
        assert (second.statuses, error(second)) == ([503], "overloaded")
        assert b"\r\nRetry-After: 1\r\n" in second.received
        first.send(b"x")
        assert first.statuses == [200]
        assert small.site.budget.held == 0
        first.send(head + b"x")
        first.lose()
        assert small.site.budget.held == 0

    def test_forms_are_not_parsed(self, small: Served) -> None:
        """A multipart body without a boundary is a bad JSON body, nothing more."""
        headers = {"Content-Type": ["multipart/form-data"]}
        assert small.ask("POST", "/key", b"--x", headers).code == "invalid_request"


class TestTime:
    """No part of a request may take for ever."""

    def test_a_request_that_trickles_is_cut_off(self, small: Served) -> None:
        """A byte a second does not buy more time."""
        wire = small.wire()
        for byte in b"GET /key/k HTTP/1.1":
            wire.send(bytes((byte,)))
            small.clock.advance(1)
        assert (wire.statuses, error(wire)) == ([408], "request_timeout")
        assert wire.closing

    def test_a_body_that_trickles_is_cut_off(self, small: Served) -> None:
        """The same deadline covers head and body."""
        wire = small.wire()
        wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 900\r\n\r\n")
        for _ in range(12):
            wire.send(b"x")
            small.clock.advance(1)
        assert (wire.statuses, error(wire)) == ([408], "request_timeout")
        assert small.database.entries == []
        assert small.site.budget.held == 0

    def test_a_refused_client_that_stays_is_thrown_out(self, small: Served) -> None:
        """It had time to read why."""
        wire = small.wire()
        wire.send(b"nonsense\r\n\r\n")
        assert wire.transport.half_closed
        aborted = []
        for _ in range(3):
            small.clock.advance(1)
            aborted.append(wire.transport.aborted)
        assert aborted == [False, True, True]

    def test_an_idle_connection_ends(self, small: Served) -> None:
        """Also one that never said a word: first our side of it, then, if need be, the client's."""
        wires = [small.wire(), small.wire()]
        wires[0].send(GET)
        ended = []
        for _ in range(64):
            small.clock.advance(1)
            ended.append([(one.transport.half_closed, one.transport.aborted) for one in wires])
        assert ended[58] == [(False, False)] * 2
        assert ended[60] == [(True, False)] * 2
        assert ended[63] == [(True, True)] * 2

    def test_each_request_has_its_own_time(self, small: Served) -> None:
        """A connection in use stays open."""
        wire = small.wire()
        for _ in range(50):
            wire.send(GET)
            small.clock.pump([1.0] * 5)
        assert wire.statuses == [200] * 50
        assert not wire.closing

    def test_a_client_that_takes_no_answer_is_cut_off(self, small: Served) -> None:
        """The answer's bytes are counted until it is gone."""
        small.ask("PUT", "/api/kv?key=k", b"x" * 1000)
        wire = small.wire()
        wire.channel.pauseProducing()  # as a transport does when its buffer is full
        wire.send(b"GET /api/kv?key=k HTTP/1.1\r\n\r\n")
        assert small.site.budget.held == 1000
        small.clock.pump([1.0] * 11)
        assert wire.transport.aborted
        wire.lose()
        assert small.site.budget.held == 0

    def test_a_client_that_takes_its_answer_late_is_kept(self, small: Served) -> None:
        """And what it took is given back."""
        small.ask("PUT", "/api/kv?key=k", b"x" * 1000)
        wire = small.wire()
        wire.channel.pauseProducing()
        wire.send(b"GET /api/kv?key=k HTTP/1.1\r\n\r\n")
        wire.channel.resumeProducing()
        assert small.site.budget.held == 0
        small.clock.pump([1.0] * 20)
        assert not wire.transport.aborted

    def test_an_answer_that_does_not_come_is_a_504(self, small: Served) -> None:
        """Unknown, told as such, a little after the database's own deadline."""
        small.database.waits = True
        wire = small.wire()
        wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        small.clock.pump([1.0] * 10)
        assert wire.statuses == []
        small.clock.advance(1)
        assert wire.statuses == [504]
        assert b"Raftdb-Error: timeout\r\n" in wire.received
        assert not wire.closing


class TestEnding:
    """A connection that is ending hears nothing more, and does end."""

    @pytest.mark.parametrize("head", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nConnection: close\r\n"])
    def test_nothing_after_the_last_answer_is_heard(self, small: Served, head: bytes) -> None:
        """Not even the beginning of a request, whose deadline would end it a second time."""
        wire = small.wire()
        wire.send(b"GET /key/k " + head + b"\r\nPUT /api/kv?key=k HTTP/1.1\r\n")
        wire.send(b"Content-Length: 1\r\n\r\nx")
        assert len(wire.statuses) <= 1
        assert wire.closing
        small.clock.pump([1.0] * 11)
        assert wire.transport.aborted
        assert small.database.entries == []

    def test_a_node_that_stops_says_so_with_each_answer(self, small: Served) -> None:
        """The next request is sent elsewhere; what is under way is answered."""
        small.database.waits = True
        waiting, idle = small.wire(), small.wire()
        waiting.send(GET)
        small.site.stopFactory()
        idle.send(GET)
        small.database.release()
        for wire in (waiting, idle):
            assert (wire.statuses, wire.closing) == ([200], True)
            assert b"\r\nConnection: close\r\n" in wire.received
            assert wire.received.endswith(b'{"k":""}')

    def test_trouble_with_one_does_not_save_the_others(
        self, small: Served, logged: list[LogEvent]
    ) -> None:
        """The sweep goes on."""
        broken, idle = small.wire(), small.wire()
        broken.channel._deadline = cast("float", None)
        small.clock.pump([1.0] * 61)
        assert idle.closing
        assert broken.transport.aborted
        assert logged
        logged.clear()


class TestConnections:
    """There is a last one."""

    def test_one_that_waits_for_nothing_gives_way(self, small: Served) -> None:
        """An unused one first, then who has been idle for longest; each is told why."""
        used, unused = small.wire(), small.wire()
        used.send(GET)
        small.clock.advance(1)
        third = small.wire()
        third.send(GET)
        new = small.wire()
        assert (unused.statuses, error(unused), unused.closing) == ([503], "overloaded", True)
        new.send(GET)
        assert new.statuses == [200]
        newer = small.wire()
        assert used.statuses == [200, 503]
        newer.send(GET)
        assert (newer.statuses, third.statuses, new.statuses) == ([200], [200], [200])

    def busy(self, small: Served) -> list[Wire]:
        """Return as many connections as there may be, each of which waits for an answer."""
        small.database.waits = True
        wires = [small.wire() for _ in range(SMALL.connections_max)]
        for wire in wires[: SMALL.waiting_max]:
            wire.send(GET)
        for wire in wires[SMALL.waiting_max :]:
            wire.send(GET[:5])
        return wires

    def test_one_too_many_is_told_so(self, small: Served) -> None:
        """503 as soon as it has said what it wants, before it sends a body; then there is room."""
        wires = self.busy(small)
        late = small.wire()
        late.send(b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        assert (late.statuses, error(late)) == ([503], "overloaded")
        assert b"\r\nRetry-After: 1\r\n" in late.received
        late.lose()
        wires[0].lose()
        small.database.waits = False
        after = small.wire()
        after.send(GET)
        assert (after.statuses, after.closing) == ([200], False)

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET /livez HTTP/1.1\r\n\r\n",
            b"GET /readyz HTTP/1.1\r\n\r\n",
            b"GET /api/status HTTP/1.1\r\n\r\n",
            b"GET /api/cluster/members HTTP/1.1\r\n\r\n",
            b"DELETE /api/cluster/members/n3 HTTP/1.1\r\n\r\n",
            b'POST /api/cluster/transfer HTTP/1.1\r\nContent-Length: 11\r\n\r\n{"to": "a"}',
            (
                b"POST /join HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n34\r\n"
                b'{"id":"a","raftAddr":"a:1","httpAddr":"longer.a:02"}\r\n0\r\n\r\n'
            ),
        ],
        ids=lambda text: repr(text[:32]),
    )
    @pytest.mark.parametrize("bytes_held", [0, 1500, 3000])
    def test_health_and_the_cluster_always_get_in(
        self, small: Served, request_bytes: bytes, bytes_held: int
    ) -> None:
        """Whatever connections, requests and bytes there are; and the connection ends with it."""
        self.busy(small)
        small.site.budget.take(bytes_held)
        urgent = small.wire()
        urgent.send(request_bytes)
        small.clock.turn()
        assert (urgent.statuses, urgent.closing) == ([200], True)
        assert b"\r\nConnection: close\r\n" in urgent.received

    def test_far_too_many_throw_out_the_oldest_of_them(self, small: Served) -> None:
        """Even those that came only to keep others out."""
        wires = self.busy(small)
        crowd = [small.wire() for _ in range(10)]
        for wire in crowd:
            wire.send(b"GET ")
        assert small.site.connections == SMALL.connections_max + SMALL.refusals_max
        urgent = small.wire()
        urgent.send(b"GET /livez HTTP/1.1\r\n\r\n")
        assert urgent.statuses == [200]
        assert [wire.transport.aborted for wire in crowd] == [True] * 9 + [False]
        assert not any(wire.transport.aborted for wire in wires[: SMALL.waiting_max])

    def test_where_all_are_at_work_one_more_is_closed_without_a_word(self, small: Served) -> None:
        """Even saying no costs."""
        self.busy(small)
        for _ in range(2):
            small.wire().send(b"POST /api/cluster/transfer HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        for one in small.site._connections:
            one._state = ANSWERING  # type: ignore[attr-defined]  # as where none can be lost
        assert small.site.buildProtocol(None) is None

    def test_the_sweep_ends_with_the_site(self, small: Served) -> None:
        """No timer is left behind."""
        small.site.stopFactory()
        assert small.clock.getDelayedCalls() == []

    def test_a_connection_that_outlives_the_listening_keeps_its_deadline(
        self, small: Served
    ) -> None:
        """A site that another one took over from still ends what is left of it."""
        wire = small.wire()
        small.site.stopFactory()
        small.clock.pump([1.0] * 64)
        assert wire.transport.aborted
        wire.lose()
        assert small.clock.getDelayedCalls() == []


class TestWaiting:
    """So many requests may wait for an answer."""

    def test_one_too_many_is_refused_at_once(self, small: Served) -> None:
        """503, surely not applied."""
        small.database.waits = True
        first, second = small.start("GET", "/key/a"), small.start("GET", "/key/b")
        reply = small.ask("POST", "/key", b'{"c":"d"}')
        assert (reply.status, reply.code, reply.header("Retry-After")) == (503, "overloaded", "1")
        assert small.database.entries == []
        small.database.release()
        small.agent.flush()
        assert [small.now(first).status, small.now(second).status] == [200, 200]
        small.database.waits = False
        assert small.ask("GET", "/key/a").status == 200

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/status"])
    def test_what_an_operator_needs_is_always_answered(self, small: Served, path: str) -> None:
        """Most of all when everything waits."""
        small.database.waits = True
        small.start("GET", "/key/a")
        small.start("GET", "/key/b")
        assert small.ask("GET", path).status == 200

    def test_a_client_that_hangs_up_makes_room(self, small: Served) -> None:
        """Its waiter is cancelled, its write is not."""
        small.database.waits = True
        wire = small.wire()
        wire.send(b'POST /key HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"a":"b"}')
        wire.lose()
        assert small.database.cancelled == 1
        assert small.database.entries == [("put", (b"a",))]
        assert small.site.connections == 0
        small.start("GET", "/key/a")
        small.start("GET", "/key/b")
        assert small.ask("GET", "/key/c").status == 503

    def test_requests_of_one_connection_wait_in_line(self, small: Served) -> None:
        """Pipelined, answered in order, one at a time."""
        small.database.waits = True
        wire = small.wire()
        wire.send(GET * 3)
        assert len(small.database.waiting) == 1
        for _ in range(3):
            small.database.release()
            small.clock.turn()
        assert wire.statuses == [200] * 3

    def test_pipelined_requests_are_answered_one_a_turn(self, small: Served) -> None:
        """A few KiB of requests must not keep the event loop for themselves."""
        wire = small.wire()
        wire.send(GET * 50)
        for turn in range(50):
            assert len(wire.statuses) == turn + 1
            small.clock.turn()
        assert len(wire.statuses) == 50

    def test_what_waits_for_its_turn_ends_with_its_connection(self, small: Served) -> None:
        """Nobody is there to be answered, and the socket may not be asked for anything."""
        wire = small.wire()
        wire.send(GET * 3)
        wire.lose()
        small.clock.turn()
        small.clock.turn()
        assert wire.statuses == [200]

    def test_a_request_that_comes_alone_needs_no_turn(self, small: Served) -> None:
        """One after the other on one connection, with a body or without."""
        wire = small.wire()
        for _ in range(3):
            wire.send(b'POST /key HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"a":"b"}')
            wire.send(GET)
        assert wire.statuses == [200] * 6

    def test_pipelined_requests_wait_for_answers_to_be_taken(self, small: Served) -> None:
        """Else a few KiB of requests would become gigabytes of answers."""
        wire = small.wire()
        wire.send(GET * 3)
        wire.channel.pauseProducing()  # as a transport does when its buffer is full
        for _ in range(10):
            small.clock.turn()
        assert wire.statuses == [200]
        assert wire.transport.producerState == "paused"
        wire.channel.resumeProducing()
        for _ in range(3):
            small.clock.turn()
        assert wire.statuses == [200] * 3
        assert wire.transport.producerState == "producing"

    def test_a_request_behind_a_turn_may_be_half_there(self, small: Served) -> None:
        """And is answered when its other half comes."""
        wire = small.wire()
        wire.send(GET + GET[:9])
        small.clock.turn()
        wire.send(GET[9:])
        assert wire.statuses == [200] * 2


class TestLongValues:
    """A value of megabytes is escaped in pieces, and its answer counts."""

    VALUES = (
        b"x" * 200_000,
        "ü😀<\u2028".encode() * 20_000,
        bytes(range(256)) * 700,
        b"\xf0\x9f\x98" * 50_000,
        b"x" * 65_535 + "😀".encode() + b"\xff" * 9,
    )

    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    def test_pieces_make_the_same_text(self, served: Served, value: bytes) -> None:
        """Wherever a character is cut."""
        served.ask("PUT", "/api/kv?key=k", value)
        waiting = served.start("GET", "/key/k")
        assert served.site.resource.waiting == 1
        for _ in range(3):
            served.clock.turn()
            served.agent.flush()
        whole = json_string(value.decode("utf-8", "replace"))
        assert served.now(waiting).body == b'{"k":%b}' % whole

    def test_one_at_a_time(self, served: Served) -> None:
        """And who hangs up in between holds up nobody."""
        served.ask("PUT", "/api/kv?key=k", b"x" * 150_000)
        wires = [served.wire() for _ in range(4)]
        for wire in wires:
            wire.send(b"GET /key/k HTTP/1.1\r\n\r\n")
        wires[0].lose()  # being answered
        wires[2].lose()  # waiting for its turn
        for _ in range(3):
            served.clock.turn()
        assert [wire.statuses for wire in wires] == [[], [200], [], [200]]

    def test_a_crowd_that_is_refused_leaves_the_way_free(self, served: Served) -> None:
        """However many refusals follow each other."""
        served.ask("PUT", "/api/kv?key=k", b"x" * 150_000)
        budget = served.site.budget
        wires = [served.wire() for _ in range(500)]
        for wire in wires:
            wire.send(b"GET /key/k HTTP/1.1\r\n\r\n")
        full = Limits().held_bytes_max
        budget.take(full)
        for _ in range(3):
            served.clock.turn()
        budget.give(full)
        assert {status for wire in wires for status in wire.statuses} == {503}
        wires[0].send(b"GET /key/k HTTP/1.1\r\n\r\n")
        for _ in range(3):
            served.clock.turn()
        assert wires[0].statuses == [503, 200]

    @pytest.mark.parametrize("target", [b"/key/k", b"/api/kv?key=k"])
    def test_answers_that_nobody_takes_are_not_added_to(
        self, serve: Callable[[Limits], Served], target: bytes
    ) -> None:
        """A read may still be refused when its answer is known; a write may not."""
        served = serve(Limits(body_bytes_max=200_000, held_bytes_max=500_000))
        served.ask("PUT", "/api/kv?key=k", b"x" * 200_000)
        wires = [served.wire() for _ in range(4)]
        for wire in wires:
            wire.channel.pauseProducing()
            wire.send(b"GET " + target + b" HTTP/1.1\r\n\r\n")
            for _ in range(5):
                served.clock.turn()
        assert [wire.statuses for wire in wires][-1] == [503]
        assert wires[0].statuses == [200]
        assert served.site.budget.held <= 500_000 + 1000
        for wire in wires:
            wire.lose()
        assert served.site.budget.held == 0
        assert served.ask("DELETE", "/key/k").status == 200


class TestMalformed:
    """What is no HTTP/1.1 is told so, and changes nothing."""

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"G\x00T / HTTP/1.1\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\nContent-Length: 1\r\n\r\n",
            b"GET / HTTP/1.1\nX: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\rY: b\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length : 1\r\n\r\nx",
            b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
            b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: -1\r\n\r\nx",
            b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx",
            b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"PUT /api/kv?key=k HTTP/1.1\r\nBad Name: x\r\nX: y\r\nContent-Length: 1\r\n\r\nx",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 501 + b"\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 16_300 + b"\r\nX: " + b"y" * 100 + b"\r\n\r\n",
        ],
        ids=lambda text: repr(text[:60]),
    )
    def test_is_a_400_with_a_reason(self, small: Served, request_bytes: bytes) -> None:
        """Once, and the connection ends; a request after it is not heard."""
        wire = small.wire()
        wire.send(request_bytes)
        wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        assert (wire.statuses, error(wire)) == ([400], "malformed_request")
        assert wire.closing
        assert small.database.entries == []
        wire.lose()
        assert small.site.connections == 0

    @pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX: "])
    def test_a_line_without_end_is_a_431(self, small: Served, start: bytes) -> None:
        """16 KiB, as twisted.web has it."""
        wire = small.wire()
        wire.send(start + b"y" * 20_000)
        assert (wire.statuses, error(wire)) == ([431], "head_too_large")

    @pytest.mark.parametrize("form", [b"http://any.host:1", b"HTTPS://[::1]", b"http://"])
    def test_a_target_with_an_authority_means_its_path(self, small: Served, form: bytes) -> None:
        """As proxies send it."""
        wire = small.wire()
        wire.send(b"GET " + form + b"/key/k?level=stale HTTP/1.1\r\n\r\n")
        assert wire.received.endswith(b'{"k":""}')

    def test_a_body_nested_without_end_is_refused(self) -> None:
        """Whatever type it was to have."""
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            decode_json(msgspec.json.Decoder(object), b"[" * 100_000, "anything")

    def test_the_longest_key_fits_the_head(self, small: Served) -> None:
        """4,096 bytes, all escaped, are 12,288 characters."""
        wire = small.wire()
        wire.send(b"GET /key/" + b"%00" * 4096 + b" HTTP/1.1\r\n\r\n")
        assert wire.statuses == [400]
        assert b"Raftdb-Error: invalid_request\r\n" in wire.received


class TestTls:
    """Where none is spoken."""

    HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

    def test_is_ended_at_its_first_byte(self, small: Served) -> None:
        """With the reason in the log, once a minute however many come."""
        with capturedLogs() as events:
            for hello in (self.HELLO[:1], self.HELLO, self.HELLO):
                wire = small.wire()
                wire.send(hello)
                assert (wire.statuses, error(wire)) == ([400], "malformed_request")
                assert wire.transport.half_closed
            assert ["TLS" in event["log_format"] for event in events] == [True]
            small.clock.advance(61)
            small.wire().send(self.HELLO)
        assert len(events) == 2


class TestTheEnd:
    """A node that stops leaves nobody with a reset."""

    def leave(self, small: Served) -> Deferred[None]:
        return Deferred.fromCoroutine(small.site.take_leave(answer_s=1.0, linger_s=1.0))

    def test_what_is_unread_is_answered(self, small: Served) -> None:
        """Surely not done: a new connection, a used one, one half way through a request."""
        wires = [small.wire() for _ in range(3)]
        wires[1].send(GET)
        wires[2].send(GET[:9])
        small.site.wind_up()
        left = self.leave(small)
        small.clock.pump([0.1] * 11)
        assert [wire.statuses for wire in wires] == [[503], [200, 503], [503]]
        assert all(wire.transport.half_closed for wire in wires)
        assert not left.called
        for wire in wires:
            wire.send(GET)  # on its way when we closed: read, not answered a second time
            wire.lose()
        small.clock.advance(0.1)
        assert left.called

    def test_what_comes_meanwhile_is_answered(self, small: Served) -> None:
        """As the last request of its connection."""
        late = small.wire()
        small.site.wind_up()
        left = self.leave(small)
        small.clock.advance(0.5)
        late.send(GET)
        assert late.statuses == [200]
        assert b"\r\nConnection: close\r\n" in late.received
        late.lose()
        small.clock.advance(0.1)
        assert left.called

    def test_nobody_waits_for_a_connection_that_is_only_kept(self, small: Served) -> None:
        """It is told at once; the clients of a pool look before they use it again."""
        kept = small.wire()
        kept.send(GET)
        small.site.wind_up()
        self.leave(small)
        assert kept.statuses == [200, 503]
        assert b"Raftdb-Error: shutting_down\r\n" in kept.received


class TestTheLimitsThemselves:
    """They nest [R30]."""

    @pytest.mark.parametrize(
        "wrong", [{"body_bytes_max": 0}, {"key_bytes_max": 2**30}, {"held_bytes_max": 1000}]
    )
    def test_what_cannot_be_is_refused(self, wrong: dict[str, int]) -> None:
        """At once, naming the limit."""
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)

    def test_an_answer_of_a_longest_value_fits(self) -> None:
        """One client's largest answer may wait without another being refused."""
        limits = Limits()
        assert 6 * limits.body_bytes_max + limits.body_bytes_max < limits.held_bytes_max


class TestTheAccessLog:
    """Off, or a file of text with the right dates."""

    def test_is_off_unless_asked_for(self, served: Served) -> None:
        """No event per request."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]  # a callable will do
        served.ask("GET", "/key/k")
        globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]  # as above
        assert events == []

    def test_is_dated_by_the_wall_clock(self, served: Served, tmp_path: Path) -> None:
        """The reactor's clock is monotonic and would say 1970."""
        path = tmp_path / "access.log"
        site = LimitedSite(
            served.clock, served.site.resource, Limits(), served.site.budget, str(path)
        )
        site.startFactory()
        served.clock.advance(2)
        wire = served.wire(site)
        wire.send(GET)
        wire.lose()
        site.stopFactory()
        (line,) = path.read_text().splitlines()
        assert '"GET /key/k HTTP/1.1" 200' in line
        assert "/1970:" not in line

    def test_http_2_is_not_offered(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would pass by every limit here."""
        monkeypatch.setattr(http, "H2_ENABLED", True)
        assert served.site.acceptableProtocols() == [b"http/1.1"]
