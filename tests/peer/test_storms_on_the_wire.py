"""Random cuts, deaths, restarts and stuck readers; then calm, and everything must be whole again."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from twisted.logger import LogLevel

from raftdb.peer.handshake import Kind

if TYPE_CHECKING:
    from twisted.logger import LogEvent

    from tests.peer.conftest import Station, Town

NAMES = ("a", "b", "c", "d")


class Storm:
    """One seed's history."""

    def __init__(self, town: Town, seed: int) -> None:
        self.town = town
        self.rng = Random(seed)
        town.wires.latency_s = lambda: self.rng.uniform(0, 0.004)
        for name in NAMES:
            town.build(name)
        town.introduce(*self.stations)

    @property
    def stations(self) -> list[Station]:
        return list(self.town.stations.values())

    def blow(self) -> None:  # noqa: C901  (a case per kind of weather)
        """Do one thing to somebody, and let a little time pass."""
        rng, town = self.rng, self.town
        name, other = rng.sample(NAMES, 2)
        station, peer = town.stations[name], town.stations[other]
        match rng.randrange(9):
            case 0:
                town.wires.cut(name, other)
            case 1:
                town.wires.restore(name, other)
            case 2:
                self.restart(name)
            case 3:
                station.pause(rng.choice(list(Kind)))
            case 4:
                for kind in Kind:
                    station.resume(kind)
            case 5:
                station.transport.send([town.append(station, peer, bytes(rng.randrange(900_000)))])
            case 6:
                message = town.install(station, peer, index=rng.randrange(3))
                station.files.contents[message.snapshot.last] = bytes(rng.randrange(300_000))
                station.transport.send([message])
            case _:
                for each in self.stations:
                    if each is not station:
                        station.transport.send([town.heartbeat(station, each)])
        self.run(rng.uniform(0, 0.3))

    def restart(self, name: str) -> None:
        """Kill a process; another one comes up at its address."""
        old = self.town.stations[name]
        self.town.wires.kill(name)
        old.transport.stop()
        self.town.build(name)
        self.town.introduce(*self.stations)

    def calm(self) -> None:
        """Heal everything and give it the time that it may take."""
        for name in NAMES:
            for other in NAMES:
                self.town.wires.restore(name, other)
        for station in self.stations:
            for kind in Kind:
                station.resume(kind)
        self.run(self.town.limits.stall_s + 1)

    def run(self, seconds: float) -> None:
        for _ in range(1 + round(seconds / 0.005)):
            self.town.clock.advance(0.005)


@pytest.mark.parametrize("seed", range(6))
def test_after_a_storm_everybody_is_connected(
    town: Town, seed: int, logged: list[LogEvent]
) -> None:
    """No exception, no leak: two connections each way between any two, and messages arrive."""
    storm = Storm(town, seed)
    for _ in range(60):
        storm.blow()
    storm.calm()
    for station in storm.stations:
        registry = station.transport._registry
        for other in storm.stations:
            if other is not station:
                assert len(registry.of(other.member)) == 4, f"{station.host} to {other.host}"
        assert town.wires.connections(station.host) == 12
        assert len(station.transport._accepted) == 6
        for other in storm.stations:
            other.delivered.clear()
            if other is not station:
                station.transport.send([town.heartbeat(station, other, 99)])
        storm.run(0.05)
        for other in storm.stations:
            expected = [] if other is station else [town.heartbeat(station, other, 99)]
            assert other.delivered == expected
    assert [e for e in logged if e["log_level"] is not LogLevel.warn] == []
    for station in storm.stations:
        station.transport.stop()
    storm.run(1)
    assert [call for call in town.clock.getDelayedCalls() if call.active()] == []
