"""The cluster's side: who is taken in, who is refused, and what happens unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from raftdb.duties.autopilot import FAREWELL_S
from raftdb.errors import (
    ConfChangeError,
    InvalidRequest,
    JoinRefused,
    LeadershipLost,
    MembershipBusy,
    NoLeader,
    NotLeader,
)
from raftdb.membership import JoinAnswer, KnownMember, ReportedAddress
from raftdb.membership.decisions import MEMBERS_MAX
from raftdb.raft.types import ConfState, EntryID, MemberID, Role

if TYPE_CHECKING:
    from tests.membership.conftest import Fixture


def failure_of(deferred: Deferred[object] | Deferred[JoinAnswer] | Deferred[None]) -> BaseException:
    errors: list[BaseException] = []

    def note(failure: Failure) -> None:
        assert failure.value is not None
        errors.append(failure.value)

    deferred.addErrback(note)
    assert errors, "nothing has failed"
    return errors[0]


class TestJoining:
    """A newcomer learns before it votes."""

    def test_a_newcomer_is_a_learner_and_told_the_members(self, node: Fixture) -> None:
        """Its request alone changes no quorum."""
        new = node.record("node02", 2)
        answer = node.membership.add(node.request_of(new)).result
        assert isinstance(answer, JoinAnswer)
        assert answer.cluster_id == 77
        assert KnownMember(new.id, new.raft_address, new.http_address) in answer.members
        assert node.group.table.conf_state.voters == (node.own.id,)
        assert node.group.table.conf_state.learners == (new.id,)

    def test_asking_twice_changes_nothing(self, node: Fixture) -> None:
        """Until it is joined a node asks at every start."""
        new = node.record("node02", 2)
        node.membership.add(node.request_of(new))
        commit = node.group.commit
        node.membership.add(node.request_of(new, cluster_id=77))
        assert node.group.commit == commit

    def test_a_present_member_may_bring_new_addresses(self, node: Fixture) -> None:
        """The same incarnation at another address is the same member."""
        node.membership.add(node.request_of(node.record("node02", 2)))
        moved = node.record("node02", 2, host="elsewhere")
        node.membership.add(node.request_of(moved))
        assert node.group.table.get(moved.id) == moved

    def test_another_cluster_is_refused(self, node: Fixture) -> None:
        """A directory never changes over to another cluster."""
        asked = node.membership.add(node.request_of(node.record("node02", 2), cluster_id=78))
        assert isinstance(failure_of(asked), JoinRefused)

    def test_a_removed_incarnation_is_refused(self, node: Fixture) -> None:
        """It has missed what was decided without it."""
        new = node.record("node02", 2)
        node.membership.add(node.request_of(new))
        node.membership.remove("node02")
        error = failure_of(node.membership.add(node.request_of(new)))
        assert isinstance(error, JoinRefused)
        assert "empty directory" in str(error)

    @pytest.mark.parametrize("taken", ["raft_address", "http_address"])
    def test_an_address_of_another_member_is_refused(self, node: Fixture, taken: str) -> None:
        """Messages to one must not reach the other."""
        request = node.request_of(node.record("node02", 2))
        request = request._replace(**{taken: getattr(node.own, taken)})
        error = failure_of(node.membership.add(request))
        assert isinstance(error, JoinRefused)
        assert "node01" in str(error)

    def test_protocols_that_do_not_meet_are_refused(self, node: Fixture) -> None:
        """Better now than when the first message cannot be read."""
        request = node.request_of(node.record("node02", 2))._replace(protocol_versions=(2, 3))
        assert isinstance(failure_of(node.membership.add(request)), JoinRefused)

    def test_nor_are_those_of_the_past(self, node: Fixture) -> None:
        """A node that speaks less than all the others."""
        request = node.request_of(node.record("node02", 2))._replace(protocol_versions=(0, 0))
        assert isinstance(failure_of(node.membership.add(request)), JoinRefused)

    def test_too_old_a_version_is_refused(self, node: Fixture) -> None:
        """It could not apply what the cluster writes already [R25]."""
        node.own_supports(3)
        node.wait(0.5)
        assert node.group.table.feature_level == 3
        request = node.request_of(node.record("node02", 2))._replace(feature_level=2)
        assert isinstance(failure_of(node.membership.add(request)), JoinRefused)

    def test_a_follower_says_who_leads(self, node: Fixture) -> None:
        """The newcomer is redirected there."""
        other = node.record("node02", 2)
        node.voter(other)
        node.follow(other)
        error = failure_of(node.membership.add(node.request_of(node.record("node03", 3))))
        assert isinstance(error, NotLeader)

    def test_there_is_a_most(self, node: Fixture) -> None:
        """Whoever reaches the HTTP port may ask, so the table has a limit."""
        for number in range(2, MEMBERS_MAX + 1):
            node.membership.add(node.request_of(node.record(f"node{number:02}", number)))
        assert len(node.group.table.members) == MEMBERS_MAX
        error = failure_of(node.membership.add(node.request_of(node.record("node99", 99))))
        assert isinstance(error, ConfChangeError)
        assert len(node.group.table.members) == MEMBERS_MAX

    def test_a_wiped_member_of_a_full_cluster_may_come_back(self, node: Fixture) -> None:
        """It takes its own place."""
        for number in range(2, MEMBERS_MAX + 1):
            node.membership.add(node.request_of(node.record(f"node{number:02}", number)))
        node.group.active[MemberID("node02", 2)] = False
        node.wait(2.0)
        answer = node.membership.add(node.request_of(node.record("node02", 99))).result
        assert isinstance(answer, JoinAnswer)
        assert len(node.group.table.members) == MEMBERS_MAX

    def test_a_change_under_way_is_no_refusal_for_good(self, node: Fixture) -> None:
        """The newcomer asks again."""
        node.group.stuck = True
        error = failure_of(node.membership.add(node.request_of(node.record("node02", 2))))
        assert isinstance(error, MembershipBusy)
        assert not isinstance(error, JoinRefused)


class TestWipedDisk:
    """A new incarnation under an old name."""

    def grown(self, node: Fixture) -> None:
        for number in (2, 3):
            node.voter(node.record(f"node0{number}", number))

    def test_it_replaces_the_old_one_as_a_learner(self, node: Fixture) -> None:
        """In one change, once the old one is out of contact."""
        self.grown(node)
        old = MemberID("node02", 2)
        node.wait(0.2)
        node.group.active[old] = False
        node.wait(1.0)
        new = node.record("node02", 22)
        node.membership.add(node.request_of(new))
        conf_state = node.group.table.conf_state
        assert old not in conf_state.members
        assert conf_state.learners == (new.id,)
        assert node.group.table.is_removed(old)

    def test_not_while_the_old_one_is_in_contact(self, node: Fixture) -> None:
        """A second node under a name in use must not push the first one out."""
        self.grown(node)
        node.wait(2.0)
        error = failure_of(node.membership.add(node.request_of(node.record("node02", 22))))
        assert isinstance(error, MembershipBusy)
        assert "stop it first" in str(error)
        assert MemberID("node02", 2) in node.group.table.conf_state.voters

    def test_an_instant_of_inactivity_is_contact_still(self, node: Fixture) -> None:
        """The core forgets who was active once per election timeout."""
        self.grown(node)
        node.wait(2.0)
        node.group.active[MemberID("node02", 2)] = False
        node.wait(0.2)
        asked = node.membership.add(node.request_of(node.record("node02", 22)))
        assert isinstance(failure_of(asked), MembershipBusy)

    def test_a_new_leader_takes_nobody_for_silent_yet(self, node: Fixture) -> None:
        """It has had no time to hear anybody."""
        self.grown(node)
        node.group.active[MemberID("node02", 2)] = False
        node.wait(5.0)
        node.group.term += 1
        asked = node.membership.add(node.request_of(node.record("node02", 22)))
        assert isinstance(failure_of(asked), MembershipBusy)

    def test_the_leader_counts_itself_in(self, node: Fixture) -> None:
        """Its own record of activity is nobody's business to keep."""
        self.grown(node)
        node.group.active[node.own.id] = False
        node.wait(2.0)
        node.membership.remove("node03")
        assert MemberID("node03", 3) not in node.group.table.conf_state.members

    def test_the_leaders_own_name_is_taken(self, node: Fixture) -> None:
        """Whoever leads is in contact with itself."""
        node.wait(2.0)
        error = failure_of(node.membership.add(node.request_of(node.record("node01", 11, "x"))))
        assert isinstance(error, MembershipBusy)


