"""The client: what it asks, what it believes, what it tries again, and what it never does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import pytest
from twisted.internet.defer import CancelledError, Deferred

from raftdb.client import Client
from raftdb.client.exchange import UNDER_WAY_PER_NODE_MAX
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

    @pytest.mark.parametrize(
        "endpoints", ["a:1,b:1", ["a:1,b:1\r\n"], ("a:1", " b:1 "), "a:1, b:1,"]
    )
    def test_several_endpoints_may_stand_in_one_text(
        self, asking: Asking, endpoints: str | list[str]
    ) -> None:
        """With whatever a script's variable has at its end; a text is no list of characters."""
        asking.network.add("b:1", WRITTEN)
        client = Client(asking.clock, endpoints, http=asking.http)
        assert asking.finish(client.put("k", "v")) == 7

    def test_a_host_alone_has_the_usual_port(self, asking: Asking) -> None:
        """A URL has its own."""
        asking.network.add("a:8091", WRITTEN)
        asking.network.add("b", WRITTEN)  # as URLs leave their usual port away
        assert asking.finish(asking.client("a").put("k", "v")) == 7
        assert asking.finish(asking.client("https://b").put("k", "v")) == 7

    @pytest.mark.parametrize("host", ["[::1]:1", "my_kv_1:1", "-odd-.example_:1", "xn--0:1"])
    def test_every_address_is_sent_as_it_is(self, asking: Asking, host: str) -> None:
        """Whether IDNA would take it for a name or not; in redirects, too."""
        asking.network.add("a:1", redirect(host))
        asking.network.add(host, WRITTEN)
        assert asking.finish(asking.client("a:1").put("k", "v")) == 7
        assert asking.finish(asking.client(host).put("k", "v")) == 7

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            (lambda client: client.put("a", 5), "a value is bytes or a text, not int"),
            (lambda client: client.put(5, "a"), "a key is bytes or a text, not int"),
            (lambda client: client.put("a", None), "a value is bytes or a text, not None"),
            (lambda client: client.get(None), "a key is bytes or a text, not None"),
            (lambda client: client.delete(1.5), "a key is bytes or a text, not float"),
            (lambda client: client.get("a", level="Stale"), "stale, default, consistent"),
            (lambda client: client.get("a", level="stale&x=1"), "stale, default, consistent"),
            (lambda client: client.get("a", level=["stale"]), "stale, default, consistent"),
            (lambda client: client.put_many({"a": b"\x00raw"}), "the value of 'a' is bytes"),
            (lambda client: client.put_many({5: "x"}), "the key 5 is int"),
            (lambda client: client.put_many({"a": None}), "the value of 'a' is None"),
            (lambda client: client.put_many([("a", "b")]), "a mapping of texts to texts, not list"),
            (lambda client: client.put("a", "b", timeout_s=0), "seconds above 0, not 0"),
            (lambda client: client.put("a", "b", timeout_s="5"), "seconds above 0, not '5'"),
            (lambda client: client.put("a", "b", timeout_s=True), "seconds above 0, not True"),
            (lambda client: client.get("a", timeout_s=float("nan")), "seconds above 0, not nan"),
            (lambda client: client.status(5), "not int"),
            (lambda client: client.status("a b"), "'a b' is no endpoint"),
        ],
    )
    def test_what_is_no_argument_is_refused_by_name(
        self, asking: Asking, wrong: Callable[[Client], object], named: str
    ) -> None:
        """Nothing is sent, and nothing is turned into something else."""
        client = asking.client("a:1")
        with pytest.raises(InvalidRequest, match=re.escape(named)):
            wrong(client)
        assert asking.network.told == []

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_a_value_may_be_any_bytes(self, asking: Asking, kind: Callable[[bytes], bytes]) -> None:
        """As a buffer gives them."""
        asking.network.add("a:1", WRITTEN)
        asking.finish(asking.client("a:1").put("k", kind(b"\x00v")))
        assert asking.network.told[0].body == b"\x00v"

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"endpoints": []}, "at least one endpoint"),
            ({"endpoints": b"a:1"}, "not bytes"),
            ({"endpoints": [5]}, "not int"),
            ({"endpoints": None}, "not NoneType"),
            ({"endpoints": "a:1", "timeout_s": None}, "timeout_s is a number"),
            ({"endpoints": "a:1", "rng": 5}, "random.Random, not int"),
            ({"endpoints": "a:1", "http": "http"}, "treq client, not str"),
            ({"endpoints": "a:1", "http": None}, "treq client of yours"),
            ({"endpoints": "a:1", "reactor": "a:1"}, "reactor, not str"),
        ],
    )
    def test_a_client_is_made_of_what_it_names(
        self, asking: Asking, arguments: dict[str, Any], named: str
    ) -> None:
        """Not with the first request."""
        given = {"reactor": asking.clock, "http": asking.http, **arguments}
        with pytest.raises(InvalidRequest, match=re.escape(named)):
            Client(**given)

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
        assert 0 < asking.clock.seconds() <= 0.02

    def test_a_refused_connection_moves_on_at_once(self, asking: Asking) -> None:
        """Nothing was sent; the next endpoint needs no pause."""
        asking.network.add("b:1", WRITTEN)
        assert asking.finish(asking.client("a:1", "b:1").put("k", "v")) == 7
        assert asking.clock.seconds() < 0.02

    def test_the_pauses_begin_short(self, asking: Asking) -> None:
        """An election after a crash is over in a tenth of a second, and soon found to be."""
        asking.network.add("a:1", *[error(503, "no_leader")] * 4, WRITTEN)
        assert asking.finish(asking.client("a:1").put("k", "v")) == 7
        assert asking.clock.seconds() <= 0.1

    def test_a_dead_leader_is_dialled_once_a_round(self, asking: Asking) -> None:
        """Though every other node still names it."""
        asking.network.add("b:1", *[redirect("a:1")] * 2, WRITTEN)
        asking.network.add("c:1", redirect("a:1"))
        asking.network.refusing["a:1"] = None
        assert asking.finish(asking.client("a:1", "b:1", "c:1").put("k", "v")) == 7
        first, second, third = ["a:1", "b:1", "c:1"], ["c:1", "a:1", "b:1"], ["b:1"]
        assert asking.network.dialled == first + second + third

    def test_the_last_reason_is_told_when_time_is_up(self, asking: Asking) -> None:
        """As the refusal it is."""
        asking.network.add("a:1", error(503, "shutting_down"))
        with pytest.raises(ShuttingDown, match="because of shutting_down"):
            asking.finish(asking.client("a:1").put("k", "v"))
        assert 8 < asking.clock.seconds() <= 10

    def test_nobody_there_is_unreachable(self, asking: Asking) -> None:
        """Surely not written; each endpoint's reason is told."""
        with pytest.raises(Unreachable, match=r"http://b:1: .*; http://a:1: "):
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


