"""What the wire tells the log: each trouble once per peer and reason, until it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.logger import Logger, LogLevel
from twisted.protocols.amp import AmpError

from raftdb.errors import RaftDBError
from raftdb.peer.handshake import HelloRefused, Refusal
from raftdb.peer.refusals import ClusterClaimed

STRANGERS_MAX: Final = 64
"""Lines about strangers within :data:`STRANGERS_S`, whoever and however many they are."""

STRANGERS_S: Final = 3600.0

_TROUBLES_MAX: Final = 1024
_TEXT_MAX: Final = 1000


class Journal:
    """A log that does not repeat itself.

    A peer that is down is dialled ten times a second; who reads the log wants one line when it
    begins and one when it ends. At most 1,024 troubles are remembered, the oldest goes first.

    Strangers choose their names, and may have as many addresses as they like. So they are named by
    where they come from, and an hour has 64 lines for all of them together.

    :param seconds: the time, in seconds
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._troubles: dict[tuple[str, str], None] = {}
        self._up: set[str] = set()
        self._strangers: dict[tuple[str, str], None] = {}
        self._strangers_since_s = seconds()

    def trouble(self, peer: str, error: Exception, *, proven: bool = True) -> None:
        """Tell what is wrong with a member, unless it was told and is not over.

        :param proven: whether there is more than the word of who called: we dialled it, or it has
            shown a certificate. Without that nothing is an alarm
        """
        category = _category(error)
        if (peer, category) in self._troubles:
            return
        if len(self._troubles) >= _TROUBLES_MAX:
            del self._troubles[next(iter(self._troubles))]
        self._troubles[peer, category] = None
        self._tell(peer, error, proven=proven)

    def stranger(self, origin: str, error: Exception, *, proven: bool = False) -> None:
        """Tell of somebody who called and is no member as far as is known.

        :param origin: where the call came from
        :param proven: as for :meth:`trouble`
        """
        if self._may_tell(origin, _category(error)):
            self._tell(origin, error, proven=proven)

    def over(self, peer: str) -> None:
        """Hear that all is well with ``peer``: the same trouble is worth a line again."""
        for trouble in [trouble for trouble in self._troubles if trouble[0] == peer]:
            del self._troubles[trouble]

    def connected(self, peer: str, *, is_member: bool = True) -> None:
        """Tell that ``peer`` can be reached; of others than members within their 64 lines."""
        # One connection may replace another, and then the log says so already.
        if peer not in self._up and (is_member or self._may_tell(peer, "connected")):
            self._up.add(peer)
            self._log.info("{peer}: connected", peer=_plain(peer))

    def lost(self, peer: str, why: str) -> None:
        """Tell that ``peer`` cannot be reached any more, if it was told that it can."""
        if peer in self._up:
            self._up.remove(peer)
            self._log.info("{peer}: no longer connected: {why}", peer=_plain(peer), why=_plain(why))

    def _tell(self, peer: str, error: Exception, *, proven: bool) -> None:
        level = LogLevel.warn
        if _is_bug(error):
            level = LogLevel.error
        elif proven and _is_alarm(error):
            level = LogLevel.critical  # somebody has to act [R29]
        self._log.emit(level, "{peer}: {what}", peer=_plain(peer), what=_plain(_words(error)))

    def _may_tell(self, origin: str, category: str) -> bool:
        """Whether a line about a stranger is news, and there is room for it."""
        now_s = self._seconds()
        if now_s - self._strangers_since_s >= STRANGERS_S:
            self._strangers_since_s = now_s
            self._strangers.clear()
        told = (origin, category)
        if told in self._strangers or len(self._strangers) > STRANGERS_MAX:
            return False
        self._strangers[told] = None
        if len(self._strangers) > STRANGERS_MAX:
            self._log.warn(
                "strangers at the peer port: {count} lines were written about them, and no more"
                " are within this hour",
                count=STRANGERS_MAX,
            )
            return False
        return True


def _is_alarm(error: Exception) -> bool:
    return isinstance(error, HelloRefused) and (
        error.refusal is Refusal.DUPLICATE or isinstance(error, ClusterClaimed)
    )


def _is_bug(error: Exception) -> bool:
    expected = (RaftDBError, OSError, ConnectError, ConnectionClosed, AmpError)
    return not isinstance(error, expected)


def _category(error: Exception) -> str:
    """Return what counts as the same trouble; the words may differ each time."""
    if isinstance(error, HelloRefused) and type(error) is HelloRefused:
        return "refused" if error.refusal is None else error.refusal.value
    return "bug" if _is_bug(error) else type(error).__name__


def _words(error: Exception) -> str:
    return str(error) or repr(error)


def _plain(text: str) -> str:
    """Return text from who knows where, fit for one line of a log."""
    return "".join(each if each.isprintable() else "?" for each in text[:_TEXT_MAX])
