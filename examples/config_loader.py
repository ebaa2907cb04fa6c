"""Settings that a running program follows: it reads them again every second, from any node.

    python examples/config_loader.py HOST:PORT[,HOST:PORT...]
    curl -L -X POST HOST:PORT/key -d '{"config/greeting": "hello"}'

A stale read costs nobody anything and is answered even while no leader is known: a program goes on
with the settings it has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater, react

from raftdb.client import Client
from raftdb.errors import RaftDBError

POLL_S = 1.0


class Settings:
    """The values of some keys, as they were read last.

    :param names: of the settings; each stands under ``config/NAME``
    :param changed: is called with a name and its new value
    """

    def __init__(
        self, client: Client, names: list[str], changed: Callable[[str, str | None], None]
    ) -> None:
        self._client = client
        self._changed = changed
        self.values: dict[str, str | None] = dict.fromkeys(names)

    async def load(self) -> None:
        """Read all settings once; what cannot be read stays as it is."""
        for name, before in self.values.items():
            try:
                found = await self._client.get(f"config/{name}", level="stale")
            except RaftDBError as error:
                print(f"keeping {name}={before!r}: {error}", file=sys.stderr)
                continue
            value = None if found is None else found.decode()
            if value != before:
                self.values[name] = value
                self._changed(name, value)


async def main(reactor: IReactorTime, endpoints: str) -> None:
    """Print settings whenever they change."""
    client = Client(reactor, endpoints.split(","))
    settings = Settings(
        client, ["greeting", "colour"], lambda name, value: print(f"{name} = {value}", flush=True)
    )
    while True:
        await settings.load()
        await deferLater(reactor, POLL_S)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, sys.argv[1])))
