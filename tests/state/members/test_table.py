"""The table of members: configuration changes, invitations, the removed, the feature level."""

from __future__ import annotations

import pytest

from raftdb.errors import ConfChangeError, InvalidRequest, Overloaded, RemoteProtocolError
from raftdb.raft.types import ConfState, MemberID
from raftdb.state.members import (
    InitCluster,
    Invitation,
    Invite,
    Member,
    MembersCommand,
    MemberTable,
    SetFeatureLevel,
    Uninvite,
    UpdateMember,
    encode_context,
)
from raftdb.state.members.table import INVITATIONS_MAX, REMOVED_MAX
from raftdb.state.part import Context

ANNA = MemberID("anna", 1)
BERT = MemberID("bert", 2)
NEW_BERT = MemberID("bert", 3)


def member(id_: MemberID, *, port: int = 1, feature_max: int = 1) -> Member:
    """Return a record."""
    return Member(id_, f"{id_.id}:{port}", f"{id_.id}:80", feature_max=feature_max)


def table(*ids: MemberID, feature_max: int = 1) -> MemberTable:
    """Return a table of voters."""
    made = MemberTable()
    context = encode_context(tuple(member(one, feature_max=feature_max) for one in ids))
    made.apply_conf_change(context, ConfState(voters=tuple(sorted(ids))))
    return made


def apply(to: MemberTable, command: MembersCommand) -> None:
    """Apply a command that must succeed."""
    assert to.apply(Context(1, 7), command) == (None, ())


class TestConfigurationChanges:
    """Who takes part follows the core's configuration."""

    def test_the_context_brings_the_record(self) -> None:
        """Name, incarnation and addresses are known from the entry that adds a member."""
        assert table(ANNA).get(ANNA) == member(ANNA)
        assert table(ANNA).get(BERT) is None

    def test_a_record_of_a_stranger_is_not_taken(self) -> None:
        """Invariant: every record belongs to a member."""
        made = MemberTable()
        made.apply_conf_change(encode_context((member(BERT),)), ConfState(voters=(ANNA,)))
        assert made.members == ()

    def test_who_leaves_is_remembered_as_removed(self) -> None:
        """Removed incarnations are refused, and told so [R11]."""
        made = table(ANNA, BERT)
        made.apply_conf_change(b"", ConfState(voters=(ANNA,)))
        assert made.is_removed(BERT)
        assert made.get(BERT) is None
        assert not made.is_removed(NEW_BERT)

    def test_a_promotion_keeps_the_record(self) -> None:
        """A change without context leaves the records of who stays."""
        made = MemberTable()
        made.apply_conf_change(
            encode_context((member(ANNA), member(BERT))),
            ConfState(voters=(ANNA,), learners=(BERT,)),
        )
        made.apply_conf_change(b"", ConfState(voters=(ANNA, BERT)))
        assert made.get(BERT) == member(BERT)

    def test_one_incarnation_replaces_another(self) -> None:
        """In the joint configuration the newcomer is the present one; afterwards alone."""
        made = table(ANNA, BERT)
        joint = ConfState(
            voters=(ANNA,), voters_outgoing=(ANNA, BERT), learners=(NEW_BERT,), auto_leave=True
        )
        made.apply_conf_change(encode_context((member(NEW_BERT, port=9),)), joint)
        assert made.get(BERT) is not None
        assert made.by_id("bert") == member(NEW_BERT, port=9)
        made.apply_conf_change(b"", ConfState(voters=(ANNA,), learners=(NEW_BERT,)))
        assert made.removed == (BERT,)
        assert made.by_id("bert") == member(NEW_BERT, port=9)

    def test_who_comes_back_is_no_longer_removed(self) -> None:
        """Invariant: no member is among the removed."""
        made = table(ANNA, BERT)
        made.apply_conf_change(b"", ConfState(voters=(ANNA,)))
        made.apply_conf_change(b"", ConfState(voters=(ANNA,), learners=(BERT,)))
        assert not made.is_removed(BERT)

    def test_the_removed_are_bounded(self) -> None:
        """The oldest are forgotten first."""
        made = table(ANNA)
        for n in range(REMOVED_MAX + 5):
            made.apply_conf_change(b"", ConfState(voters=(ANNA,), learners=(MemberID("x", n),)))
        made.apply_conf_change(b"", ConfState(voters=(ANNA,)))
        assert len(made.removed) == REMOVED_MAX
        assert made.removed[0] == MemberID("x", 5)

    def test_a_context_that_is_none_is_refused(self) -> None:
        """Nothing unknown is guessed."""
        with pytest.raises(RemoteProtocolError):
            MemberTable().apply_conf_change(b"\x02\x90", ConfState())


