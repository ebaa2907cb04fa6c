"""What clients did and saw, in the order in which they did and saw it.

A history is recorded by one observer (the simulator, or one test process), so the order of its
events is total. Who records says of each operation exactly one of three things afterwards: it
answered, it was surely refused, or its outcome is unknown. :mod:`raftdb.simulation.checks.linearizability`
judges the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = bytes | None
"""What a key holds; None where it does not exist."""


@dataclass(frozen=True, slots=True)
class Write:
    """Set or delete several keys in one atomic step; None deletes."""

    pairs: tuple[tuple[bytes, Value], ...]

    @staticmethod
    def of(pairs: Mapping[bytes, Value]) -> Write:
        """Make a write of a mapping."""
        return Write(tuple(sorted(pairs.items())))

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What it touches."""
        return tuple(key for key, _ in self.pairs)


@dataclass(frozen=True, slots=True)
class Swap:
    """Set ``key`` to ``value`` if it holds ``expected``; the result says whether it did."""

    key: bytes
    expected: Value
    value: Value

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What it touches."""
        return (self.key,)


@dataclass(frozen=True, slots=True)
class Read:
    """Read one key; the result is its value."""

    key: bytes

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What it touches."""
        return (self.key,)


Action: TypeAlias = Write | Swap | Read
Result: TypeAlias = bool | bytes | None


@dataclass(slots=True)
class Operation:
    """One operation of one client.

    Invariant: ``invoked < returned`` where ``returned`` is set.

    :param client: who
    :param action: what was asked
    :param invoked: its place among all events
    :param returned: the place of its answer; None while there is none, and for ever if unknown
    :param result: what a Read or a Swap answered; meaningless for a Write
    """

    client: int
    action: Action
    invoked: int
    returned: int | None = None
    result: Result = None


@dataclass(slots=True)
class History:
    """Records operations; the order of the calls is the order of the events."""

    operations: list[Operation] = field(default_factory=list)
    _clock: int = 0

    def invoke(self, client: int, action: Action) -> Operation:
        """Note that ``client`` begins ``action``."""
        operation = Operation(client, action, self._tick())
        self.operations.append(operation)
        return operation

    def answer(self, operation: Operation, result: Result = None) -> None:
        """Note that it happened, and what it said."""
        assert operation.returned is None
        operation.result = result
        operation.returned = self._tick()

    def refuse(self, operation: Operation) -> None:
        """Note that it surely did not happen: it leaves the history."""
        assert operation.returned is None
        for place in reversed(range(len(self.operations))):  # it is among the latest
            if self.operations[place] is operation:
                del self.operations[place]
                return
        raise AssertionError("it is not in this history")

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock
