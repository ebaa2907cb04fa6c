"""What an answer says about the operation: done, surely not done, or nobody knows."""

from __future__ import annotations

import msgspec

from raftdb.client.exchange import Reply
from raftdb.errors import (
    Compacted,
    CompareFailed,
    ConfChangeError,
    InvalidRequest,
    JoinRefused,
    KeyNotFound,
    LeadershipLost,
    MembershipBusy,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalDropped,
    RaftDBError,
    Refused,
    ShuttingDown,
    Timeout,
    TooLarge,
)

__all__ = ["PASSES_BY_ITSELF", "error_of"]

PASSES_BY_ITSELF: dict[str, type[Refused]] = {
    "not_leader": NoLeader,
    "no_leader": NoLeader,
    "membership_busy": MembershipBusy,
    "proposal_dropped": ProposalDropped,
    "overloaded": Overloaded,
    "request_timeout": Overloaded,
    "shutting_down": ShuttingDown,
    "refused": Refused,
    "starting": NoLeader,
}
"""Named reasons after which the operation surely did not happen and may be tried again."""

_FINAL: dict[str, type[RaftDBError]] = {
    "compacted": Compacted,
    "compare_failed": CompareFailed,
    "invalid_request": InvalidRequest,
    "join_refused": JoinRefused,
    "leadership_lost": LeadershipLost,
    "malformed_request": InvalidRequest,
    "membership_change_refused": ConfChangeError,
    "method_not_allowed": InvalidRequest,
    "not_found": InvalidRequest,
    "timeout": Timeout,
    "too_large": TooLarge,
}


class _Error(msgspec.Struct):
    message: str


class _Body(msgspec.Struct):
    error: _Error


def error_of(reply: Reply) -> RaftDBError:
    """Return the error that an answer other than 2xx stands for.

    What is not named by raftdb comes from something in between, and its outcome is unknown unless
    the status says that the request itself was wrong.
    """
    text = f"{reply.origin} answered {reply.status}: {_message(reply.body)}"
    if reply.error == "key_not_found":
        return KeyNotFound(b"")
    kind = PASSES_BY_ITSELF.get(reply.error) or _FINAL.get(reply.error)
    if kind is None:
        kind = Refused if 400 <= reply.status < 500 and reply.error else OutcomeUnknown
    return kind(text)


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Body).error.message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body[:300].decode("utf-8", "replace").strip() or "nothing"
