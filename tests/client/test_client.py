"""The client: what it asks, what it believes, what it tries again, and what it never does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import pytest
from twisted.internet.defer import CancelledError, Deferred

from raftdb.errors import (
    InvalidRequest,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    Refused,
    ShuttingDown,
    Timeout,
    TooLarge,
    Unreachable,
)

if TYPE_CHECKING:
    from raftdb.client import Client
    from tests.client.conftest import Asking

HERE = {"Raftdb-Applied-Index": "3"}
WRITTEN = (200, HERE, b'{"revision":7}\n')


def error(
    status: int, code: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Return what a node answers when it refuses or fails."""
    body = json.dumps({"error": {"code": code, "message": f"because of {code}"}}).encode()
    return (status, {**HERE, "Raftdb-Error": code, **(headers or {})}, body)


def redirect(to: str) -> tuple[int, dict[str, str], bytes]:
    """Return what a follower answers to a write."""
    return error(307, "not_leader", {"Location": f"http://{to}/api/kv?key=k"})


def write(client: Client, method: str) -> Deferred[object]:
    """Begin a write of one kind."""
    operations: dict[str, Callable[[], Deferred[Any]]] = {
        "put": lambda: client.put("k", "v"),
        "delete": lambda: client.delete("k"),
        "put_many": lambda: client.put_many({"k": "v"}),
    }
    return operations[method]()


def unknown(asking: Asking, deferred: Deferred[object]) -> OutcomeUnknown:
    with pytest.raises(OutcomeUnknown) as raised:
        asking.finish(deferred)
    return raised.value


class TestWhatIsAsked:
    """One request per operation, its key escaped whole."""

    def test_put_sends_the_bytes_and_returns_the_revision(self, asking: Asking) -> None:
        """PUT /api/kv with the value as its body."""
        asking.network.add("a:1", WRITTEN)
        assert asking.finish(asking.client("a:1").put("ü/ ?", b"\x00\xff")) == 7
        (told,) = asking.network.told
        assert told == ("a:1", "PUT", "/api/kv?key=%C3%BC%2F%20%3F", b"\x00\xff")

    def test_every_byte_of_a_key_survives_the_way(self, asking: Asking) -> None:
        """Nothing on the way decodes, merges or drops any of it."""
        asking.network.add("a:1", WRITTEN)
        key = bytes(range(256)) + b"/.././/%2F+&=#;"
        asking.finish(asking.client("a:1").put(key, b""))
        quoted = "".join(f"%{byte:02X}" for byte in key)
        sent = asking.network.told[0].target.removeprefix("/api/kv?key=")
        assert unquote_to_bytes(sent) == unquote_to_bytes(quoted) == key

    def test_put_many_is_one_post(self, asking: Asking) -> None:
        """All or nothing."""
        asking.network.add("a:1", (200, HERE, b""))
        asking.finish(asking.client("a:1").put_many({"a": "1", "ü": "2"}))
        (told,) = asking.network.told
        assert (told.method, told.target) == ("POST", "/key")
        assert json.loads(told.body) == {"a": "1", "ü": "2"}

    @pytest.mark.parametrize("level", ["stale", "default", "consistent"])
    def test_get_names_its_level(self, asking: Asking, level: str) -> None:
        """And returns the value's bytes."""
        asking.network.add("a:1", (200, HERE, b"\xffv"))
        assert asking.finish(asking.client("a:1").get("k", level=level)) == b"\xffv"  # type: ignore[arg-type]  # one of the three
        assert asking.network.told[0].target == f"/api/kv?key=k&level={level}"

    def test_a_missing_key_is_none(self, asking: Asking) -> None:
        """And an empty value is not."""
        asking.network.add("a:1", error(404, "key_not_found"), (200, HERE, b""))
        client = asking.client("a:1")
        assert asking.finish(client.get("k")) is None
        assert asking.finish(client.get("k")) == b""

    def test_delete_tells_whether_there_was_one(self, asking: Asking) -> None:
        """From the count in the answer."""
        asking.network.add(
            "a:1",
            (200, HERE, b'{"revision":8,"deleted":1}'),
            (200, HERE, b'{"revision":8,"deleted":0}'),
        )
        client = asking.client("a:1")
        assert asking.finish(client.delete("k")) is True
        assert asking.finish(client.delete("k")) is False

    def test_status_asks_one_node_if_told_which(self, asking: Asking) -> None:
        """The others have a status of their own."""
        asking.network.add("a:1", (200, HERE, b'{"id":"a"}'))
        asking.network.add("b:1", (200, HERE, b'{"id":"b"}'))
        client = asking.client("a:1", "b:1")
        assert asking.finish(client.status("http://b:1/")) == {"id": "b"}
        assert asking.finish(client.status()) == {"id": "a"}

    def test_awaiting_works(self, asking: Asking) -> None:
        """A Deferred can be awaited in a coroutine."""
        asking.network.add("a:1", WRITTEN)

        async def use() -> int:
            return await asking.client("a:1").put("k", "v")

        assert asking.finish(Deferred.fromCoroutine(use())) == 7

    @pytest.mark.parametrize("endpoint", ["", "a b:1", "ftp://a:1", "http://u@a:1", "a:1/x?"])
    def test_a_bad_endpoint_is_refused_at_once(self, asking: Asking, endpoint: str) -> None:
        """Not with the first request."""
        with pytest.raises(InvalidRequest):
            asking.client(endpoint)

    def test_text_without_utf8_is_refused(self, asking: Asking) -> None:
        """Nothing is sent."""
        client = asking.client("a:1")
        for broken in (lambda: client.put("\ud800", ""), lambda: client.put_many({"k": "\ud800"})):
            with pytest.raises(InvalidRequest):
                broken()


