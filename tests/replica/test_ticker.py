from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from raftdb.replica.ticker import Ticker


class TestTheTicker:
    """Ticks keep pace with the clock, one call at a time."""

    def setup_method(self) -> None:
        self.clock = Clock()
        self.beats: list[int] = []
        self.ticker = Ticker(self.clock, 0.05, self.beats.append)
        self.ticker.start()

    def test_beats_once_per_tick(self) -> None:
        """An undisturbed reactor gives one tick per beat."""
        self.clock.pump([0.05] * 10)
        assert self.beats == [1] * 10
        assert self.ticker.stall_max_s == pytest.approx(0.0, abs=1e-9)

    def test_comes_once_after_a_pause_and_names_all_ticks(self) -> None:
        """One call, so that a follower counts one; with the count, so that a leader sees all."""
        self.clock.advance(1.0)
        assert self.beats == [20]
        self.clock.advance(0.05)
        assert self.beats == [20, 1]

    def test_measures_the_longest_stall(self) -> None:
        """How late the latest beat was is what the reactor was busy for."""
        self.clock.pump([0.05, 0.35, 0.05])
        assert self.ticker.stall_max_s == pytest.approx(0.30)

    def test_loses_no_time(self) -> None:
        """Beats that are a little late each do not slow the count down."""
        self.clock.pump([0.07] * 100)
        assert sum(self.beats) == 140
        assert self.ticker.stall_max_s == pytest.approx(0.02)

    def test_stops(self) -> None:
        """After a stop nothing is scheduled."""
        self.ticker.stop()
        self.clock.advance(1.0)
        assert self.beats == []
        assert self.clock.getDelayedCalls() == []
