"""What the log tells of a node's life: the core's transitions as lines that people know.

The words are those of the program that raftdb's users come from: entering follower, candidate,
leader state; votes needed, granted, tally; election won.
"""

from __future__ import annotations

from typing import cast

from twisted.logger import Logger, LogLevel

from raftdb.raft.types import ConfState, MemberIDs

_LINES: dict[str, tuple[LogLevel, str]] = {
    "follower": (LogLevel.info, "entering follower state: term={term} leader={leader}"),
    "following": (LogLevel.info, "following: term={term} leader={leader}"),
    "pre-candidate": (
        LogLevel.info,
        "heartbeat timeout reached, asking who would vote for this node: term={term}",
    ),
    "candidate": (LogLevel.info, "entering candidate state: term={term}"),
    "campaign": (LogLevel.info, "votes: needed={needed} term={term}"),
    "vote": (LogLevel.info, "vote of {voter}: term={term} tally={granted} rejected={rejected}"),
    "voted": (
        LogLevel.info,
        "asked for a vote: term={term} candidate={candidate} granted={granted}",
    ),
    "leader": (LogLevel.info, "election won: term={term}; entering leader state"),
    "stepped down": (LogLevel.warn, "stepped down: {reason}, term={term}"),
    "forgot leader": (LogLevel.info, "the leader is gone: term={term} leader={leader}"),
    "transfer": (LogLevel.info, "handing leadership over: to={to} term={term}"),
    "transfer aborted": (LogLevel.info, "handing over to {to} was given up: {reason}"),
    "snapshot": (LogLevel.info, "installing a snapshot: index={index}"),
    "snapshot sent": (LogLevel.info, "sending a snapshot: to={to} index={index}"),
}

_REPEATED = frozenset({"pre-candidate", "vote", "follower", "campaign refused", "voted"})
"""Events that a node without a quorum repeats with every attempt; told once until others come."""


class Journal:
    """Writes transitions to the log; give :meth:`trace` to the core."""

    _log = Logger()

    def __init__(self) -> None:
        self._told: dict[str, dict[str, object]] = {}

    def trace(self, event: str, fields: dict[str, object]) -> None:
        """Tell one transition."""
        if event == "configuration":
            self.configuration(cast("ConfState", fields["conf_state"]))
            return
        if event in _REPEATED:
            if self._told.get(event) == fields:
                return
            self._told[event] = fields
        else:
            self._told.clear()
        level, line = _LINES.get(event, (LogLevel.debug, "{event}: {told}"))
        self._log.emit(level, line, event=event, told=_Told(fields), **fields)

    def configuration(self, conf_state: ConfState, *, initial: bool = False) -> None:
        """Tell who takes part."""
        self._log.info(
            "{which} configuration: voters={voters} learners={learners}{joint}",
            which="initial" if initial else "new",
            voters=_names(conf_state.voters),
            learners=_names((*conf_state.learners, *conf_state.learners_next)),
            joint=f" and until left voters={_names(conf_state.voters_outgoing)}"
            if conf_state.is_joint
            else "",
        )


class _Told:
    """Fields as text, made only where a line is written: who it is about, then what is to say."""

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        named = (f"{name}={value}" for name, value in self._fields.items() if name != "id")
        return " ".join((str(self._fields["id"]), *named))


def _names(members: MemberIDs) -> str:
    return f"[{' '.join(map(str, members))}]"
