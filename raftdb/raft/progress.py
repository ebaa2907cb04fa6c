"""What a leader knows about one member's log, and how much it may send there.

A state machine of three states, free of the log and of messages: the leader tells it what was sent
and what was answered, and asks it what may be sent next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import assert_never


class ProgressState(Enum):
    """How the leader sends to a member.

    PROBE: where the logs agree is a guess; one append at a time, then wait for an answer.
    REPLICATE: the logs agree up to ``match``; appends are sent ahead of their answers.
    SNAPSHOT: a snapshot is under way; no appends.
    """

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Inflights:
    """The window of appends sent and not yet answered, in messages and in bytes.

    Invariant: indexes grow strictly; ``bytes`` is the sum over the window.

    :param messages_max: the window's length, 1 or more
    :param bytes_max: full at this many bytes; the append that reaches it may go beyond
    """

    __slots__ = ("_bytes_max", "_messages_max", "_window", "bytes")

    def __init__(self, *, messages_max: int, bytes_max: int) -> None:
        assert messages_max >= 1
        assert bytes_max >= 1
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._window: deque[tuple[int, int]] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._window)

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent before an answer comes."""
        return len(self._window) >= self._messages_max or self.bytes >= self._bytes_max

    def add(self, *, last_index: int, bytes_count: int) -> None:
        """Note an append that was sent, whose last entry is at ``last_index``."""
        assert not self.full, "an append was sent into a full window"
        assert not self._window or self._window[-1][0] < last_index, "appends go in order"
        self._window.append((last_index, bytes_count))
        self.bytes += bytes_count

    def free_to(self, index: int) -> None:
        """Drop all appends that end at or before ``index``: they are answered."""
        window = self._window
        while window and window[0][0] <= index:
            self.bytes -= window.popleft()[1]

    def clear(self) -> None:
        """Forget the window: none of it is waited for any more."""
        self._window.clear()
        self.bytes = 0


