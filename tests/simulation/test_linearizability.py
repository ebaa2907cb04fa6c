"""The judge is judged: hand-made histories, a slow obvious twin, and size."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftdb.simulation.checks.history import (
    Action,
    History,
    Operation,
    Read,
    Result,
    Swap,
    Value,
    Write,
)
from raftdb.simulation.checks.linearizability import check

X, Y = b"x", b"y"


def put(value: bytes | None, key: bytes = X) -> Write:
    return Write(((key, value),))


def history(*rows: tuple[int, int | None, Action, Result]) -> list[Operation]:
    """Make operations of (invoked, returned, action, result); None: never answered."""
    return [
        Operation(client, action, invoked, returned, result)
        for client, (invoked, returned, action, result) in enumerate(rows)
    ]


class TestGoodHistories:
    """What some order explains is accepted."""

    def test_nothing_happened(self) -> None:
        """The empty history is linearizable."""
        assert check([]) is None

    def test_a_read_may_see_either_side_of_a_concurrent_write(self) -> None:
        """A write takes effect somewhere between its call and its answer."""
        for seen in (None, b"1"):
            assert check(history((1, 4, put(b"1"), None), (2, 3, Read(X), seen))) is None

    def test_an_unanswered_write_may_take_effect_late(self) -> None:
        """Unknown means: at any time after the call, or never."""
        rows = history((1, None, put(b"1"), None), (2, 3, Read(X), None), (4, 5, Read(X), b"1"))
        assert check(rows) is None

    def test_an_unanswered_write_may_never_happen(self) -> None:
        """Unknown does not mean applied."""
        assert check(history((1, None, put(b"1"), None), (2, 3, Read(X), None))) is None

    def test_a_failed_swap_explains_itself_by_another_value(self) -> None:
        """A swap that says no needs a moment at which the value was another."""
        rows = history((1, 2, put(b"1"), None), (3, 4, Swap(X, b"2", b"3"), False))
        assert check(rows) is None

    def test_an_unanswered_swap_may_have_swapped(self) -> None:
        """Nobody heard it, so both outcomes are open."""
        for seen in (b"1", b"2"):
            rows = history(
                (1, 2, put(b"1"), None),
                (3, None, Swap(X, b"1", b"2"), None),
                (4, 5, Read(X), seen),
            )
            assert check(rows) is None


class TestBadHistories:
    """What no order explains is refused, with the operation that shows it."""

    def test_a_stale_read(self) -> None:
        """A read that begins after a write's answer must see it."""
        violation = check(history((1, 2, put(b"1"), None), (3, 4, Read(X), None)))
        assert violation is not None
        assert isinstance(violation.operation.action, Read)
        assert "no order" in str(violation)

    def test_a_lost_write(self) -> None:
        """An acknowledged write cannot be undone by nobody."""
        rows = history((1, 2, put(b"1"), None), (3, 4, put(b"2"), None), (5, 6, Read(X), b"1"))
        assert check(rows) is not None

    def test_a_value_from_nowhere(self) -> None:
        """Nobody wrote it, so nobody may read it."""
        assert check(history((1, 2, Read(X), b"9"))) is not None

    def test_two_reads_in_the_wrong_order(self) -> None:
        """Once the new value was seen, the old one is gone for everybody."""
        rows = history((1, 9, put(b"1"), None), (2, 3, Read(X), b"1"), (4, 5, Read(X), None))
        assert check(rows) is not None

    def test_half_of_a_multi_key_write(self) -> None:
        """Several keys written at once are seen at once."""
        both = Write.of({X: b"1", Y: b"1"})
        rows = history((1, 8, both, None), (2, 3, Read(X), b"1"), (4, 5, Read(Y), None))
        assert check(rows) is not None

    def test_two_swaps_that_both_won(self) -> None:
        """Only one of two swaps away from the same value can succeed."""
        rows = history(
            (1, 2, put(b"1"), None),
            (3, 6, Swap(X, b"1", b"2"), True),
            (4, 5, Swap(X, b"1", b"3"), True),
        )
        assert check(rows) is not None

    def test_a_write_that_happened_twice(self) -> None:
        """An unknown write may take effect late, but only once."""
        rows = history(
            (1, None, put(b"1"), None),
            (2, 3, Read(X), b"1"),
            (4, 5, put(b"2"), None),
            (6, 7, Read(X), b"1"),
        )
        assert check(rows) is not None