class TestFollowingTheLeader:
    """A redirect is followed at once, and remembered."""

    @pytest.mark.parametrize("method", ["put", "delete", "put_many"])
    def test_a_write_goes_where_it_is_sent(self, asking: Asking, method: str) -> None:
        """With the same method and body."""
        asking.network.add("a:1", redirect("c:1"))
        asking.network.add("c:1", (200, HERE, b'{"revision":7,"deleted":1}'))
        client = asking.client("a:1", "b:1")
        asking.finish(write(client, method))
        first, second = asking.network.told
        assert (first.node, second.node) == ("a:1", "c:1")
        assert first[1:] == second[1:]

    def test_the_leader_is_asked_first_from_then_on(self, asking: Asking) -> None:
        """One redirect, not one per write."""
        asking.network.add("a:1", redirect("c:1"))
        asking.network.add("c:1", WRITTEN)
        client = asking.client("a:1")
        for _ in range(3):
            asking.finish(client.put("k", "v"))
        assert asking.nodes_told == ["a:1", "c:1", "c:1", "c:1"]

    def test_a_dead_leader_is_left(self, asking: Asking) -> None:
        """Back to the endpoints."""
        asking.network.add("a:1", redirect("c:1"), WRITTEN)
        asking.network.add("c:1", WRITTEN)
        client = asking.client("a:1")
        asking.finish(client.put("k", "v"))
        asking.network.refusing["c:1"] = None
        asking.finish(client.put("k", "v"))
        assert asking.nodes_told == ["a:1", "c:1", "a:1"]

    def test_nodes_that_send_it_in_circles_are_given_time(self, asking: Asking) -> None:
        """Until one of them knows better."""
        asking.network.add("a:1", *[redirect("b:1")] * 4, WRITTEN)
        asking.network.add("b:1", redirect("a:1"))
        assert asking.finish(asking.client("a:1").put("k", "v")) == 7
        assert 0.01 < asking.clock.seconds() < 1

    @pytest.mark.parametrize(
        "location", ["", "/elsewhere", "ftp://c:1/", "http://", "http://u@c:1/"]
    )
    def test_a_redirect_to_nowhere_is_a_refusal(self, asking: Asking, location: str) -> None:
        """It did not happen, so it is tried again until the time is up."""
        asking.network.add("a:1", error(307, "not_leader", {"Location": location}))
        with pytest.raises(NoLeader):
            asking.finish(asking.client("a:1", timeout_s=2.0).put("k", "v"))


