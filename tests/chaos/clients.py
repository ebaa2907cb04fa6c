"""Clients that write, delete and read all the time, and one observer of what they were told.

Each node has a *prober* that writes to it alone and follows no redirect: between two of them that
were answered 200, in whatever node, the cluster took no writes. That is the write gap. *Wanderers*
ask any node, follow redirects, write two keys at once, delete, and read linearizably.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from raftdb.simulation.checks.history import Action, History, Read, Result, Write

TIMEOUT_S = 1.0
PAUSE_S = 0.03
WANDERERS = 3

Address: TypeAlias = tuple[str, int]


class Reply(NamedTuple):
    """An answer; status 0 means that the request was never sent, -1 that the answer never came."""

    status: int
    body: bytes = b""
    error: str = ""
    location: str = ""
    origin: Address = ("", 0)
    applied: int = 0

    @property
    def refused(self) -> bool:
        """Whether the request surely did not happen (RELIABILITY promise 3)."""
        return self.status in {0, 307} or (bool(self.error) and 400 <= self.status <= 503)


def ask(
    address: Address, method: str, target: str, body: bytes | None = None, *, hops: int = 0
) -> Reply:
    """Ask once, following so many redirects."""
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    try:
        try:
            connection.connect()
        except OSError as error:
            return Reply(0, repr(error).encode())
        connection.request(method, target, body)
        answer = connection.getresponse()
        headers = answer.headers
        reply = Reply(
            answer.status,
            answer.read(),
            headers.get("Raftdb-Error", ""),
            headers.get("Location", ""),
            address,
            int(headers.get("Raftdb-Applied-Index", "0")),
        )
    except (OSError, http.client.HTTPException) as error:
        return Reply(-1, repr(error).encode())
    finally:
        connection.close()
    if reply.status == 307 and hops and reply.location:
        to = urlsplit(reply.location)
        return ask((str(to.hostname), to.port or 80), method, target, body, hops=hops - 1)
    return reply


class Load:
    """All clients of one fault: from before it until everything is well again.

    :param name: begins the names of its keys, so that no other load touches them
    :param addresses: the nodes' HTTP addresses
    :param seed: of what the wanderers do
    :param level: of what they read
    :param starts_of: how often the node at an address was started
    """

    def __init__(
        self,
        name: str,
        addresses: list[Address],
        seed: str,
        level: str,
        starts_of: Callable[[Address], int],
    ) -> None:
        self.history = History()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.written_s: list[float] = []
        self._name = name
        self._level = level
        self._starts_of = starts_of
        self._applied: dict[tuple[Address, int], int] = {}
        self._addresses = addresses
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._probe, args=(at,)) for at in addresses]
        self._threads += [
            threading.Thread(target=self._wander, args=(random.Random(f"{seed} {number}"),))
            for number in range(WANDERERS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def keys(self) -> list[str]:
        """Every key that anybody writes."""
        pairs = [f"{self._name}-{pair}{side}" for pair in range(3) for side in "ab"]
        return pairs + [self._probe_key(address) for address in self._addresses]

    def stop(self) -> None:
        """Let everybody finish."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def gap_s(self, since_s: float) -> float:
        """Return the longest time without an acknowledged write that ended after a moment."""
        times_s = sorted(self.written_s)
        pairs = itertools.pairwise(times_s)
        return max((later - max(at, since_s) for at, later in pairs if later > since_s), default=0)

    def wrote_after(self, moment_s: float) -> bool:
        """Whether a write was acknowledged after a moment."""
        return bool(self.written_s) and self.written_s[-1] > moment_s

    def read_all(self, address: Address) -> None:
        """Read every key from one node: what was acknowledged must be there to the end."""
        for key in self.keys:
            self._read(key, address, "consistent")

    def _probe_key(self, address: Address) -> str:
        return f"{self._name}-probe-{address[0]}"

    def _probe(self, address: Address) -> None:
        key, number = self._probe_key(address), 0
        while not self._stopping.wait(PAUSE_S):
            number += 1
            self._write({key: str(number)}, address, hops=0)

    def _wander(self, rng: random.Random) -> None:
        number = 0
        while not self._stopping.wait(PAUSE_S):
            number += 1
            address = rng.choice(self._addresses)
            pair = f"{self._name}-{rng.randrange(3)}"
            key = pair + rng.choice("ab")
            match rng.randrange(8):
                case 0 | 1 | 2:
                    value = f"{threading.get_ident()}-{number}"
                    self._write({pair + "a": value, pair + "b": value}, address, hops=3)
                case 3:
                    self._delete(key, address)
                case _:
                    self._read(key, address, self._level)

    def _read(self, key: str, address: Address, level: str) -> None:
        target = f"/api/kv?key={key}&level={level}"
        self._do(Read(key.encode()), lambda: ask(address, "GET", target, hops=3), _value)

    def _write(self, pairs: dict[str, str], address: Address, *, hops: int) -> None:
        body = json.dumps(pairs).encode()
        action = Write.of({key.encode(): value.encode() for key, value in pairs.items()})
        self._do(action, lambda: ask(address, "POST", "/key", body, hops=hops), lambda _: None)

    def _delete(self, key: str, address: Address) -> None:
        action = Write(((key.encode(), None),))
        self._do(action, lambda: ask(address, "DELETE", f"/key/{key}", hops=3), lambda _: None)

    def _do(
        self, action: Action, send: Callable[[], Reply], meaning: Callable[[Reply], Result]
    ) -> None:
        """Record that it begins, do it, and record what came of it."""
        with self._lock:
            operation = self.history.invoke(threading.get_ident(), action)
            runs = [(at, self._starts_of(at)) for at in self._addresses]
            before = {run: self._applied.get(run, 0) for run in runs}
        reply = send()
        reading = isinstance(action, Read)
        with self._lock:
            if reply.status == 200 or (reading and reply.error == "key_not_found"):
                self.counts["acknowledged"] += 1
                self.history.answer(operation, meaning(reply))
                if not reading:
                    self.written_s.append(time.monotonic())
            elif reply.refused:
                self.counts["refused"] += 1
                self.history.refuse(operation)
            else:
                self.counts["unknown"] += 1
            if reply.status >= 500 and not reply.error:
                self.wrong.append(f"{action} was answered {reply}")
            self._see(reply, before)

    def _see(self, reply: Reply, before: dict[tuple[Address, int], int]) -> None:
        """See that a node never went back while it ran (promise 24).

        :param before: what was known to be applied where when the request was sent; answers to
            what is asked at the same time may arrive in any order, and the answer of a node that
            was started anew meanwhile is of nobody knows which run
        """
        run = (reply.origin, self._starts_of(reply.origin))
        if not reply.applied or run not in before:
            return
        if reply.applied < before[run]:
            self.wrong.append(f"{run} was at {before[run]} before it answered {reply}")
        self._applied[run] = max(reply.applied, self._applied.get(run, 0))


def _value(reply: Reply) -> bytes | None:
    return reply.body if reply.status == 200 else None
