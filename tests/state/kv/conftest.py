"""A slow, obvious twin of the key-value store: it keeps every state there ever was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from xxhash import xxh3_128_intdigest

from raftdb.state.kv.commands import (
    Absent,
    Command,
    CompareAndSwap,
    Delete,
    DeleteRange,
    Expectation,
    ModRevisionIs,
    Put,
    SetRetention,
)
from raftdb.state.kv.superseded import VERSION_OVERHEAD_BYTES
from raftdb.state.kv.values import KeyValue, Retention

State = dict[bytes, KeyValue]


class ObviousStore:
    """Every state in full, by revision; compaction and hash recomputed from nothing each time."""

    def __init__(self) -> None:
        self.states: list[State] = [{}, {}]  # 0 is no revision; an empty store is at 1
        self.retention = Retention()
        self.compact_revision = 1

    @property
    def revision(self) -> int:
        """The number of the newest state."""
        return len(self.states) - 1

    def apply(self, command: Command) -> None:
        """Apply ``command`` by writing down the whole next state."""
        if isinstance(command, SetRetention):
            self.retention = command.retention
        state = self._next(command)
        if state != self.states[-1]:
            self.states.append(state)
        self._compact()

    def _next(self, command: Command) -> State:
        state = dict(self.states[-1])
        match command:
            case Put(pairs=pairs):
                for key, value in dict(pairs).items():
                    self._put(state, key, value)
            case Delete(keys=keys):
                state = {key: kv for key, kv in state.items() if key not in keys}
            case DeleteRange(start=start, end=end):
                state = {k: v for k, v in state.items() if k < start or (end and k >= end)}
            case CompareAndSwap(key=key, expected=expected, value=new):
                as_expected = _as_expected(expected, state.get(key))
                if as_expected and new is None:
                    state.pop(key, None)
                elif as_expected and new is not None:
                    self._put(state, key, new)
            case _:
                pass
        return state

    def _put(self, state: State, key: bytes, value: bytes) -> None:
        old = state.get(key)
        new = self.revision + 1
        state[key] = (
            KeyValue(key, value, old.create_revision, new, old.version + 1)
            if old
            else KeyValue(key, value, new, new, 1)
        )

    def _superseded(self, revision: int) -> list[KeyValue]:
        """Return what the step to ``revision`` made history, tombstones included."""
        before, after = self.states[revision - 1], self.states[revision]
        gone = [kv for key, kv in before.items() if after.get(key) != kv]
        dead = [KeyValue(key, b"", 0, revision, 0) for key in before if key not in after]
        return gone + dead

    def _compact(self) -> None:
        def cost(revision: int) -> int:
            return sum(
                len(kv.key) + len(kv.value) + VERSION_OVERHEAD_BYTES
                for kv in self._superseded(revision)
            )

        self.compact_revision = max(self.compact_revision, self.revision - self.retention.revisions)
        costs = {r: cost(r) for r in range(self.compact_revision + 1, self.revision + 1)}
        while sum(costs.values()) > self.retention.bytes:
            oldest = min(r for r, bytes_ in costs.items() if bytes_)
            self.compact_revision = oldest
            costs = {r: bytes_ for r, bytes_ in costs.items() if r > oldest}

    @property
    def state_hash(self) -> int:
        """The sum of the hashes of all retained versions."""
        versions = list(self.states[-1].values())
        for revision in range(self.compact_revision + 1, self.revision + 1):
            versions += self._superseded(revision)
        return sum(map(_digest, versions)) % 2**128


def _as_expected(expected: Expectation, found: KeyValue | None) -> bool:
    if isinstance(expected, Absent) or found is None:
        return isinstance(expected, Absent) and found is None
    if isinstance(expected, ModRevisionIs):
        return found.mod_revision == expected.revision
    return found.value == expected.value


def _digest(kv: KeyValue) -> int:
    fields = (kv.create_revision, kv.mod_revision, kv.version, kv.lease)
    header = len(kv.key).to_bytes(2, "big") + b"".join(n.to_bytes(8, "big") for n in fields)
    return xxh3_128_intdigest(header + kv.key + kv.value)


@pytest.fixture
def obvious() -> Callable[[], ObviousStore]:
    """Return the twin's constructor."""
    return ObviousStore
