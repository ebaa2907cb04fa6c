"""Programs that use raftdb, run with a cluster in one simulated world; the examples of the docs."""

from __future__ import annotations

import pytest
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from raftdb.client import Client
from raftdb.errors import OutcomeUnknown, Refused
from raftdb.testing import World


class Shop:
    """A program under test: sells a ticket every 50 ms, one key for each.

    :param clock: its reactor
    :param books_twice: whether it has the usual bug: what may have been done is done again as
        something new
    """

    def __init__(self, clock: IReactorTime, client: Client, *, books_twice: bool = False) -> None:
        self.clock = clock
        self.client = client
        self.books_twice = books_twice
        self.tickets: list[str] = []
        self.tried: dict[str, None] = {}

    async def sell(self, customers: int) -> None:
        """Give every customer a ticket."""
        for number in range(customers):
            await deferLater(self.clock, 0.05)
            await self._sell(f"customer{number}")

    async def _sell(self, customer: str) -> None:
        attempt = 0
        while True:
            ticket = f"{customer}/{attempt}"
            self.tried[ticket] = None
            try:
                await self.client.put(ticket, "sold")
            except Refused:
                continue  # surely not done
            except OutcomeUnknown:
                attempt += self.books_twice  # perhaps done: the same key again does no harm
                continue
            self.tickets.append(ticket)
            return

    async def sold(self) -> int:
        """Count the tickets in the store."""
        found = [await self.client.get(ticket, level="consistent") for ticket in self.tried]
        return sum(value is not None for value in found)


def tickets_for(customers: int, seed: int, *, books_twice: bool = False) -> int:
    """Let a shop sell in trouble; return how many tickets there are afterwards."""
    world = World(seed)
    shop = Shop(world.clock, world.client(timeout_s=2.0), books_twice=books_twice)
    world.trouble(interval_s=0.1)
    world.run(shop.sell(customers), limit_s=600)
    world.heal()
    return world.run(shop.sold())


class TestAProgram:
    """Its tests run against production nodes, in no time, and repeat."""

    @pytest.mark.parametrize("seed", range(3))
    def test_that_is_right_is_right_in_any_trouble(self, seed: int) -> None:
        """One ticket for each customer."""
        assert tickets_for(20, seed) == 20

    def test_with_a_bug_is_found_out(self) -> None:
        """Within a few seeds there is one ticket too many."""
        assert any(tickets_for(20, seed, books_twice=True) > 20 for seed in range(12))


class TestTheWorld:
    """What happens in it follows from the seed and from what the test does."""

    def test_repeats_exactly(self) -> None:
        """To the last microsecond."""

        def once() -> tuple[float, list[str]]:
            world = World(5, nodes=5)
            shop = Shop(world.clock, world.client())
            world.trouble(interval_s=0.2)
            world.run(shop.sell(15), limit_s=600)
            return world.clock.seconds(), shop.tickets

        assert once() == once()

    def test_a_dead_leader_is_replaced(self) -> None:
        """The client finds the next one; nothing acknowledged is lost."""
        world = World(1)
        client = world.client()
        assert world.run(client.put("k", "1")) > 0
        dead = world.leader
        assert dead is not None
        world.kill(dead)
        world.pass_time(0.05)  # until the client hears of it
        world.run(client.put("l", "2"))
        assert world.leader not in {dead, None}
        assert world.run(client.get("k", level="consistent")) == b"1"
        world.start(dead)
        world.heal()
        assert world.run(client.get("l", level="stale")) == b"2"

    def test_a_silent_death_leaves_the_client_in_doubt(self) -> None:
        """As in production: the machine is gone, and nobody can say what became of the write."""
        world = World(1)
        client = world.client(timeout_s=1.0)
        world.run(client.put("k", "1"))
        assert world.leader is not None
        world.kill(world.leader, silently=True)
        with pytest.raises(OutcomeUnknown):
            world.run(client.put("k", "2"))

    def test_a_client_cut_off_is_told_so(self) -> None:
        """It could not even connect, so nothing happened."""
        world = World(2)
        client = world.client("here", timeout_s=3.0)
        world.part(["here"], ["a", "b", "c"])
        began_s = world.clock.seconds()
        with pytest.raises(Refused):
            world.run(client.put("k", "1"))
        assert world.clock.seconds() - began_s <= 3.0
        world.heal()
        world.run(client.put("k", "1"))

    def test_time_passes_only_while_something_is_waited_for(self) -> None:
        """An hour is over at once."""
        world = World(3, nodes=1)
        began_s = world.clock.seconds()
        world.run(gatherResults([world.sleep(60.0), world.sleep(30.0)]), limit_s=61)
        assert world.clock.seconds() == pytest.approx(began_s + 60.0)