class TestPromotion:
    """A learner that has caught up becomes a voter, one at a time."""

    def test_a_learner_that_has_caught_up_votes(self, node: Fixture) -> None:
        """Nobody has to ask for it."""
        new = node.record("node02", 2)
        node.membership.add(node.request_of(new))
        node.wait(0.5)
        assert new.id in node.group.table.conf_state.voters

    def test_a_learner_behind_the_last_check_does_not(self, node: Fixture) -> None:
        """As a voter it could hold up every commit."""
        new = node.record("node02", 2)
        node.membership.add(node.request_of(new))
        node.group.match[new.id] = 0
        node.wait(5.0)
        assert node.group.table.conf_state.learners == (new.id,)

    def test_an_unreachable_learner_never_does(self, node: Fixture) -> None:
        """Joining an address that does not exist endangers nothing."""
        new = node.record("node02", 2)
        node.group.active[new.id] = False
        node.group.match[new.id] = 0
        node.membership.add(node.request_of(new))
        node.wait(5.0)
        assert node.group.table.conf_state.voters == (node.own.id,)

    def test_a_learner_that_caught_up_and_fell_silent_does_not(self, node: Fixture) -> None:
        """What it holds is no use to a quorum that cannot hear it."""
        new = node.record("node02", 2)
        node.group.match[new.id] = 0
        node.membership.add(node.request_of(new))
        node.group.active[new.id] = False
        node.wait(1.0)
        node.group.match[new.id] = node.group.commit
        node.wait(5.0)
        assert node.group.table.conf_state.voters == (node.own.id,)

    def test_nobody_is_promoted_while_two_majorities_are_needed(self, node: Fixture) -> None:
        """One change after the other; the core would refuse it, every heartbeat."""
        new = node.record("node02", 2)
        node.membership.add(node.request_of(new))
        joint = ConfState(
            voters=(node.own.id,),
            voters_outgoing=(node.own.id, MemberID("node03", 3)),
            learners=(new.id,),
        )
        node.group.table.apply_conf_change(b"", joint)
        node.wait(1.0)
        assert node.group.refused == 0

    def test_one_change_is_under_way_at_a_time(self, node: Fixture) -> None:
        """Also where the group takes its time."""
        node.membership.add(node.request_of(node.record("node02", 2)))
        node.group.slow = True
        node.wait(2.0)
        assert len(node.group.pending) == 1

    def test_what_is_refused_now_is_tried_again(self, node: Fixture) -> None:
        """A change under way ends some time."""
        new = node.record("node02", 2)
        node.membership.add(node.request_of(new))
        node.group.stuck = True
        node.wait(0.5)
        assert node.group.refused > 1
        node.group.stuck = False
        node.wait(0.2)
        assert new.id in node.group.table.conf_state.voters

    def test_a_leader_again_begins_to_look_anew(self, node: Fixture) -> None:
        """What was committed when it last led says nothing about who has caught up."""
        other, new = node.record("node02", 2), node.record("node03", 3)
        node.voter(other)
        node.membership.add(node.request_of(new))
        node.group.match[new.id] = 0
        node.wait(0.3)
        before = node.group.commit
        node.follow(other)
        node.wait(0.1)
        node.group.commit += 100
        node.group.match[new.id] = before
        node.group.role, node.group.leader = Role.LEADER, node.own.id
        node.wait(0.5)
        assert new.id in node.group.table.conf_state.learners

    def test_after_a_stop_nothing_is_looked_after(self, node: Fixture) -> None:
        """The node hands over and closes; a change now would be lost half-way."""
        node.membership.add(node.request_of(node.record("node02", 2)))
        node.autopilot.stop()
        node.autopilot.stop()
        node.wait(0.5)
        assert node.group.table.conf_state.voters == (node.own.id,)
        assert node.clock.getDelayedCalls() == []

    def test_a_follower_promotes_nobody(self, node: Fixture) -> None:
        """Only the leader knows who has caught up."""
        new = node.record("node02", 2)
        node.membership.add(node.request_of(new))
        node.follow(node.own)
        commit = node.group.commit
        node.wait(2.0)
        assert node.group.commit == commit


