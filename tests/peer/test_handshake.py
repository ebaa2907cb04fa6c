"""Nobody is believed before Hello, and Hello is judged by name, cluster, version and life."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from twisted.logger import LogLevel

from raftdb.errors import InvalidRequest
from raftdb.peer.handshake import Kind, LocalMember, Refusal
from raftdb.raft.types import MemberID

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from tests.peer.conftest import Caller, Town

    Call = Callable[..., Caller]

X = MemberID("x", 1)


class TestAccepting:
    """The answer that opens a connection."""

    def test_tells_who_answers_and_what_is_spoken(self, town: Town, call: Call) -> None:
        """The dialler learns everything it has to compare."""
        town.build("a")
        answer = call("a").hello()
        assert answer.pop(b"_answer") == b"1"
        assert answer == {
            b"protocol": b"1",
            b"cluster": bytes(15) + b"\xc1",
            b"id": b"a",
            b"incarnation": bytes(15) + b"\x01",
            b"boot": b"1",
            b"raft_address": b"a:1",
            b"http_address": b"a:80",
            b"feature_level": b"1",
        }

    def test_the_highest_common_protocol_is_chosen(self, town: Town, call: Call) -> None:
        """A later program offers a range; the highest of both is spoken [R25]."""
        town.build("a")
        assert call("a").hello(protocol_max=b"9")[b"protocol"] == b"1"

    def test_facts_are_reported(self, town: Town, call: Call) -> None:
        """Advertised addresses, feature level and expectation reach the layers above."""
        a = town.build("a")
        call("a").hello(raft_address=b"new:1", feature_level=b"7", expected_incarnation=bytes(16))
        facts, refusal = a.hellos[0]
        assert refusal is None
        assert (facts.member, facts.raft_address, facts.feature_level) == (X, "new:1", 7)
        assert facts.expected == MemberID("a", 0)
        assert facts.kind is Kind.CONTROL
        assert not facts.dialled

    def test_both_sides_report_each_other(self, town: Town) -> None:
        """Who dialled learns from the answer, who accepted from Hello."""
        a, b = town.meet("a", "b")
        assert {(facts.member, facts.dialled, facts.boot) for facts, _ in a.hellos} == {
            (b.member, True, b.local.boot),
            (b.member, False, b.local.boot),
        }

    def test_keys_nobody_knows_are_ignored(self, town: Town, call: Call) -> None:
        """A later version may add arguments, authentication first of all."""
        a = town.build("a")
        assert b"refused" not in call("a").hello(auth=b"secret", colour=b"red")
        assert a.transport.is_connected(X)


class TestRefusing:
    """Each reason, told to the other side, reported, and nothing changed."""

    @pytest.mark.parametrize(
        ("changed", "refusal"),
        [
            ({"cluster": bytes(16)}, Refusal.WRONG_CLUSTER),
            ({"protocol_min": b"2", "protocol_max": b"3"}, Refusal.NO_COMMON_VERSION),
            ({"id": b"a", "boot": b"99"}, Refusal.DUPLICATE),
            ({"id": b"a", "boot": b"1"}, Refusal.SELF),
            ({"id": b"gone"}, Refusal.REMOVED),
        ],
    )
    def test_a_reason_is_given(
        self, town: Town, call: Call, changed: dict[str, bytes], refusal: Refusal
    ) -> None:
        """The answer names the reason, and the connection ends."""
        a = town.build("a")
        a.removed.add(MemberID("gone", 1))
        caller = call("a")
        answer = caller.hello(**changed)
        assert answer[b"refused"] == refusal.value.encode()
        assert answer[b"reason"]
        assert b"cluster" not in answer, "a stranger learns nothing about us"
        assert a.refusals() == [refusal]
        assert caller.is_cut
        assert not a.transport.is_connected(X)

    def test_a_certificate_for_another_host_is_refused(self, town: Town, call: Call) -> None:
        """A member that nobody can dial back gets no entries, and so never a vote."""
        a = town.build("a")
        for shown, refused in (("y:1", b"wrong-certificate"), ("x:1", None)):
            caller = call("a")
            accepted = next(reversed(a.transport._accepted))
            vars(accepted.wire)["getPeerCertificate"] = lambda shown=shown: shown
            assert caller.hello().get(b"refused") == refused
            assert a.transport.is_connected(X) is (refused is None)

    def test_a_node_without_a_cluster_hears_and_refuses(self, town: Town, call: Call) -> None:
        """Before it bootstraps it learns that others believe it to be a member [R15]."""
        a = town.build("a", cluster=None)
        assert call("a").hello()[b"refused"] == b"wrong-cluster"
        facts, refusal = a.hellos[0]
        assert refusal is Refusal.WRONG_CLUSTER
        assert facts.expected == MemberID("a", 1)
        assert facts.http_address == "x:80"

    def test_a_node_takes_Hellos_once_it_has_a_cluster(self, town: Town, call: Call) -> None:  # noqa: N802
        """adopt_cluster() opens the door."""
        a = town.build("a", cluster=None)
        a.transport.adopt_cluster(0xC1)
        assert b"refused" not in call("a").hello()

    def test_a_removed_member_is_told(self, town: Town) -> None:
        """It dials, is refused, and learns why [R11]."""
        a, b = town.meet("a", "b")
        a.removed.add(b.member)
        a.transport.update_peers({})
        town.run(0.5)
        assert b.told_removed > 0
        assert not a.transport.is_connected(b.member)
        assert a.told_removed == 0

    def test_another_incarnation_at_the_address_is_not_taken_for_the_member(
        self, town: Town
    ) -> None:
        """A wiped node answers; what was meant for its predecessor never reaches it."""
        a = town.build("a")
        b = town.build("b", incarnation=2)
        old = MemberID("b", 1)
        a.transport.update_peers({old: "b:1"})
        town.run(0.5)
        assert not a.transport.is_connected(old)
        assert a.refusals()[0] is Refusal.WRONG_MEMBER
        assert a.hellos[0][0].member == b.member, "the new incarnation is reported"

    def test_refusals_are_logged_once_per_peer_and_reason(
        self, town: Town, logged: list[LogEvent]
    ) -> None:
        """A member of another cluster that dials for hours is one line on each side."""
        a, b = town.build("a"), town.build("b", cluster=0xC2)
        b.transport.update_peers({a.member: "a:1"})
        town.run(10)
        assert len(a.hellos) > 50
        assert len(logged) == 2

    def test_a_stranger_cannot_fill_the_log_with_names(
        self, town: Town, call: Call, logged: list[LogEvent]
    ) -> None:
        """Without the cluster's id the line is per address, whatever names are claimed."""
        town.build("a")
        for number in range(20):
            call("a").hello(cluster=bytes(16), id=b"name%d" % number)
        assert len(logged) == 1

    def test_an_address_too_long_for_Hello_is_refused_at_home(self) -> None:  # noqa: N802
        """Hello has to fit into the 4 KiB of a stranger's box."""
        with pytest.raises(InvalidRequest, match="http_address"):
            LocalMember(member=X, boot=1, cluster_id=1, raft_address="x:1", http_address="x" * 256)


