"""What the wire tells the log: each trouble once per peer and reason, until it is over."""

from __future__ import annotations

from typing import Final

from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.logger import Logger

from raftdb.errors import RaftDBError
from raftdb.peer.hello import HelloRefused

_TROUBLES_MAX: Final = 1024


class Journal:
    """A log that does not repeat itself.

    A peer that is down is dialled ten times a second; who reads the log wants one line when it
    begins and one when it ends. At most 1,024 troubles are remembered, the oldest goes first.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._troubles: dict[tuple[str, str], None] = {}

    def trouble(self, peer: str, error: Exception) -> None:
        """Tell what is wrong with ``peer``, unless it was told and is not over."""
        category = _category(error)
        if (peer, category) in self._troubles:
            return
        if len(self._troubles) >= _TROUBLES_MAX:
            del self._troubles[next(iter(self._troubles))]
        self._troubles[peer, category] = None
        if category == "bug":
            self._log.error("{peer}: {error!r}", peer=peer, error=error)
        else:
            self._log.warn("{peer}: {error}", peer=peer, error=error)

    def alarm(self, peer: str, what: str) -> None:
        """Tell what an operator has to act on, once."""
        if (peer, what) not in self._troubles:
            self._troubles[peer, what] = None
            self._log.critical("{peer}: {what}", peer=peer, what=what)

    def over(self, peer: str) -> None:
        """Hear that all is well with ``peer``: the same trouble is worth a line again."""
        for trouble in [trouble for trouble in self._troubles if trouble[0] == peer]:
            del self._troubles[trouble]

    def connected(self, peer: str) -> None:
        """Tell that ``peer`` can be reached."""
        self._log.info("{peer}: connected", peer=peer)

    def lost(self, peer: str, why: str) -> None:
        """Tell that ``peer`` cannot be reached any more."""
        self._log.info("{peer}: no longer connected: {why}", peer=peer, why=why)


def _category(error: Exception) -> str:
    """Return what counts as the same trouble; the words may differ each time."""
    match error:
        case HelloRefused(refusal=refusal):
            return "refused" if refusal is None else refusal.value
        case RaftDBError() | ConnectError() | ConnectionClosed() | TimeoutError():
            return type(error).__name__
        case _:
            return "bug"