class TestACrowd:
    """As many operations at once as one likes: so many are under way, the others have time."""

    def test_waits_for_its_turn(self, asking: Asking) -> None:
        """A node never sees more than its share of one client."""
        asking.network.add("a:1", WRITTEN)
        asking.network.held = []
        client = asking.client("a:1")
        crowd = [client.put(f"k{number}", "v") for number in range(200)]
        for done in range(0, 200, UNDER_WAY_PER_NODE_MAX):
            assert len(asking.network.held) == min(UNDER_WAY_PER_NODE_MAX, 200 - done)
            asking.network.release()
            asking.clock.advance(0)
        assert [asking.finish(each) for each in crowd] == [7] * 200

    def test_is_refused_what_found_no_place_in_time(self, asking: Asking) -> None:
        """It was surely not sent; what was sent is in doubt."""
        asking.network.add("a:1", WRITTEN)
        asking.network.silent["a:1"] = None
        client = asking.client("a:1", timeout_s=1.0)
        crowd = [client.put("k", "v") for _ in range(UNDER_WAY_PER_NODE_MAX + 1)]
        for sent in crowd[:-1]:
            with pytest.raises(Timeout):
                asking.finish(sent)
        with pytest.raises(
            Overloaded, match="64 requests of this client are under way to http://a"
        ):
            asking.finish(crowd[-1])
        assert len(asking.nodes_told) == UNDER_WAY_PER_NODE_MAX

    def test_that_fails_at_once_is_no_recursion(self, asking: Asking) -> None:
        """Hundreds find nobody there."""
        client = asking.client("a:1", timeout_s=0.05)
        crowd = [client.put("k", "v") for _ in range(400)]
        for each in crowd:
            with pytest.raises(Unreachable):
                asking.finish(each)

    def test_can_be_cancelled_while_it_waits(self, asking: Asking) -> None:
        """Whoever has gone takes no place."""
        asking.network.add("a:1", WRITTEN)
        asking.network.held = []
        client = asking.client("a:1")
        crowd = [client.put("k", "v") for _ in range(UNDER_WAY_PER_NODE_MAX + 2)]
        crowd[-2].cancel()
        with pytest.raises(CancelledError):
            asking.finish(crowd[-2])
        asking.network.release()
        asking.clock.advance(0)
        asking.network.release()
        assert asking.finish(crowd[-1]) == 7
        assert len(asking.nodes_told) == UNDER_WAY_PER_NODE_MAX + 1
