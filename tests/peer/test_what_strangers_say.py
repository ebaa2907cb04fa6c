"""A stranger's words reach the log escaped, once per peer and reason, and are never an alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from twisted.logger import LogLevel, capturedLogs, formatEvent

from raftdb.peer.handshake import Refusal
from raftdb.peer.journal import STRANGERS_MAX, STRANGERS_S
from raftdb.raft.types import MemberID
from tests.peer.test_answers import box, dial

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from tests.peer.conftest import Caller, Town

    Call = Callable[..., Caller]

OTHER = bytes(15) + b"\x02"
FORGED = "raftdb stops: all data lost"


def lines(logged: list[LogEvent]) -> list[str]:
    return [str(formatEvent(event)) for event in logged]


def alarms(logged: list[LogEvent]) -> list[str]:
    return lines([event for event in logged if event["log_level"] is LogLevel.critical])


class TestNames:
    """Ids and addresses in a Hello are checked as everywhere else."""

    @pytest.mark.parametrize(
        "changed",
        [
            {"id": f"n2\n{FORGED}".encode()},
            {"id": "n2\u2028".encode()},
            {"id": b"n2 n3"},
            {"id": b"n" * 129},
            {"id": b""},
            {"expected_id": f"a\r{FORGED}".encode()},
            {"raft_address": f"x:1\n{FORGED}".encode()},
            {"raft_address": b"nowhere"},
            {"http_address": b"x:1/\x1b[2J"},
            {"http_address": b"x:0"},
        ],
    )
    @pytest.mark.parametrize("cluster", [OTHER, bytes(15) + b"\xc1"])
    def test_that_nobody_can_have_end_the_connection(
        self,
        town: Town,
        call: Call,
        logged: list[LogEvent],
        cluster: bytes,
        changed: dict[str, bytes],
    ) -> None:
        """Whatever cluster they claim: a line that names the caller's address, and no more."""
        a = town.build("a")
        caller = call("a", host="mars")
        assert caller.hello(cluster=cluster, **changed) == {}
        assert caller.is_cut
        assert a.hellos == []
        assert len(logged) == 1
        assert lines(logged)[0].startswith("stranger at mars: ")
        assert lines(logged)[0].isprintable()

    def test_in_an_answer_end_it_too(self, town: Town, logged: list[LogEvent]) -> None:
        """Who answers at a member's address may be anybody."""
        a = dial(town, box(http_address=f"b:1\n{FORGED}".encode()))
        town.run(0.5)
        assert not a.transport.is_connected(MemberID("b", 1))
        assert a.hellos == []
        assert [FORGED in line and line.isprintable() for line in lines(logged)] == [True]


