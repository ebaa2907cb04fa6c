"""The key-value store: applies commands, reads the present and the retained past.

Deterministic: no clock, no randomness, no setting that is not replicated. One store revision, one
more with each command that changed something. Who wants consistency reads through
:class:`raftdb.database.Database`; this module answers from what is applied here.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from struct import Struct
from typing import assert_never

from raftdb.errors import Compacted, InvalidRequest, TooLarge
from raftdb.state.frames import SLICE_BYTES_MAX
from raftdb.state.kv.commands import (
    COMMAND_KEYS_MAX,
    Absent,
    Command,
    CompareAndSwap,
    Delete,
    DeleteRange,
    Expectation,
    ModRevisionIs,
    Put,
    SetRetention,
    ValueIs,
)
from raftdb.state.kv.history import History
from raftdb.state.kv.snapshot import SLICE_KEYS_MAX, HistoryRestorer, slices
from raftdb.state.kv.values import (
    CompareAndSwapResult,
    DeleteResult,
    KeyValue,
    PutResult,
    RangePage,
    Result,
    Retention,
    RetentionResult,
)
from raftdb.state.part import Context

_DIGESTED = Struct(">QQQQ16s")

RANGE_KEYS_MAX = 10_000
RANGE_BYTES_MAX = 1024 * 1024
RANGE_VERSIONS_MAX = 10_000


class KeyValueStore:
    """All keys, at every revision since ``compact_revision``.

    :param history: what to begin with; only a restore passes one
    """

    def __init__(self, history: History | None = None) -> None:
        self._history = history or History()

    @property
    def revision(self) -> int:
        """The revision of the newest change, 1 for none yet."""
        return self._history.revision

    @property
    def compact_revision(self) -> int:
        """The oldest revision that can be read."""
        return self._history.compact_revision

    @property
    def retention(self) -> Retention:
        """How much history is kept."""
        return self._history.retention

    @property
    def digest(self) -> bytes:
        """Revision, compact revision, retention, and the hash of all versions."""
        history = self._history
        return _DIGESTED.pack(
            history.revision,
            history.compact_revision,
            *history.retention,
            history.digest.to_bytes(16, "big"),
        )

    @property
    def state_hash(self) -> int:
        """The sum modulo 2**128 of the hashes of all retained versions, the present included."""
        return self._history.digest

    @property
    def pinned_bytes(self) -> int:
        """Of present versions that were written over and are kept for snapshots under way alone."""
        return self._history.pinned_bytes

    def __len__(self) -> int:
        """How many keys exist now."""
        return self._history.live_count

    def apply(
        self, context: Context, command: Command
    ) -> tuple[Result | InvalidRequest, tuple[bytes, ...]]:
        """Apply one command.

        :returns: the result, and the new versions (tombstones among them) in the order they came
            about, as :func:`~raftdb.state.kv.values.decode_version` takes them. A command that is refused when applied gives the error as its result, to be
            raised by whoever waits, and changes nothing.
        """
        del context
        history = self._history
        match command:
            case Put(pairs=pairs):
                history.put(pairs if len(pairs) == 1 else dict(pairs).items())
                changes = history.commit()
                return PutResult(history.revision), changes
            case Delete(keys=keys):
                deleted = sum(history.delete(key) for key in dict.fromkeys(keys))
                changes = history.commit()
                return DeleteResult(history.revision, deleted), changes
            case DeleteRange():
                return self._delete_range(command)
            case CompareAndSwap():
                return self._compare_and_swap(command)
            case SetRetention(retention=retention):
                history.retention = retention
                history.compact()
                return RetentionResult(history.compact_revision), ()
            case _:
                assert_never(command)

    def _delete_range(
        self, command: DeleteRange
    ) -> tuple[DeleteResult | InvalidRequest, tuple[bytes, ...]]:
        history = self._history
        keys = list(islice(history.living(command.start, command.end), COMMAND_KEYS_MAX + 1))
        if len(keys) > COMMAND_KEYS_MAX:
            refusal = TooLarge(
                f"the range holds more than {COMMAND_KEYS_MAX} keys, the most that one command"
                " deletes; delete it in parts"
            )
            return refusal, ()
        for key in keys:
            history.delete(key)
        changes = history.commit()
        return DeleteResult(history.revision, len(keys)), changes

    def _compare_and_swap(
        self, command: CompareAndSwap
    ) -> tuple[CompareAndSwapResult, tuple[bytes, ...]]:
        history = self._history
        current = history.current(command.key)
        swapped = _holds(command.expected, current)
        if swapped:
            if command.value is not None:
                history.put(((command.key, command.value),))
            else:
                history.delete(command.key)
            current = history.current(command.key)
        changes = history.commit()
        return CompareAndSwapResult(history.revision, swapped, current), changes

    def get(self, key: bytes, revision: int | None = None) -> KeyValue | None:
        """Return ``key`` as it was at ``revision``, now if None; None where it did not exist.

        :raises Compacted: where ``revision`` is no longer kept
        :raises InvalidRequest: where ``revision`` is still to come
        """
        if revision is None:
            return self._history.current(key)
        kv, _ = self._history.at(key, self._readable(revision))
        return kv

    def range(
        self,
        start: bytes,
        end: bytes = b"",
        *,
        revision: int | None = None,
        limit: int = 1000,
    ) -> RangePage:
        """Return a page of at most ``limit`` keys in ``[start, end)``; empty ``end``: to the end.

        A page is bounded work: it ends early at 1 MiB of keys and values (one always fits), and
        after looking at 10,000 versions: of each key those that were written since are looked at,
        and many a key may not exist at that revision.

        :param limit: ``1 <= limit <= 10_000``
        :raises Compacted: where ``revision`` is no longer kept
        :raises InvalidRequest: where ``revision`` is still to come, or the limit is out of range
        """
        if not 1 <= limit <= RANGE_KEYS_MAX:
            raise InvalidRequest(f"a limit is from 1 to {RANGE_KEYS_MAX}, not {limit}")
        history = self._history
        at = self._readable(history.revision if revision is None else revision)
        pairs: list[KeyValue] = []
        room = RANGE_BYTES_MAX
        walked = 0
        for key in history.visit(start, end):
            if len(pairs) == limit or walked >= RANGE_VERSIONS_MAX:
                return RangePage(tuple(pairs), at, key)
            kv, looked_at = history.at(key, at)
            walked += looked_at
            if kv is not None:
                room -= len(kv.key) + len(kv.value)
                if room < 0 and pairs:
                    return RangePage(tuple(pairs), at, key)
                pairs.append(kv)
        return RangePage(tuple(pairs), at, None)

    def _readable(self, revision: int) -> int:
        if revision < self._history.compact_revision:
            raise Compacted(
                f"revision {revision} is no longer kept; the oldest is"
                f" {self._history.compact_revision}"
            )
        if revision > self._history.revision:
            raise InvalidRequest(
                f"revision {revision} is still to come; the newest is {self._history.revision}"
            )
        return revision

    def pieces(
        self, *, bytes_max: int = SLICE_BYTES_MAX, keys_max: int = SLICE_KEYS_MAX
    ) -> Generator[bytes, None, None]:
        """Pin the state as it is now and return its bytes in slices of bounded work.

        Applying may go on between slices; closing the generator lets go of the pin.

        :param bytes_max: of one slice
        :param keys_max: how many keys one slice walks over, dead ones included
        """
        generator = slices(self._history, bytes_max=bytes_max, keys_max=keys_max)
        next(generator)  # up to the pin
        return generator


class StoreRestorer(HistoryRestorer):
    """A store being read back."""

    def finish(self) -> KeyValueStore:
        """Return the store.

        :raises Corrupt: where the section is cut off or does not hash to what it was
        """
        return KeyValueStore(self.history())


def _holds(expected: Expectation, current: KeyValue | None) -> bool:
    match expected:
        case Absent():
            return current is None
        case ModRevisionIs(revision=revision):
            return current is not None and current.mod_revision == revision
        case ValueIs(value=value):
            return current is not None and current.value == value
        case _:
            assert_never(expected)
