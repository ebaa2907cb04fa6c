"""The error tree: every error says whether the operation may have happened."""

from __future__ import annotations

import inspect

from raftdb import errors


def _classes() -> list[type[errors.RaftDBError]]:
    return [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.RaftDBError)
    ]


class TestTheTree:
    """One root, and no error that leaves its reader in doubt."""

    def test_every_error_is_exported(self) -> None:
        """A caller can name each error it has to catch."""
        assert sorted(errors.__all__) == sorted(error.__name__ for error in _classes())

    def test_refused_and_unknown_exclude_each_other(self) -> None:
        """No error claims both that nothing happened and that it may have."""
        both = [
            error
            for error in _classes()
            if issubclass(error, errors.Refused) and issubclass(error, errors.OutcomeUnknown)
        ]
        assert both == []

    def test_a_deadline_and_a_lost_leader_leave_the_outcome_open(self) -> None:
        """These two must never be retried blindly."""
        assert issubclass(errors.Timeout, errors.OutcomeUnknown)
        assert issubclass(errors.LeadershipLost, errors.OutcomeUnknown)

    def test_corrupt_names_file_offset_and_what_to_do(self) -> None:
        """Who reads it at night needs no second look-up."""
        error = errors.Corrupt("log-1", 512, "bad checksum; restore this node")
        assert str(error) == "log-1 at byte 512: bad checksum; restore this node"

    def test_not_leader_says_who_leads(self) -> None:
        """A refusal that knows better says so."""
        assert "node02 at host2:8091" in str(errors.NotLeader("node02", "host2:8091"))
