"""What the garbage collector is spared, and what it is seen to cost."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from raftdb.reactor.collector import Collector


class Seconds:
    """A clock that goes on by 0.25 s whenever it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector(Seconds())
    yield made
    made.stop()
    gc.unfreeze()


class TestPauses:
    """A collection stops the event loop as anything else does, so it is measured as a stall."""

    def test_a_collection_is_measured(self, collector: Collector) -> None:
        """From its beginning to its end, as the clock says."""
        collector.start()
        gc.collect()
        assert collector.pause_max_s == pytest.approx(0.25)

    def test_only_while_it_is_started(self, collector: Collector) -> None:
        """The end leaves nothing behind in the interpreter; a second end is allowed."""
        before = list(gc.callbacks)
        collector.start()
        collector.stop()
        collector.stop()
        gc.collect()
        assert collector.pause_max_s == 0
        assert gc.callbacks == before


class TestWhatStays:
    """What is there at the start, or was loaded, is never walked again."""

    def test_is_out_of_sight(self, collector: Collector) -> None:
        """Also what comes with a later load."""
        mark: list[object] = [[]]
        collector.start()
        later: list[object] = [[]]
        seen = gc.get_objects()
        assert not any(found is mark for found in seen)
        assert any(found is later for found in seen)
        del seen
        collector.settle()
        assert not any(found is later for found in gc.get_objects())