class TestRemoval:
    """Who stays must be able to go on."""

    def test_a_member_is_removed(self, node: Fixture) -> None:
        """And remembered as removed."""
        node.voter(node.record("node02", 2))
        node.membership.remove("node02")
        assert node.group.table.conf_state.voters == (node.own.id,)
        assert node.group.table.is_removed(MemberID("node02", 2))

    def test_a_stranger_cannot_be(self, node: Fixture) -> None:
        """The answer names the members."""
        error = failure_of(node.membership.remove("node09"))
        assert isinstance(error, InvalidRequest)
        assert "node01" in str(error)

    def test_the_last_voter_cannot_be(self, node: Fixture) -> None:
        """Nobody would be left."""
        assert isinstance(failure_of(node.membership.remove("node01")), ConfChangeError)

    def test_not_where_the_rest_has_no_quorum_in_contact(self, node: Fixture) -> None:
        """With one of three dead, removing the other living one stops the cluster for ever."""
        for number in (2, 3):
            node.voter(node.record(f"node0{number}", number))
        node.group.active[MemberID("node03", 3)] = False
        node.wait(2.0)
        assert isinstance(failure_of(node.membership.remove("node02")), ConfChangeError)
        node.membership.remove("node03")
        assert MemberID("node03", 3) not in node.group.table.conf_state.members

    def test_a_new_leader_takes_silence_for_silence(self, node: Fixture) -> None:
        """It has heard nobody yet: a voter that is gone must not count as one that stays."""
        for number in (2, 3):
            node.voter(node.record(f"node0{number}", number))
        node.group.active[MemberID("node03", 3)] = False
        node.wait(2.0)
        node.group.term += 1
        error = failure_of(node.membership.remove("node02"))
        assert isinstance(error, MembershipBusy), "this may pass by itself"
        node.wait(2.0)
        error = failure_of(node.membership.remove("node02"))
        assert isinstance(error, ConfChangeError)
        assert not isinstance(error, MembershipBusy), "this does not"

    def test_nobody_is_relied_on_who_has_no_room(self, node: Fixture) -> None:
        """A majority of which one cannot store would commit nothing."""
        for number in (2, 3):
            node.voter(node.record(f"node0{number}", number))
        node.group.full[MemberID("node03", 3)] = True
        node.wait(2.0)
        assert isinstance(failure_of(node.membership.remove("node02")), MembershipBusy)
        node.group.full.clear()
        node.wait(0.1)
        node.membership.remove("node02")
        assert MemberID("node02", 2) not in node.group.table.conf_state.members

    def test_an_invitation_is_taken_back(self, node: Fixture) -> None:
        """Under the same name."""
        node.membership.invite("node07", "x:1", "x:2")
        node.membership.remove("node07")
        assert node.group.table.invitation("node07") is None

    def test_the_removed_node_is_told(self, node: Fixture) -> None:
        """It finds itself removed in its own table, once; not before it has stepped down.

        And a while later: those who stay may not know yet that they can do without it.
        """
        other = node.record("node02", 2)
        node.voter(other)
        node.membership.remove("node01")
        node.wait(FAREWELL_S + 1.0)
        assert not node.removed, "a removed leader goes on until the others can"
        node.follow(other)
        node.wait(FAREWELL_S - 0.5)
        assert not node.removed
        node.wait(1.0)
        assert node.removed == [True]

    def test_it_is_done_when_something_behind_it_is_committed(self, node: Fixture) -> None:
        """The history beside Agreement.settle: its own entry can be known to the leader alone."""
        node.voter(node.record("node02", 2))
        before = node.group.commit
        node.group.mute = True
        done = node.membership.remove("node02")
        assert node.group.commit == before + 1, "the removal is applied"
        assert not done.called
        assert len(node.group.pending) == 1
        node.group.pending[0].callback(None)
        assert done.called

    def test_nothing_is_proposed_in_a_joint_configuration(self, node: Fixture) -> None:
        """Two majorities are needed until it is left, so nothing is settled in it."""
        for number in (2, 3):
            node.voter(node.record(f"node0{number}", number))
        node.group.stays_joint = True
        done = node.membership.remove("node02")
        commit = node.group.commit
        node.wait(0.5)
        assert (done.called, node.group.commit) == (False, commit)
        node.group.leave_joint()
        node.wait(0.1)
        assert (done.called, node.group.commit) == (True, commit + 1)

    def test_the_leaders_own_removal_is_done_when_it_steps_down(self, node: Fixture) -> None:
        """It does so when the entry behind its removal is committed."""
        other = node.record("node02", 2)
        node.voter(other)
        node.group.last = EntryID(1, node.group.commit + 2)  # the removal, and one behind it
        done = node.membership.remove("node01")
        node.wait(0.5)
        waited = not done.called
        node.group.commit += 1
        node.follow(other)
        node.wait(0.1)
        assert (waited, done.called) == (True, True)
        assert done.result is None

    def test_what_nobody_can_tell_is_said(self, node: Fixture) -> None:
        """The leader lost its office before the others knew."""
        other = node.record("node02", 2)
        node.voter(other)
        node.group.last = EntryID(1, node.group.commit + 2)
        done = node.membership.remove("node01")
        node.follow(other)
        node.wait(0.1)
        assert isinstance(failure_of(done), LeadershipLost)

    @pytest.mark.parametrize("joint", [False, True])
    def test_that_no_more_can_follow_is_no_refusal_of_it(self, node: Fixture, joint: bool) -> None:
        """The removal is in force: a client must not be told that nothing happened."""
        for number in (2, 3):
            node.voter(node.record(f"node0{number}", number))
        node.group.stays_joint = joint
        node.group.last = EntryID(1, node.group.commit + 1)
        if not joint:
            node.group.refuses = True
        done = node.membership.remove("node02")
        if joint:
            node.follow(node.record("node03", 3))
            node.wait(0.1)
        assert isinstance(failure_of(done), LeadershipLost)

    def test_nobody_waits_for_ever(self, node: Fixture) -> None:
        """A leader that cannot commit the entry behind its removal says so in time."""
        node.voter(node.record("node02", 2))
        node.group.last = EntryID(1, node.group.commit + 2)
        done = node.membership.remove("node01")
        node.wait(5.2)
        assert isinstance(failure_of(done), LeadershipLost)


