"""What is kept of one key that has a past, against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftdb.kv.past import SHORT_MAX, Versions, superseded_at
from raftdb.kv.values import mod_revision, version_bytes

NEWEST = 1_000


def version(revision: int, *, live: bool) -> bytes:
    """Return a version or a tombstone."""
    return version_bytes(b"key", b"value" if live else b"", 1, revision, int(live))


versions = st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=40).map(
    lambda steps: [
        version(sum(step for step, _ in steps[: place + 1]), live=live)
        for place, (_, live) in enumerate(steps)
    ]
)
revisions = st.integers(0, 130)
newest = version(NEWEST, live=True)


class TestVersions:
    """The same as a list of versions, whether they are few or many."""

    @given(versions, revisions)
    def test_finds_what_was_written_last(self, records: list[bytes], revision: int) -> None:
        """By a revision."""
        written = [record for record in records if mod_revision(record) <= revision]
        kept = Versions.of([*records, newest], 0)
        assert kept.at(revision) == (written[-1] if written else None)
        assert kept.at(NEWEST) == newest

    @given(versions, st.lists(revisions, min_size=1, max_size=3).map(sorted))
    def test_forgets_what_was_history(self, records: list[bytes], safes: list[int]) -> None:
        """And nothing else: what a reader after the revision can find is kept."""
        past = Versions.of([*records, newest], 0)
        for safe in safes:
            kept = [
                record
                for record, following in zip(records, [*records[1:], newest], strict=True)
                if superseded_at(record, following) > safe
            ]
            assert past.forget(safe) is (not kept)
            assert list(past) == [*kept, newest]

    def test_many_are_not_copied_when_one_is_added(self) -> None:
        """A key that is written ten thousand times costs as much each time."""
        past = Versions.of([version(n, live=True) for n in range(1, SHORT_MAX + 3)], 0)
        older = past.older
        past.add(version(500, live=True), 0)
        assert past.older is older
