"""Is there one order of all operations that explains every answer? (Herlihy and Wing, 1990)

The search is Lowe's just-in-time form of Wing and Gong's algorithm. Events are walked in the order
in which they were recorded. A *configuration* is a state of the keys together with the operations
that have been invoked and have not yet taken effect. When an operation returns, every configuration
in which it has not taken effect must let it take effect now, after any of the others it likes;
a history is linearizable if at least one configuration survives the last return.

Three observations keep it small. Histories of unconnected keys are independent, so each group of
keys that some write touched together is judged alone. An observation (a read, a swap that said no)
changes nothing, so it takes effect in the first state that explains it. And of two configurations
alike but for operations that never returned, the one with more of these still to spend can do all
that the other can, so the other goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from raftdb.simulation.checks.history import Operation, Read, Swap, Value, Write

_State: TypeAlias = tuple[Value, ...]
_Configurations: TypeAlias = dict[_State, list[int]]
"""Per state, the sets of operations still to take effect, as bit masks; none outdoes another."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An answer that no order explains.

    :param keys: the group of keys in which it was found
    :param operation: the operation whose answer cannot be explained
    :param states: what the keys may have held when it returned
    :param concurrent: the operations that could have come before it
    """

    keys: tuple[bytes, ...]
    operation: Operation
    states: tuple[dict[bytes, Value], ...]
    concurrent: tuple[Operation, ...]

    def __str__(self) -> str:
        lines = [f"no order of the operations explains {self.operation}", "the keys may have held:"]
        lines += [f"  {state}" for state in self.states[:10]]
        lines += ["and these were under way:"]
        lines += [f"  {operation}" for operation in self.concurrent[:20]]
        return "\n".join(lines)


def check(operations: Iterable[Operation]) -> Violation | None:
    """Judge a history; all keys are absent at its beginning.

    :param operations: what was recorded; those without an answer may or may not have happened
    :returns: None where it is linearizable, else the first violation
    """
    for keys, group in _groups(operations):
        violation = _Search(keys).run(group)
        if violation is not None:
            return violation
    return None


def _groups(operations: Iterable[Operation]) -> list[tuple[tuple[bytes, ...], list[Operation]]]:
    """Split by sets of keys that no write ties together; union-find over the keys."""
    parent: dict[bytes, bytes] = {}

    def root(key: bytes) -> bytes:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    relevant = [operation for operation in operations if _matters(operation)]
    for operation in relevant:
        first, *others = operation.action.keys
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[bytes, tuple[list[bytes], list[Operation]]] = {}
    for key in parent | {o.action.keys[0]: b"" for o in relevant}:
        groups.setdefault(root(key), ([], []))[0].append(key)
    for operation in relevant:
        groups[root(operation.action.keys[0])][1].append(operation)
    return [(tuple(sorted(keys)), group) for keys, group in groups.values()]


def _matters(operation: Operation) -> bool:
    """A read without an answer and a write of nothing explain nothing and need no explanation."""
    if not operation.action.keys:
        return False
    return operation.returned is not None or not isinstance(operation.action, Read)


class _Search:
    """The walk over one group of keys."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._keys = keys
        self._position = {key: position for position, key in enumerate(keys)}
        self._configurations: _Configurations = {tuple(None for _ in keys): [0]}
        self._pending: dict[int, Operation] = {}
        self._observations = 0
        self._unknown = 0
        self._free: list[int] = []
        self._slots = 0

    def run(self, operations: list[Operation]) -> Violation | None:
        """Walk all events of the group in their order."""
        events: list[tuple[int, Operation]] = [(o.invoked, o) for o in operations]
        events += [(o.returned, o) for o in operations if o.returned is not None]
        slot_of: dict[int, int] = {}
        for place, operation in sorted(events, key=lambda event: event[0]):
            if place == operation.invoked:
                slot_of[id(operation)] = self._invoke(operation)
            elif not self._return(slot_of[id(operation)]):
                return self._violation(operation)
        return None

    def _invoke(self, operation: Operation) -> int:
        """Give the operation a bit and let every configuration spend it from now on."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._slots
            self._slots += 1
        bit = 1 << slot
        self._pending[slot] = operation
        if _observes(operation):
            self._observations |= bit
        elif operation.returned is None:
            self._unknown |= bit
        for state, masks in self._configurations.items():
            masks[:] = [self._settle(state, mask | bit) for mask in masks]
        return slot

    def _return(self, slot: int) -> bool:
        """Keep what can explain that the operation in ``slot`` has taken effect by now."""
        survivors: _Configurations = {}
        seen: _Configurations = {}
        frontier: list[tuple[_State, int]] = []
        for state, masks in self._configurations.items():
            for mask in masks:
                if not mask >> slot & 1:
                    self._admit(survivors, state, mask)
                elif self._admit(seen, state, mask):
                    frontier.append((state, mask))
        while frontier:
            frontier = self._advance(frontier, slot, seen, survivors)
        if survivors:
            self._configurations = survivors
            del self._pending[slot]
            self._observations &= ~(1 << slot)
            self._free.append(slot)
        return bool(survivors)

    def _advance(
        self,
        frontier: list[tuple[_State, int]],
        slot: int,
        seen: _Configurations,
        survivors: _Configurations,
    ) -> list[tuple[_State, int]]:
        """Let one more operation take effect; return where that did not yet spend ``slot``."""
        following: list[tuple[_State, int]] = []
        for state, mask in frontier:
            for other in self._candidates(mask, slot):
                after = self._effect(state, other)
                if after is None or (after == state and self._unknown >> other & 1):
                    continue
                rest = self._settle(after, mask & ~(1 << other))
                if not rest >> slot & 1:
                    self._admit(survivors, after, rest)
                elif self._admit(seen, after, rest):
                    following.append((after, rest))
        return following

    def _candidates(self, mask: int, slot: int) -> Iterable[int]:
        """Yield what may have to come before ``slot`` or is ``slot``; the rest can as well wait.

        Operations on other keys commute with it. An unknown write of one key is worth spending only
        where somebody under way would see its value; whoever comes later can spend it then.
        """
        pending = self._pending
        effects = list(_bits(mask & ~self._observations))
        keys = set(pending[slot].action.keys)
        known = 0
        while len(keys) != known:  # what shares a key with what comes before may come before, too
            known = len(keys)
            for other in effects:
                if not keys.isdisjoint(pending[other].action.keys):
                    keys.update(pending[other].action.keys)
        for other in effects:
            if keys.isdisjoint(pending[other].action.keys):
                continue
            if other == slot or not self._unknown >> other & 1 or self._watched(other, mask):
                yield other

    def _watched(self, slot: int, mask: int) -> bool:
        """Whether anything under way could tell that the unknown ``slot`` took effect."""
        action = self._pending[slot].action
        if not isinstance(action, Write) or len(action.pairs) > 1:
            return True
        ((key, value),) = action.pairs
        for other in _bits(mask & ~(1 << slot)):
            operation = self._pending[other]
            match operation.action:
                case Read(seen):
                    if seen == key and operation.result == value:
                        return True
                case Swap(seen):
                    if seen == key:
                        return True
                case Write():
                    pass
        return False

    def _settle(self, state: _State, mask: int) -> int:
        """Spend all observations that ``state`` explains."""
        for slot in _bits(mask & self._observations):
            if self._effect(state, slot) is not None:
                mask &= ~(1 << slot)
        return mask

    def _admit(self, configurations: _Configurations, state: _State, mask: int) -> bool:
        """Add a configuration unless one that can do all it can is there; drop those it outdoes."""
        masks = configurations.setdefault(state, [])
        if any(self._outdoes(known, mask) for known in masks):
            return False
        masks[:] = [known for known in masks if not self._outdoes(mask, known)]
        masks.append(mask)
        return True

    def _outdoes(self, one: int, other: int) -> bool:
        """Whether ``one`` owes nothing that ``other`` does not, and may spend all that it may."""
        different = one ^ other
        if different & ~self._unknown & ~self._observations:
            return False
        return not different & other & self._unknown and not different & one & self._observations

    def _effect(self, state: _State, slot: int) -> _State | None:
        """Return the state after the operation, or None where its answer contradicts ``state``."""
        operation = self._pending[slot]
        match operation.action:
            case Read(key):
                return state if state[self._position[key]] == operation.result else None
            case Write(pairs):
                return self._changed(state, pairs)
            case Swap(key, expected, value):
                swaps = state[self._position[key]] == expected
                if operation.returned is not None and swaps is not operation.result:
                    return None
                return self._changed(state, ((key, value),)) if swaps else state

    def _changed(self, state: _State, pairs: tuple[tuple[bytes, Value], ...]) -> _State:
        values = list(state)
        for key, value in pairs:
            values[self._position[key]] = value
        return tuple(values)

    def _violation(self, operation: Operation) -> Violation:
        states = tuple(dict(zip(self._keys, s, strict=True)) for s in self._configurations)
        others = tuple(other for other in self._pending.values() if other is not operation)
        return Violation(self._keys, operation, states, others)


def _observes(operation: Operation) -> bool:
    """Whether its answer tells of the state and it changed nothing."""
    if isinstance(operation.action, Swap):
        return operation.returned is not None and operation.result is False
    return isinstance(operation.action, Read)


def _bits(mask: int) -> Iterable[int]:
    """Yield the numbers of the set bits, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