class TestTryingAgain:
    """What surely did not happen is tried again until the deadline."""

    @pytest.mark.parametrize(
        "code",
        [
            "no_leader",
            "membership_busy",
            "overloaded",
            "shutting_down",
            "proposal_dropped",
            "not_leader",
            "starting",
        ],
    )
    def test_a_named_503_is_tried_again(self, asking: Asking, code: str) -> None:
        """After a pause, and at the next node first."""
        asking.network.add("a:1", error(503, code), WRITTEN)
        assert asking.finish(asking.client("a:1").put("k", "v")) == 7
        assert asking.nodes_told == ["a:1", "a:1"]
        assert asking.clock.seconds() > 0.02

    def test_a_refused_connection_moves_on_at_once(self, asking: Asking) -> None:
        """Nothing was sent; the next endpoint needs no pause."""
        asking.network.add("b:1", WRITTEN)
        assert asking.finish(asking.client("a:1", "b:1").put("k", "v")) == 7
        assert asking.clock.seconds() < 0.02

    def test_the_last_reason_is_told_when_time_is_up(self, asking: Asking) -> None:
        """As the refusal it is."""
        asking.network.add("a:1", error(503, "shutting_down"))
        with pytest.raises(ShuttingDown, match="because of shutting_down"):
            asking.finish(asking.client("a:1").put("k", "v"))
        assert 8 < asking.clock.seconds() <= 10

    def test_nobody_there_is_unreachable(self, asking: Asking) -> None:
        """Surely not written."""
        with pytest.raises(Unreachable):
            asking.finish(asking.client("a:1", "b:1", timeout_s=1.0).put("k", "v"))

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (error(400, "invalid_request"), InvalidRequest),
            (error(413, "too_large"), TooLarge),
            (error(405, "method_not_allowed"), InvalidRequest),
            (error(404, "not_found"), InvalidRequest),
        ],
    )
    def test_what_is_wrong_stays_wrong(
        self, asking: Asking, answer: tuple[int, dict[str, str], bytes], kind: type[Refused]
    ) -> None:
        """Told at once, asked once."""
        asking.network.add("a:1", answer)
        with pytest.raises(kind):
            asking.finish(asking.client("a:1").put("k", "v"))
        assert asking.nodes_told == ["a:1"]

    def test_a_refusal_by_the_connection_itself_counts_too(self, asking: Asking) -> None:
        """It has no applied index, but a name."""
        asking.network.add("a:1", (503, {"Raftdb-Error": "overloaded"}, b""), WRITTEN)
        assert asking.finish(asking.client("a:1").put("k", "v")) == 7
        asking.network.add("a:1", (413, {"Raftdb-Error": "too_large"}, b""))
        with pytest.raises(TooLarge):
            asking.finish(asking.client("a:1").put("k", "v"))


