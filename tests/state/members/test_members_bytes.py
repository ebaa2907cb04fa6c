"""The bytes of member records, commands and the table: fixed for ever, and strict."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.raft.types import ConfState, MemberID
from raftdb.state.members import (
    InitCluster,
    Invite,
    Member,
    MembersCommand,
    MemberTable,
    SetFeatureLevel,
    Uninvite,
    UpdateMember,
    decode_context,
    encode_context,
)
from raftdb.state.members.commands import COMMANDS as MEMBERS_COMMANDS
from raftdb.state.part import Context

MEMBER = Member(MemberID("n1", 2**128 - 1), "h:1", "h:2", 1, 2, 3)
WIRE = "97a26e31c410" + "ff" * 16 + "a3683a31a3683a32010203"

GOLDEN: list[tuple[MembersCommand, str]] = [
    (InitCluster.of(1), "9201c41000000000000000000000000000000001"),
    (Invite("n1", "h:1", "h:2"), "9402a26e31a3683a31a3683a32"),
    (Uninvite("n1"), "9203a26e31"),
    (
        UpdateMember.of(MEMBER),
        "920497a26e31c410ffffffffffffffffffffffffffffffffa3683a31a3683a32010203",
    ),
    (SetFeatureLevel(2), "920502"),
]


class TestBytes:
    """What is in a log today must be readable for ever."""

    @pytest.mark.parametrize(("command", "data"), GOLDEN)
    def test_commands_golden(self, command: MembersCommand, data: str) -> None:
        """The layout does not drift."""
        assert MEMBERS_COMMANDS.encode(command).hex() == data
        assert MEMBERS_COMMANDS.decode(bytes.fromhex(data)) == command

    def test_context_golden(self) -> None:
        """An incarnation of 128 bits fits."""
        assert encode_context((MEMBER,)).hex() == "0191" + WIRE
        assert decode_context(bytes.fromhex("0191" + WIRE)) == (MEMBER,)
        assert decode_context(b"") == ()

    def test_the_table_comes_back(self) -> None:
        """Everything in it, in the same order, with the same bytes."""
        table = MemberTable()
        other = MemberID("n2", 5)
        context = encode_context((MEMBER,))
        table.apply_conf_change(context, ConfState(voters=(MEMBER.id, other)))
        joint = ConfState(
            voters=(MEMBER.id,),
            voters_outgoing=(MEMBER.id,),
            learners=(MemberID("n3", 1),),
            learners_next=(MEMBER.id,),
            auto_leave=True,
        )
        learner = Member(MemberID("n3", 1), "h:3", "h:4", feature_max=2)
        table.apply_conf_change(encode_context((learner,)), joint)
        for command, _ in GOLDEN:
            table.apply(Context(1, 9), command)
        table.apply(Context(2, 10), Invite("n4", "x:1", "x:2"))
        copy = MemberTable.decode(table.encode())
        assert copy.encode() == table.encode()
        assert copy.conf_state == joint
        assert copy.removed == (other,)
        assert copy.invitations == table.invitations
        assert (copy.cluster_id, copy.feature_level) == (1, 2)
        assert copy.members == (MEMBER, learner)

    @given(st.binary(max_size=40))
    def test_garbage_is_refused_and_nothing_else(self, data: bytes) -> None:
        """No input raises anything but the one error."""
        for decode in (MEMBERS_COMMANDS.decode, decode_context, MemberTable.decode):
            with suppress(RemoteProtocolError):
                decode(data)

    @pytest.mark.parametrize(
        "data", ["", "9200c0", "9206c0", "9303a26e3101", "9203c0", "9203a26e3100"]
    )
    def test_unknown_versions_and_kinds_are_refused(self, data: str) -> None:
        """Nothing unknown is guessed."""
        with pytest.raises(RemoteProtocolError):
            MEMBERS_COMMANDS.decode(bytes.fromhex(data))

    def test_an_incarnation_has_sixteen_bytes(self) -> None:
        """A shorter one is another version's, or garbage."""
        with pytest.raises(RemoteProtocolError, match="16 bytes"):
            decode_context(bytes.fromhex("019197a26e31c401ffa3683a31a3683a32010203"))


class TestLimits:
    """Names and addresses are bounded where they are made."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Invite("", "h:1", "h:2"),
            lambda: Invite("n", "", "h:2"),
            lambda: Invite("n", "h:1", "x" * 513),
            lambda: Invite("\ud800", "h:1", "h:2"),
            lambda: UpdateMember.of(Member(MemberID("n" * 256, 1), "h:1", "h:2")),
            lambda: InitCluster.of(0),
            lambda: InitCluster.of(2**128),
        ],
    )
    def test_invalid_values_are_refused(self, make: Callable[[], MembersCommand]) -> None:
        """They would be in every replica for ever."""
        with pytest.raises(InvalidRequest):
            make()