class TestNewAddresses:
    """A node that comes back elsewhere is found again."""

    def moved(self, node: Fixture) -> ReportedAddress:
        node.voter(node.record("node02", 2))
        return ReportedAddress(77, node.record("node02", 2, host="elsewhere"))

    def test_the_leader_records_what_a_hello_said(self, node: Fixture) -> None:
        """Everybody learns it from the log."""
        sighting = self.moved(node)
        node.autopilot.seen(sighting)
        node.wait(0.2)
        assert node.group.table.get(sighting.record.id) == sighting.record

    def test_a_follower_tells_the_leader(self, node: Fixture) -> None:
        """At most once a second."""
        sighting = self.moved(node)
        leader = node.record("node03", 3)
        node.voter(leader)
        node.follow(leader)
        node.autopilot.seen(sighting)
        node.wait(0.9)
        assert node.directory.asked == [
            (leader.http_address, node.request_of(sighting.record, cluster_id=77))
        ]

    def test_a_node_tells_of_itself(self, node: Fixture) -> None:
        """Its own record says something else than its options."""
        node.voter(node.record("node03", 3))
        stale = node.record("node01", 1, host="former")
        node.group.table.apply_conf_change(node.context_of(stale), node.group.table.conf_state)
        node.wait(0.2)
        assert node.group.table.get(node.own.id) == node.own

    @pytest.mark.parametrize("incarnation", [2, 22])
    def test_strangers_change_nothing(self, node: Fixture, incarnation: int) -> None:
        """Neither another cluster's node nor another incarnation moves a member."""
        self.moved(node)
        other = node.record("node02", incarnation, host="evil")
        node.autopilot.seen(ReportedAddress(77 if incarnation == 22 else 78, other))
        node.wait(1.0)
        assert node.group.table.members[-1].raft_address == "node02:8089"

    def test_nobody_moves_a_node_but_itself(self, node: Fixture) -> None:
        """A copy of its directory claims its name and lives elsewhere [R29]."""
        commit = node.group.commit
        node.autopilot.seen(ReportedAddress(77, node.record("node01", 1, host="evil")))
        node.wait(1.0)
        assert node.group.commit == commit


