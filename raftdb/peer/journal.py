"""What the wire tells the log: each trouble once per peer and reason, until it is over."""

from __future__ import annotations

from typing import Final

from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.logger import Logger, LogLevel
from twisted.protocols.amp import AmpError

from raftdb.errors import RaftDBError
from raftdb.peer.hello import HelloRefused, Refusal

_TROUBLES_MAX: Final = 1024
_TEXT_MAX: Final = 300


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
        level = LogLevel.warn
        if category == "bug":
            level = LogLevel.error
        elif category == Refusal.DUPLICATE.value:
            level = LogLevel.critical  # somebody has to act [29]
        self._log.emit(level, "{peer}: {what}", peer=_plain(peer), what=_plain(_words(error)))

    def over(self, peer: str) -> None:
        """Hear that all is well with ``peer``: the same trouble is worth a line again."""
        for trouble in [trouble for trouble in self._troubles if trouble[0] == peer]:
            del self._troubles[trouble]

    def connected(self, peer: str) -> None:
        """Tell that ``peer`` can be reached."""
        self._log.info("{peer}: connected", peer=_plain(peer))

    def lost(self, peer: str, why: str) -> None:
        """Tell that ``peer`` cannot be reached any more."""
        self._log.info("{peer}: no longer connected: {why}", peer=_plain(peer), why=_plain(why))


def _category(error: Exception) -> str:
    """Return what counts as the same trouble; the words may differ each time."""
    match error:
        case HelloRefused(refusal=refusal):
            return "refused" if refusal is None else refusal.value
        case RaftDBError() | OSError() | ConnectError() | ConnectionClosed() | AmpError():
            return type(error).__name__
        case _:
            return "bug"


def _words(error: Exception) -> str:
    return str(error) or repr(error)


def _plain(text: str) -> str:
    """Return text from who knows where, fit for one line of a log."""
    return "".join(each if each.isprintable() else "?" for each in text[:_TEXT_MAX])