def obviously_linearizable(operations: list[Operation]) -> bool:
    """Try every order of every subset of the unanswered operations: the definition itself."""
    answered = [o for o in operations if o.returned is not None]
    unknown = [o for o in operations if o.returned is None]
    for chosen in range(2 ** len(unknown)):
        extra = [o for bit, o in enumerate(unknown) if chosen >> bit & 1]
        if any(_explains(order) for order in permutations(answered + extra)):
            return True
    return False


def _explains(order: tuple[Operation, ...]) -> bool:
    state: dict[bytes, Value] = {}
    for position, operation in enumerate(order):
        if any(
            later.returned is not None and later.returned < operation.invoked
            for later in order[position:]
        ):
            return False
        match operation.action:
            case Read(key):
                if state.get(key) != operation.result:
                    return False
            case Write(pairs):
                state.update(pairs)
            case Swap(key, expected, value):
                swaps = state.get(key) == expected
                if operation.returned is not None and swaps is not operation.result:
                    return False
                if swaps:
                    state[key] = value
    return True


values = st.sampled_from([None, b"1", b"2"])
keys = st.sampled_from([X, Y])
actions = st.one_of(
    st.builds(put, values, keys),
    st.builds(lambda a, b: Write(((X, a), (Y, b))), values, values),
    st.builds(Swap, keys, values, values),
    st.builds(Read, keys),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    count = draw(st.integers(1, 5))
    places = draw(st.permutations(range(2 * count)))
    operations = []
    for client in range(count):
        first, second = sorted(places[2 * client : 2 * client + 2])
        action = draw(actions)
        result = draw(st.booleans()) if isinstance(action, Swap) else draw(values)
        returned = second if draw(st.integers(0, 3)) else None
        operations.append(Operation(client, action, first, returned, result))
    return operations


class TestAgainstTheDefinition:
    """The fast judge and the definition never disagree."""

    @settings(max_examples=400, deadline=None)
    @given(histories())
    def test_they_agree(self, operations: list[Operation]) -> None:
        """On small histories of any shape, answers right or wrong."""
        assert (check(operations) is None) is obviously_linearizable(operations)


def simulate(seed: int, count: int, *, clients: int = 8, lie_at: int = -1) -> History:
    """Play clients against one true store; each operation takes effect between its two events."""
    rng = Random(seed)
    store: dict[bytes, Value] = {}
    recorded = History()
    running: list[tuple[Operation, Result]] = []
    for number in range(count):
        if len(running) == clients:
            operation, result = running.pop(rng.randrange(clients))
            if rng.random() < 0.01:
                continue  # the answer never arrives
            recorded.answer(operation, result)
        key = b"k%d" % rng.randrange(10) + rng.choice([b"", b"'"])
        roll = rng.random()
        if roll < 0.4:
            operation = recorded.invoke(number, put(b"%d" % number, key))
            store[key] = b"%d" % number
            running.append((operation, None))
        elif roll < 0.5:
            pairs: dict[bytes, Value] = {key[:2]: b"%d" % number, key[:2] + b"'": b"%d" % number}
            operation = recorded.invoke(number, Write.of(pairs))
            store.update(pairs)
            running.append((operation, None))
        else:
            operation = recorded.invoke(number, Read(key))
            running.append((operation, b"lie" if number == lie_at else store.get(key)))
    return recorded


class TestSize:
    """A long run is judged in one go."""

    def test_twenty_thousand_operations(self) -> None:
        """Keys are tied together in pairs, and one answer in a hundred never comes."""
        assert check(simulate(1, 20_000)) is None

    @pytest.mark.parametrize("seed", range(3))
    def test_one_lie_among_thousands_is_found(self, seed: int) -> None:
        """Whatever the place of the lie."""
        lie_at = 1000 + 7 * seed
        while True:
            recorded = simulate(seed, 3000, lie_at=lie_at)
            if any(operation.result == b"lie" for operation in recorded):
                break
            lie_at += 1
        violation = check(recorded)
        assert violation is not None
        assert violation.operation.result == b"lie"
