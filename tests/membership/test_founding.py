"""A cluster of one: what it begins with."""

from __future__ import annotations

from raftdb.membership import claimed, founding_batch
from raftdb.raft import confchange
from raftdb.raft.types import ConfState, MemberID
from raftdb.state import ReplicatedState, encode_entry
from raftdb.state.members import Member, MembersCommand

FOUNDER = Member(MemberID("node01", 1), "a:8089", "a:8091")


def envelope(command: MembersCommand) -> bytes:
    return encode_entry(command, wall_ms=5)


class TestFounding:
    """The first entries of a cluster's log."""

    def test_they_make_the_founder_the_only_voter(self) -> None:
        """Applied to an empty state, by the state machine of production."""
        batch = founding_batch(FOUNDER, 77, envelope)
        state = ReplicatedState()
        conf_state = ConfState()
        for entry in batch.entries:
            if entry.change is None:
                state.apply(entry.index, entry.data)
            else:
                conf_state = confchange.apply(conf_state, entry.change)
                state.apply_conf_change(entry.index, entry.change.context, conf_state)
        assert state.members.conf_state == ConfState(voters=(FOUNDER.id,))
        assert state.members.members == (FOUNDER,)
        assert state.members.cluster_id == 77

    def test_they_are_one_batch_and_committed(self) -> None:
        """A crash in between leaves an empty directory or a cluster, never half of one."""
        batch = founding_batch(FOUNDER, 77, envelope)
        assert [entry.index for entry in batch.entries] == [1, 2]
        assert batch.hard_state is not None
        assert batch.hard_state.commit == 2

    def test_a_claim_says_what_to_do(self) -> None:
        """The operator of a wiped first node reads the way back."""
        text = str(claimed(name="node01", peer=MemberID("node02", 2), cluster_id=77))
        assert "--join" in text
        assert "node02" in text
        assert f"{77:032x}" in text