class TestCommands:
    """What changes besides the configuration."""

    def test_the_cluster_gets_one_id(self) -> None:
        """The same again is harmless, another one is refused."""
        made = MemberTable()
        apply(made, InitCluster.of(5))
        apply(made, InitCluster.of(5))
        assert isinstance(made.apply(Context(1, 0), InitCluster.of(6))[0], InvalidRequest)
        assert made.cluster_id == 5

    def test_an_address_changes_for_the_same_incarnation_only(self) -> None:
        """Another data directory must not take over a member's address (DESIGN section 8)."""
        made = table(ANNA, BERT)
        apply(made, UpdateMember.of(member(BERT, port=2)))
        refused = made.apply(Context(1, 0), UpdateMember.of(member(NEW_BERT, port=3)))[0]
        assert isinstance(refused, ConfChangeError)
        assert made.get(BERT) == member(BERT, port=2)

    def test_an_invitation_waits_until_the_member_comes(self) -> None:
        """The seed's /join does not know the incarnation."""
        made = table(ANNA)
        apply(made, Invite("bert", "b:1", "b:2"))
        assert made.invitation("bert") == Invitation("bert", "b:1", "b:2", 7)
        state = ConfState(voters=(ANNA,), learners=(BERT,))
        made.apply_conf_change(encode_context((member(BERT),)), state)
        assert made.invitations == ()

    def test_an_invitation_can_be_taken_back(self) -> None:
        """Also where there is none."""
        made = table(ANNA)
        apply(made, Invite("bert", "b:1", "b:2"))
        apply(made, Uninvite("bert"))
        apply(made, Uninvite("bert"))
        assert made.invitations == ()

    def test_invitations_are_bounded(self) -> None:
        """A loop of /join must not grow the state; renewing one is always possible."""
        made = table(ANNA)
        for n in range(INVITATIONS_MAX):
            apply(made, Invite(f"n{n}", "x:1", "x:2"))
        assert isinstance(made.apply(Context(1, 0), Invite("more", "x:1", "x:2"))[0], Overloaded)
        apply(made, Invite("n0", "y:1", "y:2"))

    def test_the_feature_level_needs_everybody(self) -> None:
        """One member that does not support it holds it down [R25]."""
        made = table(ANNA, BERT, feature_max=3)
        apply(made, UpdateMember.of(member(BERT, feature_max=2)))
        assert isinstance(made.apply(Context(1, 0), SetFeatureLevel(3))[0], ConfChangeError)
        apply(made, SetFeatureLevel(2))
        assert made.feature_level == 2

    def test_a_member_without_a_record_supports_nothing(self) -> None:
        """What is unknown is not assumed."""
        made = MemberTable()
        made.apply_conf_change(b"", ConfState(voters=(ANNA,)))
        assert isinstance(made.apply(Context(1, 0), SetFeatureLevel(2))[0], ConfChangeError)

    def test_the_feature_level_never_falls(self) -> None:
        """What was allowed once is in the log."""
        made = table(ANNA, feature_max=5)
        apply(made, SetFeatureLevel(4))
        assert isinstance(made.apply(Context(1, 0), SetFeatureLevel(3))[0], InvalidRequest)


class TestTheBytesKept:
    """The table's bytes are made anew after each change, and only then."""

    def test_no_change_is_missed(self) -> None:
        """A table that is asked for its bytes all the time says what one asked once says."""
        often, once = table(ANNA, BERT, feature_max=3), table(ANNA, BERT, feature_max=3)
        commands: list[MembersCommand] = [
            InitCluster.of(5),
            Invite("n1", "x:1", "x:2"),
            Invite("n2", "x:1", "x:2"),
            Uninvite("n1"),
            UpdateMember.of(member(BERT, port=2, feature_max=3)),
            SetFeatureLevel(2),
        ]
        for command in commands:
            before = often.encode()
            apply(often, command)
            apply(once, command)
            assert often.encode() != before
        for voters in ((BERT,), (ANNA, BERT)):
            before = often.encode()
            for made in (often, once):
                made.apply_conf_change(b"", ConfState(voters=voters))
            assert often.encode() != before
        assert often.encode() == once.encode()
        assert often.encode() is often.encode()
