"""What happened last in a run, kept as values and told in words only when somebody asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from raftdb.raft.types import ConfState, Entry, EntryID, MemberID, SnapshotMetadata

EVENTS_KEPT = 100


class EventLog:
    """The newest events of a run.

    :param seconds: tells the time
    :param kept: how many events are kept, None for all of them
    """

    def __init__(self, seconds: Callable[[], float], *, kept: int | None = EVENTS_KEPT) -> None:
        self._seconds = seconds
        self._events: deque[tuple[float, str, tuple[object, ...]]] = deque(maxlen=kept)
        self._closed = False

    def note(self, what: str, *about: object) -> None:
        """Keep one event."""
        if not self._closed:
            self._events.append((self._seconds(), what, about))

    def close(self) -> None:
        """Keep nothing more: the event that matters has happened."""
        self._closed = True

    @property
    def events(self) -> list[tuple[float, str, tuple[object, ...]]]:
        """What is kept: when, what, about what; the oldest first."""
        return list(self._events)

    def lines(self) -> list[str]:
        """Tell the events, the oldest first."""
        return [
            " ".join((f"{when_s:10.6f}", what, *map(text, about)))
            for when_s, what, about in self._events
        ]


def text(value: object) -> str:
    """Return a short text for a value, the same in every process."""
    match value:
        case bytes():
            return f"{len(value)}B"
        case float():
            return f"{value:.3f}"
        case MemberID():
            return value.id
        case EntryID():
            return f"{value.term}.{value.index}"
        case Entry():
            return text(value.id) + ("" if value.change is None else "!")
        case SnapshotMetadata():
            return text(value.last)
        case ConfState():
            return text(value.voters) + "&" + text(value.voters_outgoing)
        case tuple():
            return f"[{' '.join(map(text, _ends(value)))}]"
        case _ if _is_message(value):
            return _message(value)
        case _:
            return str(value)


def _ends(values: tuple[object, ...]) -> Iterable[object]:
    return values if len(values) <= 4 else (values[0], "..", values[-1])


def _is_message(value: object) -> bool:
    return hasattr(value, "sender") and hasattr(value, "receiver")


def _message(message: object) -> str:
    fields = [
        f"{name}={text(value)}"
        for name in message.__struct_fields__  # type: ignore[attr-defined]  # messages are Structs
        if name not in {"sender", "receiver"}
        if (value := getattr(message, name)) not in (0, (), None, False)
    ]
    sender: MemberID = message.sender  # type: ignore[attr-defined]  # see _is_message
    receiver: MemberID = message.receiver  # type: ignore[attr-defined]  # see _is_message
    return f"{sender.id}->{receiver.id} {type(message).__name__} {' '.join(fields)}"
