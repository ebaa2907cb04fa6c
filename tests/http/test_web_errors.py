"""The table of errors: complete, honest, and the same for those who read it."""

from __future__ import annotations

import inspect

import pytest

from raftdb import errors
from raftdb.client.exchange import Reply
from raftdb.client.outcomes import error_of
from raftdb.http.errors import TABLE, row_of


def _made(kind: type[errors.RaftDBError]) -> errors.RaftDBError:
    match kind:
        case errors.KeyNotFound:
            return errors.KeyNotFound(b"k")
        case errors.Corrupt:
            return errors.Corrupt("file", 0, "what")
        case _:
            return kind("why")


ERRORS = [
    _made(kind)
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RaftDBError)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
class TestEveryError:
    """What the status says about the outcome is what the error says."""

    def test_what_is_refused_looks_refused(self, error: errors.RaftDBError) -> None:
        """4xx or 503: surely not applied; and only then."""
        status = row_of(error).status
        assert status != 500
        if isinstance(error, errors.Refused):
            assert 400 <= status < 500 or status == 503
        elif not isinstance(error, errors.Compacted):
            assert status == 504

    def test_the_client_reads_it_as_it_was_meant(self, error: errors.RaftDBError) -> None:
        """Refused stays refused and unknown stays unknown, over the wire."""
        row = row_of(error)
        read = error_of(Reply("http://a:1", row.status, row.code, "", b"", is_raftdb=True))
        assert isinstance(read, errors.Refused) is isinstance(error, errors.Refused)
        if isinstance(error, errors.OutcomeUnknown):
            assert isinstance(read, errors.OutcomeUnknown)


class TestTheTable:
    """Its order matters."""

    def test_no_row_is_hidden_by_a_more_general_one(self) -> None:
        """The first fitting row counts."""
        for place, (kind, _) in enumerate(TABLE):
            assert not any(issubclass(kind, earlier) for earlier, _ in TABLE[:place])

    def test_a_bug_has_an_unknown_outcome(self) -> None:
        """Never a 500."""
        assert row_of(ZeroDivisionError()).status == 504