class TestDuplicates:
    """One (id, incarnation) with two live boot nonces is a copied directory [R29]."""

    def test_the_newer_of_two_live_processes_is_refused_and_alarmed(
        self, town: Town, logged: list[LogEvent]
    ) -> None:
        """The older connection answers a Ping, so the newer one is a copy."""
        a, b = town.meet("a", "b")
        copy = town.build("b", at="copy:1")
        copy.transport.update_peers({a.member: "a:1"})
        town.run(1)
        assert Refusal.DUPLICATE in a.refusals()
        registry = a.transport._registry
        boots = {each.facts.boot for each in registry.of(b.member)}
        assert boots == {b.local.boot}
        assert any(event["log_level"] is LogLevel.critical for event in logged)

    def test_a_restart_is_not_kept_waiting(self, town: Town) -> None:
        """The old process is gone without a word; a Ping shows it within two heartbeats."""
        a, b = town.meet("a", "b")
        town.run(0.3)
        town.wires.part("a", "b")
        town.wires.kill("b")
        b.transport.stop()
        reborn = town.build("b")
        town.wires.rejoin("a", "b")
        reborn.transport.update_peers({a.member: "a:1"})
        town.run(town.limits.ping_timeout_s + 0.05)
        boots = {each.facts.boot for each in a.transport._registry.of(b.member)}
        assert boots == {reborn.local.boot}
        assert Refusal.DUPLICATE not in a.refusals()

    def test_what_is_sent_during_the_live_check_is_not_lost(self, town: Town, call: Call) -> None:
        """A dialler that hurries is read after the judgement, not cut off."""
        a, b = town.meet("a", "b")
        town.wires.part("a", "b")
        caller = call("a")
        caller.hello(id=b"b", boot=b"99")
        caller.ask(b"Ping")
        assert caller.answers() == []
        town.run(town.limits.ping_timeout_s + 0.01)
        assert len(caller.answers()) == 2
        assert not caller.is_cut
        assert a.transport.is_connected(b.member)

    def test_who_hangs_up_during_the_live_check_is_not_counted_in(
        self, town: Town, call: Call
    ) -> None:
        """A connection that is gone when it is judged leaves nothing behind."""
        a, b = town.meet("a", "b")
        caller = call("a")
        town.wires.part("a", "b")
        caller.hello(id=b"b", boot=b"99")
        accepted = next(reversed(a.transport._accepted))
        accepted.abort()
        town.run(town.limits.ping_timeout_s + 0.05)
        assert accepted.is_closed
        assert accepted not in a.transport._registry
        assert a.transport._registry.of(b.member) == []

    def test_a_second_connection_of_the_same_process_replaces_the_first(
        self, town: Town, call: Call
    ) -> None:
        """The dialler has given the first one up, we may only not have noticed."""
        town.build("a")
        first, second = call("a"), call("a")
        first.hello()
        second.hello()
        town.run(0.01)
        assert first.is_cut
        assert not second.is_cut
