"""Links between simulated nodes, by name: which are cut, in which direction, and the weather on all.

What a cut does to what is under way is for those to say who carry it: messages are lost
(:mod:`~raftdb.simulation.network.datagrams`), bytes wait (:mod:`~raftdb.simulation.network.lossy_streams`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from raftdb.raft.messages import Message

STRAGGLE_S = 2.0
"""How long a clogged link can hold something back."""


@dataclass(slots=True)
class Weather:
    """How bad the network is at the moment.

    :param delay_min_s: the least one-way delay in seconds
    :param delay_max_s: the greatest
    :param loss: the share of messages, or packets, lost, in [0, 1)
    :param repetition: the share of messages that arrive twice, in [0, 1)
    :param stragglers: the share that takes up to ``STRAGGLE_S``, in [0, 1)
    :param snapshot_s: how long a snapshot file is under way, where it is not sent in pieces
    """

    delay_min_s: float = 0.0002
    delay_max_s: float = 0.002
    loss: float = 0.0
    repetition: float = 0.0
    stragglers: float = 0.0
    snapshot_s: float = 0.05


class Links:
    """Cuts and weather.

    :ivar weather: on all links
    :ivar watch: is shown every message that arrives
    """

    def __init__(self) -> None:
        self.weather = Weather()
        self.watch: Callable[[Message], None] = lambda _: None
        self._digest = blake2b(digest_size=16)
        self._cuts: dict[tuple[str, str], None] = {}
        self._hosts: dict[str, None] = {}
        self._narrow: dict[tuple[str, bool], int] = {}
        """How large a frame may be that a host sends (False) or is sent (True)."""

    @property
    def digest(self) -> str:
        """A hash of every arrival: its time and its bytes; equal for equal histories."""
        return self._digest.hexdigest()

    def record(self, now_s: float, frame: bytes) -> None:
        """Take an arrival into the digest."""
        self._digest.update(b"%.9f" % now_s)
        self._digest.update(frame)

    def snap(self, rng: Random) -> None:
        """Break a connection or let it hang half-open, where there are connections."""

    def clog(self, sender: str, receiver: str, seconds: float) -> None:
        """Let what is sent from now on wait, where there is something that can wait."""

    def know(self, host: str) -> None:
        """Count a host in: from now on it can be isolated from."""
        self._hosts[host] = None

    def forget(self, host: str) -> None:
        """Count a host out."""
        self._hosts.pop(host, None)

    def cut(self, sender: str, receiver: str) -> None:
        """Let nothing pass from one node to the other; the way back stays open."""
        self._cuts[sender, receiver] = None

    def restore(self, sender: str, receiver: str) -> None:
        """Take away one cut."""
        self._cuts.pop((sender, receiver), None)

    def mend(self) -> None:
        """Take away all cuts, and let frames of every size pass."""
        self._cuts.clear()
        self._narrow.clear()

    def narrow(self, host: str, bytes_max: int, *, inward: bool = False) -> None:
        """Lose what is larger of all that ``host`` sends, or is sent: a wrong MTU at one place."""
        self._narrow[host, inward] = bytes_max

    def fits(self, sender: str, receiver: str, bytes_count: int) -> bool:
        """Say whether a frame of this size gets through, on a link that is whole."""
        if not self._narrow:
            return True
        narrowest = min(
            self._narrow.get((sender, False), bytes_count),
            self._narrow.get((receiver, True), bytes_count),
        )
        return bytes_count <= narrowest

    def passes(self, sender: str, receiver: str) -> bool:
        """Say whether the link is whole."""
        return (sender, receiver) not in self._cuts

    def isolate(self, *group: str) -> None:
        """Cut every link, both ways, between ``group`` and everybody else."""
        outside = [host for host in self._hosts if host not in group]
        for one in group:
            for other in outside:
                self.cut(one, other)
                self.cut(other, one)

    def ring(self, names: Sequence[str]) -> None:
        """Let each node reach only the nearest nodes on a ring, just enough for a majority."""
        reach = (len(names) // 2 + 1) // 2
        for at, one in enumerate(names):
            for away in range(reach + 1, len(names) - reach):
                self.cut(one, names[(at + away) % len(names)])

    def bridge(self, names: Sequence[str]) -> None:
        """Part the nodes into two halves that only the first of them reaches."""
        half = len(names) // 2
        for one in names[1 : half + 1]:
            for other in names[half + 1 :]:
                self.cut(one, other)
                self.cut(other, one)

    def clear_weather(self) -> None:
        """Let everything arrive once and soon, where links are whole."""
        weather = self.weather
        weather.loss = weather.repetition = weather.stragglers = 0.0
        weather.delay_max_s = 0.002
