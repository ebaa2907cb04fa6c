"""The one table from errors to HTTP statuses; nothing else in raftdb knows both.

Three kinds of answer must never be mixed up: surely not done (4xx, 307, 503), perhaps done (504),
done (2xx). There is no 500: what nobody foresaw is logged, and its outcome is unknown.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.errors import (
    Compacted,
    CompareFailed,
    ConfChangeError,
    IdempotencyMismatch,
    InvalidRequest,
    JoinRefused,
    KeyNotFound,
    LeadershipLost,
    MembershipBusy,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalDropped,
    RaftDBError,
    Refused,
    ShuttingDown,
    Timeout,
    TooLarge,
)
from raftdb.http.messages import Request, Response, error_answer
from raftdb.http.targets import percent_escape_non_ascii

__all__ = ["TABLE", "Row", "answer_error", "location", "row_of"]

_log = Logger()


class Row(NamedTuple):
    """What one error becomes.

    :param status: the HTTP status
    :param code: the stable name in the body and in ``Raftdb-Error``
    :param retry: whether to say Retry-After: it passes by itself
    """

    status: int
    code: str
    retry: bool = False


TABLE: tuple[tuple[type[Exception], Row], ...] = (
    # the more special error stands before the more general one
    (NotLeader, Row(503, "not_leader", retry=True)),  # 307 where the leader's address is known
    (NoLeader, Row(503, "no_leader", retry=True)),
    (ProposalDropped, Row(503, "proposal_dropped", retry=True)),
    (Overloaded, Row(503, "overloaded", retry=True)),
    (ShuttingDown, Row(503, "shutting_down", retry=True)),
    (TooLarge, Row(413, "too_large")),
    (InvalidRequest, Row(400, "invalid_request")),
    (KeyNotFound, Row(404, "key_not_found")),
    (CompareFailed, Row(409, "compare_failed")),
    (IdempotencyMismatch, Row(409, "idempotency_mismatch")),
    (JoinRefused, Row(403, "join_refused")),
    (MembershipBusy, Row(503, "membership_busy", retry=True)),
    (ConfChangeError, Row(409, "membership_change_refused")),
    (Refused, Row(503, "refused", retry=True)),
    (Compacted, Row(410, "compacted")),
    (LeadershipLost, Row(504, "leadership_lost")),
    (Timeout, Row(504, "timeout")),
    (OutcomeUnknown, Row(504, "outcome_unknown")),
    (RaftDBError, Row(504, "failed")),
)
_BUG = Row(504, "internal")
_RETRY_AFTER = ((b"Retry-After", b"1"),)


def row_of(error: BaseException) -> Row:
    """Return the table's row for ``error``; what is in no row is a bug and may have happened."""
    return next((row for kind, row in TABLE if isinstance(error, kind)), _BUG)


def location(leader: NotLeader, asked: Request) -> bytes:
    """Return where the leader answers the same request: same scheme, raw path and raw query."""
    scheme = b"https://" if asked.secure else b"http://"
    return percent_escape_non_ascii(scheme + leader.http_address.encode() + asked.target)


def answer_error(error: Exception, asked: Request) -> Response:
    """Answer a request that failed with ``error``."""
    row = row_of(error)
    if row is _BUG:
        _log.failure("a request failed in a way nobody foresaw", Failure(error))
        return error_answer(
            row.status, row.code, "this should not happen; the node's log says more"
        )
    if isinstance(error, NotLeader) and error.http_address:
        return error_answer(307, row.code, str(error), ((b"Location", location(error, asked)),))
    return error_answer(row.status, row.code, str(error), _RETRY_AFTER if row.retry else ())