class TestTwoClusters:
    """Somebody of another cluster knows this node by its name."""

    def test_is_told_once_however_many_say_so(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """Three hundred names from one address are one stranger."""
        town.build("a")
        for number in range(300):
            call("a", host="mars").hello(cluster=OTHER, id=b"n%d" % number)
        assert len(logged) == 1
        assert "two clusters claim a: n0#" in lines(logged)[0]
        assert alarms(logged) == []

    def test_is_an_alarm_with_a_certificate(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """The group's authority has vouched for who says it."""
        a = town.build("a")
        caller = call("a")
        accepted = next(iter(a.transport._accepted))
        vars(accepted.wire)["getPeerCertificate"] = lambda: "x:1"
        caller.hello(cluster=OTHER)
        assert len(alarms(logged)) == 1

    def test_is_an_alarm_where_a_member_should_be(self, town: Town, logged: list[LogEvent]) -> None:
        """We dialled the address that our own membership has, and it is in another cluster."""
        a = town.build("a")
        b = town.build("b", cluster=0xDD)
        a.transport.update_peers({b.member: "b:1"})
        town.run(5)
        assert len(alarms(logged)) == 1
        assert "the node at b:1, where this cluster has b#" in alarms(logged)[0]


class TestDuplicates:
    """Another process with the same identity."""

    def test_is_no_alarm_by_word_alone(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """Whoever has read this node's id and incarnation somewhere can say it."""
        town.build("a")
        for boot in range(50, 90):
            caller = call("a", host="mars")
            assert caller.hello(id=b"a", boot=b"%d" % boot)[b"refused"] == b"duplicate"
        assert len(logged) == 1
        assert "another process with the same identity" in lines(logged)[0]
        assert alarms(logged) == []

    def test_is_an_alarm_where_a_member_answers_so(
        self, town: Town, logged: list[LogEvent]
    ) -> None:
        """A copy dials the members; they hold its original, and tell it."""
        _, b = town.meet("a", "b")
        copy = town.build("b", at="copy:1")
        copy.transport.update_peers({MemberID("a", 1): "a:1"})
        town.run(1)
        assert b.transport.is_connected(MemberID("a", 1))
        told = [e for e in logged if e["log_level"] is LogLevel.critical]
        assert [e["peer"] for e in told] == ["a#00000000"]


class TestBounds:
    """Lines cost room on a disk."""

    def test_many_addresses_have_their_lines_together(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """The last line says that there were more; an hour later there is room again."""
        a = town.build("a")
        for number in range(3 * STRANGERS_MAX):
            call("a", host=f"planet{number}").say(b"\x00\x00")
        assert len(logged) == STRANGERS_MAX + 1
        assert "no more are within this hour" in lines(logged)[-1]
        town.clock.advance(STRANGERS_S)
        call("a", host="pluto").say(b"\x00\x00")
        assert lines(logged)[-1].startswith("stranger at pluto: ")
        assert len(a.transport._journal._strangers) <= STRANGERS_MAX + 1

    def test_two_reasons_of_one_stranger_are_two_lines(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """HTTP today and TLS tomorrow are different mistakes."""
        town.build("a")
        for _ in range(3):
            call("a").say(b"GET / HTTP/1.1\r\n\r\n")
            call("a").say(b"\x16\x03\x01\x02\x00\x01")
        assert ["HTTP" in lines(logged)[0], "TLS" in lines(logged)[1]] == [True, True]
        assert len(logged) == 2

    def test_members_are_told_of_while_strangers_shout(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """Their lines are no strangers'."""
        a = town.build("a")
        for number in range(2 * STRANGERS_MAX):
            call("a", host=f"planet{number}").say(b"\x00\x00")
        logged.clear()
        a.transport.update_peers({MemberID("b", 1): "b:1"})
        town.run(1)
        assert ["b#" in line for line in lines(logged)] == [True]


class TestConnections:
    """Who can be reached, as the log says it."""

    def test_of_unknown_names_have_their_lines_together(self, town: Town, call: Call) -> None:
        """Whoever knows the cluster may call itself anything, and come and go all day."""
        a = town.build("a")
        with capturedLogs() as events:
            for number in range(300):
                caller = call("a")
                caller.hello(id=b"n%d" % number)
                caller.protocol.transport.loseConnection()  # type: ignore[union-attr]  # it is open
                town.run(0.01)
        assert a.transport._journal._up == set()
        assert len(events) <= 2 * STRANGERS_MAX + 1

    def test_of_a_member_are_told_when_they_come_and_when_they_go(self, town: Town) -> None:
        """Once each, whatever replaces whatever; also of one that came before it was a member."""
        a, b = town.build("a"), town.build("b")
        with capturedLogs() as events:
            b.transport.update_peers({a.member: "a:1"})
            town.run(0.1)
            a.transport.update_peers({b.member: "b:1"})
            town.run(0.1)
            town.wires.kill("b")
            town.run(0.5)
        of_b = [line for line in map(str, map(formatEvent, events)) if line.startswith("b#")]
        assert [line.split(":")[1] for line in of_b[:2]] == [" connected", " no longer connected"]
        assert sum("connected" in line for line in of_b) == 2


class TestAnOldProcess:
    """A caller that is gone when it is judged."""

    def test_is_no_sighting(self, town: Town, call: Call) -> None:
        """What it said of its addresses may be older than what its successor said."""
        a, _ = town.meet("a", "b")
        heard = len(a.hellos)
        caller = call("a")
        town.wires.part("a", "b")
        caller.hello(id=b"b", boot=b"99", raft_address=b"old:1")
        next(reversed(a.transport._accepted)).abort()
        town.run(town.limits.ping_timeout_s + 0.05)
        assert [facts for facts, _ in a.hellos[heard:] if facts.boot == 99] == []
        assert Refusal.DUPLICATE not in a.refusals()