class TestAWriteOfUnknownOutcome:
    """It is told as such, and never sent again."""

    @pytest.mark.parametrize("method", ["put", "delete", "put_many"])
    @pytest.mark.parametrize("how", ["silent", "deaf_after", "504", "nameless 503", "500", "200"])
    def test_is_never_sent_twice(self, asking: Asking, method: str, how: str) -> None:
        """Whatever the doubt: in between somebody else may have written."""
        answers = {
            "504": error(504, "timeout"),
            "nameless 503": (503, {}, b"a proxy says no"),
            "500": (500, {}, b"oops"),
            "200": (200, {}, b"a stranger's page"),
        }
        asking.network.add("a:1", answers.get(how, WRITTEN))
        asking.network.add("b:1", WRITTEN)
        getattr(asking.network, how, {})["a:1"] = None
        client = asking.client("a:1", "b:1")
        unknown(asking, write(client, method))
        assert asking.nodes_told == ["a:1"]

    def test_silence_is_a_timeout_at_the_deadline(self, asking: Asking) -> None:
        """Not before, not after."""
        asking.network.add("a:1", WRITTEN)
        asking.network.silent["a:1"] = None
        with pytest.raises(Timeout):
            asking.finish(asking.client("a:1").put("k", "v", timeout_s=3.0))
        assert asking.clock.seconds() == pytest.approx(3.0, abs=0.05)

    def test_the_next_operation_asks_another_node(self, asking: Asking) -> None:
        """A node that hangs is not asked first for ever."""
        asking.network.add("a:1", WRITTEN)
        asking.network.add("b:1", WRITTEN)
        asking.network.silent["a:1"] = None
        client = asking.client("a:1", "b:1")
        with pytest.raises(Timeout):
            asking.finish(client.put("k", "v"))
        assert asking.finish(client.put("k", "v")) == 7


class TestReads:
    """Reading twice is harmless, so a read survives what a write must not."""

    @pytest.mark.parametrize("how", ["silent", "deaf_after"])
    def test_a_silent_node_is_left_for_the_next(self, asking: Asking, how: str) -> None:
        """Long before the deadline."""
        asking.network.add("a:1", (200, HERE, b"v"))
        asking.network.add("b:1", (200, HERE, b"v"))
        getattr(asking.network, how)["a:1"] = None
        assert asking.finish(asking.client("a:1", "b:1").get("k")) == b"v"
        assert asking.clock.seconds() < 3

    def test_a_504_is_asked_again(self, asking: Asking) -> None:
        """It may do better now."""
        asking.network.add("a:1", error(504, "timeout"), (200, HERE, b"v"))
        assert asking.finish(asking.client("a:1").get("k")) == b"v"

    def test_a_stranger_is_not_believed(self, asking: Asking) -> None:
        """A 200 without raftdb's headers is somebody else's page."""
        asking.network.add("a:1", (200, {}, b"<html>"))
        with pytest.raises(OutcomeUnknown, match="is no raftdb"):
            asking.finish(asking.client("a:1", timeout_s=1.0).get("k"))


class TestCancelling:
    """Who does not want to wait any more need not."""

    @pytest.mark.parametrize("operation", ["put", "get"])
    def test_ends_the_waiting_and_asks_nobody_else(self, asking: Asking, operation: str) -> None:
        """No timer, no further request."""
        asking.network.add("a:1", WRITTEN)
        asking.network.add("b:1", WRITTEN)
        asking.network.silent["a:1"] = None
        client = asking.client("a:1", "b:1")
        waiting: Deferred[object] = client.put("k", "v") if operation == "put" else client.get("k")  # type: ignore[assignment]  # any result will do
        waiting.cancel()
        with pytest.raises(CancelledError):
            asking.finish(waiting)
        asking.clock.advance(20)
        assert asking.nodes_told == ["a:1"]

    def test_works_during_a_pause(self, asking: Asking) -> None:
        """Between two attempts, too."""
        asking.network.add("a:1", error(503, "overloaded"))
        waiting = asking.client("a:1").put("k", "v")
        waiting.cancel()
        with pytest.raises(CancelledError):
            asking.finish(waiting)
        asking.clock.advance(20)
        assert asking.nodes_told == ["a:1"]


class TestOverload:
    """A cluster that asks for patience gets it."""

    def test_the_pauses_grow(self, asking: Asking) -> None:
        """Ten seconds of refusals are tens of requests, not thousands."""
        asking.network.add("a:1", error(503, "overloaded"))
        with pytest.raises(Overloaded):
            asking.finish(asking.client("a:1").put("k", "v"))
        assert len(asking.nodes_told) < 60
