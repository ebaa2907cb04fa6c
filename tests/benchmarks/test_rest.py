"""A load begins when what came before it is done."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest

from benchmarks.run import _awake
from benchmarks.systems.base import REST_CORES, REST_MAX_S, REST_S
from benchmarks.systems.etcd import Etcd


class Clock:
    """Time that passes when somebody sleeps, and the CPU time that three nodes take meanwhile."""

    def __init__(self, busy_s: float) -> None:
        self.now = 0.0
        self._busy_s = busy_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def monotonic(self) -> float:
        """Tell it."""
        return self.now

    def cpu_s(self) -> float:
        """One core as long as there is work, and then a little."""
        return min(self.now, self._busy_s) + 0.5 * REST_CORES * max(0.0, self.now - self._busy_s)


class TestRest:
    """No longer than it takes, and never for ever."""

    @pytest.mark.parametrize(
        ("busy_s", "least_s", "most_s"),
        [
            (0.0, REST_S, REST_S),
            (1.0, 1.0 + REST_S / 2, 1.0 + 2 * REST_S),
            (60.0, REST_MAX_S, REST_MAX_S + REST_S),
        ],
    )
    def test_is_waited_for(
        self, tmp_path: Path, busy_s: float, least_s: float, most_s: float
    ) -> None:
        """Until the nodes take little for a while."""
        clock, system = Clock(busy_s), Etcd(tmp_path / "etcd")
        with (
            patch("benchmarks.systems.base.time", clock),
            patch.object(system, "cpu_s", clock.cpu_s),
        ):
            system.rest()
        assert least_s - 0.01 <= clock.now <= most_s + 0.01

    def test_comes_before_each_load(self, tmp_path: Path) -> None:
        """When the nodes are awake and have a leader; and they sleep again when it is over."""
        system = Etcd(tmp_path / "etcd")
        done: list[str] = []
        with ExitStack() as held:
            held.enter_context(patch("benchmarks.run.time", Clock(0.0)))
            for step in ("resume", "leader", "rest", "pause"):
                held.enter_context(patch.object(system, step, partial(done.append, step)))
            with _awake(system):
                done.append("load")
        assert done == ["resume", "leader", "rest", "load", "pause"]