@dataclass(slots=True, kw_only=True)
class Progress:
    """A member as the leader sees it (Paper Fig. 2: nextIndex, matchIndex).

    :param match: the highest index known to be durable there and equal to the leader's log.
        Invariant: ``0 <= match < next``; never falls within a term
    :param next: the next index to send; in REPLICATE all of ``(match, next)`` is in flight.
        Invariant: in SNAPSHOT, ``next > pending_snapshot``
    :param inflights: invariant: empty unless REPLICATE
    :param is_learner: whether it counts for no majority
    :param state: how to send
    :param pending_snapshot: the index of the snapshot under way. Invariant: 0 unless SNAPSHOT
    :param recent_active: whether anything was heard from it since CheckQuorum last looked
    :param full: whether it said that it has no room for entries [R6]
    :param stuck: whether a snapshot did not arrive there, and nothing since [R6]
    :param gained: whether anything was learned of its log since entries got to a quorum last [R6]
    :param msg_app_flow_paused: no append before an answer, or before a heartbeat's answer shows
        that the member lives and that the append was probably lost
    :param sent_commit: how far the member will have committed if nothing sent was lost.
        Invariant: ``sent_commit < next``
    :param stalled_at: ``match`` when it last answered a heartbeat in REPLICATE with appends in
        flight, else None
    """

    match: int = 0
    next: int
    inflights: Inflights
    is_learner: bool = False
    state: ProgressState = ProgressState.PROBE
    pending_snapshot: int = 0
    recent_active: bool = False
    full: bool = False
    stuck: bool = False
    gained: bool = False
    msg_app_flow_paused: bool = False
    sent_commit: int = 0
    stalled_at: int | None = None

    def __post_init__(self) -> None:
        """Check what must hold from the start."""
        assert 0 <= self.match < self.next

    @property
    def is_paused(self) -> bool:
        """Whether no append may be sent now; one that may must be empty if ``inflights.full``."""
        return self.msg_app_flow_paused or self.state is ProgressState.SNAPSHOT

    def is_reached(self, last_index: int) -> bool:
        """Whether entries get to it, as far as is known: they do, or there is none to send [R6].

        One without room has been reached, and says so. A snapshot may take its time, the first time.
        """
        return (
            self.gained
            or self.full
            or self.match >= last_index
            or (self.state is ProgressState.SNAPSHOT and not self.stuck)
        )

    @property
    def stores(self) -> bool:
        """Whether nothing is known that keeps it from storing entries [R6]."""
        return not (self.full or self.stuck)

    # -- transitions between the states --

    def become_probe(self) -> None:
        """Doubt where the logs agree: probe from ``match``, or from the snapshot just delivered."""
        delivered = self.pending_snapshot
        self._enter(ProgressState.PROBE)
        self._rewind(max(self.match, delivered) + 1)

    def become_replicate(self) -> None:
        """Trust that the logs agree up to ``match``: send ahead from there."""
        self._enter(ProgressState.REPLICATE)
        self._rewind(self.match + 1)

    def become_snapshot(self, index: int) -> None:
        """Stop appends while a snapshot that ends at ``index`` is under way.

        :param index: ``match < index``, otherwise entries would do
        """
        assert index > self.match, (index, self.match)
        self._enter(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def snapshot_failed(self) -> None:
        """Probe from ``match`` again: the snapshot under way did not arrive."""
        assert self.state is ProgressState.SNAPSHOT
        self.pending_snapshot = 0
        self.stuck = True
        self.become_probe()

    def _enter(self, state: ProgressState) -> None:
        self.state = state
        self.pending_snapshot = 0
        self.msg_app_flow_paused = False
        self.stalled_at = None
        self.inflights.clear()

    def _rewind(self, next_index: int) -> None:
        """Take back what was sent beyond ``next_index``, commit indexes included."""
        self.next = next_index
        self.sent_commit = min(self.sent_commit, next_index - 1)

    # -- what was sent --

    def sent_entries(self, *, count: int, bytes_count: int, commit: int) -> None:
        """Note an append that goes out with ``previous.index == next - 1``.

        :param count: of its entries, 0 or more
        :param bytes_count: of its entries
        :param commit: the commit index it carries
        """
        match self.state:
            case ProgressState.REPLICATE:
                if count:
                    self.next += count
                    self.inflights.add(last_index=self.next - 1, bytes_count=bytes_count)
                self.msg_app_flow_paused = self.inflights.full
                self.sent_commit = max(self.sent_commit, min(commit, self.next - 1))
            case ProgressState.PROBE:
                # A probe may be rejected, so it brings no news of the commit for certain.
                self.msg_app_flow_paused = True
            case ProgressState.SNAPSHOT:
                raise AssertionError("an append was sent while a snapshot is under way")
            case _:
                assert_never(self.state)

    def can_bump_commit(self, commit: int) -> bool:
        """Whether an append without entries, ``previous.index == match``, moves its commit.

        Such an append names ``match`` rather than ``next - 1``: it travels apart from the appends
        with entries, overtakes them, and would be rejected if it stood on one still on its way.
        """
        return min(commit, self.match) > self.sent_commit

    def sent_commit_only(self, commit: int) -> None:
        """Note that such an append, or a heartbeat with this commit, was sent."""
        self.sent_commit = max(self.sent_commit, min(commit, self.match))

    # -- what was answered --

    def maybe_update(self, index: int) -> bool:
        """Note that everything up to ``index`` is durable there; return whether that is news.

        Frees the window up to ``index``; the window's fullness is looked at anew.
        """
        self.inflights.free_to(index)
        if index <= self.match:
            return False
        self.match = index
        self.stuck = False
        self.gained = True
        self.next = max(self.next, index + 1)
        # An answer may end within an append (another leader's was as long): the window stays full.
        self.msg_app_flow_paused = self.inflights.full
        return True

    def maybe_decr_to(self, *, rejected: int, hint: int) -> bool:
        """Note a rejection; return False where it is stale and changes nothing.

        In REPLICATE the caller goes on with :meth:`become_probe`.

        :param rejected: ``previous.index`` of the append that was rejected
        :param hint: an index where the logs may agree, from the follower's hint
        """
        if self.state is ProgressState.REPLICATE:
            # What matched once matches for ever: a rejection at or below it was overtaken.
            if rejected <= self.match:
                return False
            self._rewind(self.match + 1)
            return True
        # Probes go one at a time; an answer to another one than the last was overtaken. In
        # SNAPSHOT it answers an append from before.
        if self.state is ProgressState.SNAPSHOT or rejected != self.next - 1:
            return False
        self._rewind(max(min(rejected, hint + 1), self.match + 1))
        self.gained |= self.next <= rejected
        self.msg_app_flow_paused = False
        return True

    def heartbeat_answered(self) -> bool:
        """Note that the member lives; return whether to send an append now, even an empty one.

        In PROBE the last probe may have been lost. In REPLICATE an append may have been lost if a
        whole heartbeat interval freed nothing: an empty append at ``next - 1`` finds out, and goes
        past a full window. Not sooner, because it would overtake appends that are still on their
        way on the connection for entries, and its rejection would send them all again.
        """
        match self.state:
            case ProgressState.PROBE:
                self.msg_app_flow_paused = False
                return True
            case ProgressState.REPLICATE:
                # What was in flight at match still is, as long as match has not moved.
                stalled = self.stalled_at == self.match
                self.stalled_at = self.match if self.inflights else None
                if stalled:
                    self.msg_app_flow_paused = False
                return stalled
            case ProgressState.SNAPSHOT:
                return False
            case _:
                assert_never(self.state)