class TestInvitations:
    """The older dialect names a node whose incarnation nobody knows."""

    def test_the_first_hello_pins_it(self, node: Fixture) -> None:
        """It becomes a learner like any other."""
        node.membership.invite("node02", "node02:8089", "node02:8091")
        new = node.record("node02", 2)
        node.autopilot.seen(ReportedAddress(77, new))
        node.wait(0.2)
        assert new.id in node.group.table.conf_state.members
        assert node.group.table.invitation("node02") is None

    def test_a_present_member_is_not_invited(self, node: Fixture) -> None:
        """The seed's answer to it is 200 as well."""
        commit = node.group.commit
        assert node.membership.invite("node01", "x:1", "x:2").result is None
        assert node.group.commit == commit

    def test_without_a_leader_nobody_is_invited(self, node: Fixture) -> None:
        """It surely has not happened."""
        node.group.leader = None
        node.follow(node.own)
        node.group.leader = None
        assert isinstance(failure_of(node.membership.invite("node02", "x:1", "x:2")), NoLeader)

    def test_a_removed_incarnation_is_not_pinned(self, node: Fixture) -> None:
        """The invitation is for whoever comes new."""
        old = node.record("node02", 2)
        node.voter(old)
        node.membership.remove("node02")
        node.membership.invite("node02", "node02:8089", "node02:8091")
        node.autopilot.seen(ReportedAddress(77, old))
        assert node.autopilot._reported_addresses.news(node.group.table) is None

    def test_an_uninvited_hello_changes_nothing(self, node: Fixture) -> None:
        """Knowing the cluster's id is not enough."""
        node.autopilot.seen(ReportedAddress(77, node.record("node02", 2)))
        node.wait(1.0)
        assert node.group.table.conf_state.members == (node.own.id,)


