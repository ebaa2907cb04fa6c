"""The join request as HTTP: redirects, refusals, answers that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseNeverReceived
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from raftdb.errors import InvalidRequest, JoinRefused, OutcomeUnknown, RemoteProtocolError
from raftdb.membership import (
    JoinAnswer,
    JoinRequest,
    KnownMember,
    check_address,
    decode_join_answer,
    decode_join_request,
    encode_join_answer,
    encode_join_request,
    split_address,
)
from raftdb.membership.http_directory import REDIRECTS_MAX, HttpDirectory
from raftdb.raft.types import MemberID

ME = MemberID("node02", 2**127 + 5)
REQUEST = JoinRequest(
    member=ME, raft_address="c:8089", http_address="c:8091", cluster_id=2**128 - 1
)
ANSWER = JoinAnswer(7, (KnownMember(ME, "c:8089", "c:8091"),))


class Answering(Resource):
    """Answers every path from a function."""

    def __init__(self, answer: Callable[[Request], bytes]) -> None:
        super().__init__()
        self.isLeaf = True
        self.answer = answer

    def render(self, request: Request) -> bytes:
        return self.answer(request)


def ask(answer: Callable[[Request], bytes], address: str = "a:8091") -> Deferred[JoinAnswer]:
    stub = StubTreq(Answering(answer))
    asked = HttpDirectory(Clock(), cast("HTTPClient", stub)).join(address, REQUEST)
    for _ in range(REDIRECTS_MAX + 2):
        stub.flush()
    return asked


def see_other_member(request: Request) -> bytes:
    request.setResponseCode(307)
    request.responseHeaders.setRawHeaders(b"location", [b"http://b:8091/api/cluster/members"])
    return b""


def failure_of(deferred: Deferred[JoinAnswer]) -> BaseException:
    errors: list[BaseException] = []

    def note(failure: Failure) -> None:
        assert failure.value is not None
        errors.append(failure.value)

    deferred.addErrback(note)
    return errors[0]


class TestAsking:
    """What is posted, and what is made of the answer."""

    def test_the_request_arrives_whole(self) -> None:
        """The other side reads the very values that were given."""
        seen: list[JoinRequest] = []

        def answer(request: Request) -> bytes:
            assert request.path == b"/api/cluster/members"
            assert request.content is not None
            seen.append(decode_join_request(request.content.read()))
            return encode_join_answer(ANSWER)

        assert ask(answer).result == ANSWER
        assert seen == [REQUEST]

    def test_a_redirect_is_followed_with_method_and_body(self) -> None:
        """A follower names the leader."""

        def answer(request: Request) -> bytes:
            if request.getHeader(b"host") == b"a:8091":
                return see_other_member(request)
            assert request.method == b"POST"
            assert request.content is not None
            assert decode_join_request(request.content.read()) == REQUEST
            return encode_join_answer(ANSWER)

        assert ask(answer).result == ANSWER

    @pytest.mark.parametrize("kind", [ResponseNeverReceived, RequestTransmissionFailed])
    def test_a_port_that_speaks_no_http_is_suspected(self, kind: type[Exception]) -> None:
        """A node's other port ends the connection without a word."""

        @implementer(IAgent)
        class Ending:
            def request(self, *_: object) -> Deferred[IResponse]:
                return fail(kind([Failure(ConnectionDone())]))

        asked = HttpDirectory(Clock(), HTTPClient(Ending())).join("a:8089", REQUEST)
        assert str(failure_of(asked)).endswith("--join takes --haddr addresses, not --raddr)")

    def test_redirects_in_a_circle_end(self) -> None:
        """Two followers that name each other are no endless loop."""
        asked: list[int] = []

        def answer(request: Request) -> bytes:
            asked.append(1)
            return see_other_member(request)

        assert isinstance(failure_of(ask(answer)), OutcomeUnknown)
        assert len(asked) == 6

    @pytest.mark.parametrize("status", [400, 403, 404, 409, 410])
    def test_a_definite_status_refuses_for_good(self, status: int) -> None:
        """The reason the cluster gave is in the message."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            return b'{"error": {"code": "x", "message": "the node was removed"}}'

        error = failure_of(ask(answer))
        assert isinstance(error, JoinRefused)
        assert str(error).endswith(": the node was removed")

    @pytest.mark.parametrize("status", [429, 500, 503, 504])
    def test_a_passing_status_may_be_asked_again(self, status: int) -> None:
        """No leader, another change under way, the old incarnation still in contact."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(status)
            return b"node is not the leader\n"

        error = failure_of(ask(answer))
        assert isinstance(error, OutcomeUnknown)
        assert "node is not the leader" in str(error)

    def test_an_answer_that_is_none_is_not_believed(self) -> None:
        """Any web server answers 200 to something."""
        assert isinstance(failure_of(ask(lambda _: b"<html>")), RemoteProtocolError)

    def test_an_endless_answer_is_cut_off(self) -> None:
        """A stranger cannot fill the memory."""
        assert isinstance(failure_of(ask(lambda _: b"x" * 2_000_000)), RemoteProtocolError)


class TestWire:
    """The JSON in both directions."""

    def test_a_request_survives_the_round_trip(self) -> None:
        """All 128 bits of it."""
        assert decode_join_request(encode_join_request(REQUEST)) == REQUEST

    def test_an_answer_survives_the_round_trip(self) -> None:
        """All 128 bits of it."""
        assert decode_join_answer(encode_join_answer(ANSWER)) == ANSWER

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"\xff",
            b"[" * 100_000,
            encode_join_request(REQUEST).replace(b"node02", b""),
            encode_join_request(REQUEST).replace(b"c:8091", b"c"),
            encode_join_request(REQUEST).replace(b"c:8091", b"c:99999"),
            encode_join_request(REQUEST).replace(b'"raft_address"', b'"raft"'),
            encode_join_request(REQUEST).replace(b'"incarnation":"', b'"incarnation":"g'),
        ],
    )
    def test_a_bad_request_is_invalid(self, body: bytes) -> None:
        """Whatever a stranger posts, it is their mistake and told as one."""
        with pytest.raises(InvalidRequest):
            decode_join_request(body)


class TestAddresses:
    """host:port and nothing else."""

    @pytest.mark.parametrize(
        ("address", "host", "port"),
        [
            ("localhost:8091", "localhost", 8091),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("[2001:db8::1]:65535", "2001:db8::1", 65_535),
            ("node_1.svc:80", "node_1.svc", 80),
        ],
    )
    def test_good_ones_are_taken_apart(self, address: str, host: str, port: int) -> None:
        """Names, IPv4 and IPv6."""
        assert split_address(address) == (host, port)
        assert check_address(address) == address

    @pytest.mark.parametrize(
        "address",
        [
            "",
            ":8091",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:1x",
            "a b:1",
            "::1:80",
            "a/b:1",
            "http://a:1",
            "a:1\n",
            "é:1",
            "a" * 300 + ":1",
        ],
    )
    def test_others_are_refused(self, address: str) -> None:
        """None of them may end in a Location header."""
        with pytest.raises(InvalidRequest, match="must be host:port"):
            split_address(address)