class TestTransfer:
    """Leadership goes to voters only."""

    def test_to_a_voter(self, node: Fixture) -> None:
        """By its name."""
        node.voter(node.record("node02", 2))
        node.membership.transfer("node02")
        assert node.group.transferred == [MemberID("node02", 2)]

    def test_to_the_leader_itself_is_done_already(self, node: Fixture) -> None:
        """Asking for what is there is no error."""
        assert node.membership.transfer("node01").result is None
        assert node.group.transferred == []

    def test_to_a_learner_is_not_yet_possible(self, node: Fixture) -> None:
        """It will vote, and may be asked again then."""
        node.membership.add(node.request_of(node.record("node02", 2)))
        assert isinstance(failure_of(node.membership.transfer("node02")), MembershipBusy)

    def test_to_a_stranger_is_an_error(self, node: Fixture) -> None:
        """The answer names the voters."""
        assert isinstance(failure_of(node.membership.transfer("node09")), InvalidRequest)


class TestFeatureLevel:
    """It rises only when everybody supports more [R25]."""

    def test_it_rises_when_all_support_it(self, node: Fixture) -> None:
        """By itself."""
        node.own_supports(2)
        node.wait(0.5)
        assert node.group.table.feature_level == 2

    def test_it_rises_to_what_the_least_supports(self, node: Fixture) -> None:
        """Not to what the best does."""
        node.voter(msgspec.structs.replace(node.record("node02", 2), feature_max=2))
        node.own_supports(3)
        node.wait(0.5)
        assert node.group.table.feature_level == 2

    def test_a_member_without_a_record_holds_it(self, node: Fixture) -> None:
        """Nobody knows what it supports."""
        conf_state = ConfState(voters=(node.own.id, MemberID("node02", 2)))
        node.group.table.apply_conf_change(b"", conf_state)
        node.own_supports(2)
        commit = node.group.commit
        node.wait(0.5)
        assert node.group.commit == commit, "a level was proposed that cannot be agreed on"

    def test_one_old_member_holds_it(self, node: Fixture) -> None:
        """It could not read what the others write."""
        node.voter(node.record("node02", 2))
        node.own_supports(2)
        node.wait(0.5)
        assert node.group.table.feature_level == 1


class TestMembersAsShown:
    """What people and scripts see."""

    def test_the_leader_shows_roles_matches_and_ages(self, node: Fixture) -> None:
        """One record per member, in the order of their ids."""
        node.membership.add(node.request_of(node.record("node02", 2)))
        first, second = node.membership.members()
        assert (first.id, first.role) == ("node01", "leader")
        assert (second.id, second.role) == ("node02", "learner")
        assert second.match_index == node.group.commit
        assert second.last_contact_s == 0

    def test_a_follower_shows_what_it_knows(self, node: Fixture) -> None:
        """Progress is the leader's knowledge alone."""
        other = node.record("node02", 2)
        node.voter(other)
        node.follow(other)
        first, second = node.membership.members()
        assert (first.role, first.match_index) == ("voter", None)
        assert (second.role, second.last_contact_s) == ("leader", None)
