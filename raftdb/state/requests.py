"""Requests that happen exactly once: answers that are remembered for a repeat (RIFL, SOSP 2015).

A request is named in one of two ways. A client library names its requests itself: client, sequence,
and the lowest sequence to which it has no answer yet, so that many may be under way and nothing has to
be registered. A person with curl gives a key. A repeat within the promised time gets the remembered
answer; the same name with another command is refused. Refusals are not remembered: a repeat of one is
tried again.

Nothing that is promised is forgotten: where the table is full, requests under new names are refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator
from typing import NamedTuple, TypeAlias

import msgspec

from raftdb.errors import (
    IdempotencyMismatch,
    InvalidRequest,
    Overloaded,
    RaftDBError,
    RemoteProtocolError,
)
from raftdb.state.digest import DIGEST_MASK, digest
from raftdb.state.frames import RecordStream, packed
from raftdb.state.part import Changes, Context
from raftdb.state.wire import Codec

__all__ = [
    "COMMANDS",
    "REQUEST_IDS",
    "ClientRequest",
    "KeyedRequest",
    "RequestID",
    "RequestTable",
    "RequestsCommand",
    "SetPromise",
]

CLIENT_BYTES_MAX = 64
KEY_BYTES_MAX = 128
ANSWERS_MAX = 100_000
ANSWER_BYTES_MAX = 32 * 1024 * 1024
ANSWER_OVERHEAD_BYTES = 256
"""What one name and its answer take besides their bytes."""

PROMISE_MS = 600_000
PROMISE_MS_MAX = 7 * 24 * 3_600_000
CLIENT_ANSWERS_MAX = 1_000
"""Answers of one client that it has not let go of; beyond it, a further request is refused."""

EXPIRED_AT_ONCE = 64
"""How many names one entry forgets at most, so that no single entry takes long."""


class ClientRequest(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=1
):
    """A request as a client library names it.

    :param client: 1 to 64 bytes, drawn at random by the client
    :param sequence: of this request, from 1 on; a client never uses one twice
    :param lowest: the lowest sequence to which the client has no answer yet; answers below it are
        forgotten
    """

    client: bytes
    sequence: int
    lowest: int

    def __post_init__(self) -> None:
        """Refuse what is no name."""
        if not 1 <= len(self.client) <= CLIENT_BYTES_MAX:
            raise InvalidRequest(f"a client's id has 1 to {CLIENT_BYTES_MAX} bytes")
        if not 1 <= self.lowest <= self.sequence < 2**63:
            raise InvalidRequest(
                "a request's sequence is at least the lowest one without an answer, which is at"
                f" least 1: not {self.sequence} and {self.lowest}"
            )


class KeyedRequest(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=2
):
    """A request as a person names it.

    :param key: 1 to 128 bytes
    """

    key: bytes

    def __post_init__(self) -> None:
        """Refuse what is no name."""
        if not 1 <= len(self.key) <= KEY_BYTES_MAX:
            raise InvalidRequest(f"an idempotency key has 1 to {KEY_BYTES_MAX} bytes")


RequestID: TypeAlias = ClientRequest | KeyedRequest

REQUEST_IDS: Codec[RequestID] = Codec(RequestID, "the name of a request")
"""The bytes of a name in an envelope."""


class SetPromise(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=1
):
    """Remember answers for so long after their last use.

    :param promise_ms: at most a week
    """

    promise_ms: int

    def __post_init__(self) -> None:
        """Refuse what the table does not take."""
        if not 1 <= self.promise_ms <= PROMISE_MS_MAX:
            raise InvalidRequest(
                f"answers are remembered for 1 to {PROMISE_MS_MAX} ms, not {self.promise_ms}"
            )


RequestsCommand: TypeAlias = SetPromise

COMMANDS: Codec[RequestsCommand] = Codec(RequestsCommand, "a requests command")
"""Their bytes."""


class _Settings(msgspec.Struct, frozen=True, array_like=True, tag=1):
    promise_ms: int


class _NameRecord(msgspec.Struct, frozen=True, array_like=True, tag=2):
    keyed: bool
    name: bytes
    used_ms: int
    lowest: int


class _AnswerRecord(msgspec.Struct, frozen=True, array_like=True, tag=3):
    keyed: bool
    name: bytes
    sequence: int
    fingerprint: bytes
    result: bytes


_RECORDS: Codec[_Settings | _NameRecord | _AnswerRecord] = Codec(
    _Settings | _NameRecord | _AnswerRecord, "a record of requests"
)

_Key: TypeAlias = tuple[bool, bytes]
"""Whether it is a person's key, and the client or the key: what a name is found by."""


class _Answer(NamedTuple):
    fingerprint: bytes
    result: bytes
    hashed: int


class _Name(msgspec.Struct):
    """What is remembered under one name: a client's requests, or the one request of a key.

    :param used_ms: the replicated time of the last use; names are kept in its order
    :param lowest: of a client; 0 for a key
    :param hashed: of all that but the answers
    """

    used_ms: int
    lowest: int
    hashed: int
    answers: dict[int, _Answer]


class RequestTable:
    """The answers remembered, under names in the order of their last use.

    Invariants: at most ``ANSWERS_MAX`` answers, counting at most ``ANSWER_BYTES_MAX`` and what the
    newest adds; no answer of a client below its ``lowest``.
    """

    def __init__(self) -> None:
        self.promise_ms = PROMISE_MS
        self._names: OrderedDict[_Key, _Name] = OrderedDict()
        self._sum = 0
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        """How many answers are remembered."""
        return self._count

    @property
    def digest(self) -> bytes:
        """The promise, and the sum modulo 2**128 of the hashes of all names and answers."""
        return self.promise_ms.to_bytes(8, "big") + (self._sum & DIGEST_MASK).to_bytes(16, "big")

    def apply(self, context: Context, command: RequestsCommand) -> tuple[object, Changes]:
        """Set how long answers are remembered."""
        self.promise_ms = command.promise_ms
        self._expire(context.time_ms)
        return None, ()

    def find(
        self, context: Context, request: RequestID, fingerprint: bytes
    ) -> bytes | RaftDBError | None:
        """Return what is known of a request before its command is applied.

        :returns: the bytes of the remembered answer; a refusal; or None: apply the command, and
            then call :meth:`remember`
        """
        self._expire(context.time_ms)
        key, sequence, _ = _parts(request)
        name = self._names.get(key)
        if name is None:
            return self._no_room()
        if sequence < name.lowest:
            return InvalidRequest(
                f"request {sequence} of this client was answered, and the answer was let go of"
            )
        answer = name.answers.get(sequence)
        if answer is None:
            return self._no_room(of_client=len(name.answers))
        if answer.fingerprint != fingerprint:
            return IdempotencyMismatch(
                "another request was sent under this name before; a new request needs a new name"
            )
        self._use(key, name, context.time_ms, name.lowest)
        return answer.result

    def remember(
        self, context: Context, request: RequestID, fingerprint: bytes, result: bytes
    ) -> None:
        """Keep the answer to a request that was applied just now."""
        key, sequence, lowest = _parts(request)
        name = self._names.get(key)
        if name is None:
            name = _Name(context.time_ms, 0, 0, {})
            self._bytes += len(key[1]) + ANSWER_OVERHEAD_BYTES
        self._use(key, name, context.time_ms, max(lowest, name.lowest))
        self._keep(key, name, sequence, fingerprint, result)

    def _use(self, key: _Key, name: _Name, used_ms: int, lowest: int) -> None:
        """Move a name to the end, and let go of the answers that its client has."""
        if lowest > name.lowest:
            for number in [number for number in name.answers if number < lowest]:
                self._let_go(name.answers.pop(number))
        name.used_ms, name.lowest = used_ms, lowest
        hashed = digest(_RECORDS.encode(_NameRecord(*key, used_ms, lowest)))
        self._sum += hashed - name.hashed
        name.hashed = hashed
        self._names[key] = name
        self._names.move_to_end(key)

    def _keep(
        self, key: _Key, name: _Name, sequence: int, fingerprint: bytes, result: bytes
    ) -> None:
        record = _AnswerRecord(*key, sequence, fingerprint, result)
        answer = _Answer(fingerprint, result, digest(_RECORDS.encode(record)))
        name.answers[sequence] = answer
        self._sum += answer.hashed
        self._count += 1
        self._bytes += len(result) + ANSWER_OVERHEAD_BYTES

    def _let_go(self, answer: _Answer) -> None:
        self._sum -= answer.hashed
        self._count -= 1
        self._bytes -= len(answer.result) + ANSWER_OVERHEAD_BYTES

    def _no_room(self, *, of_client: int = 0) -> RaftDBError | None:
        if of_client >= CLIENT_ANSWERS_MAX:
            return Overloaded(
                f"{of_client} answers of this client are remembered, the most there may be; it lets"
                " go of those it has by its lowest sequence without an answer"
            )
        if self._count < ANSWERS_MAX and self._bytes < ANSWER_BYTES_MAX:
            return None
        return Overloaded(
            f"the answers to {self._count} requests are remembered, the most there may be; a request"
            " that need not happen exactly once is still taken"
        )

    def _expire(self, time_ms: int) -> None:
        for _ in range(EXPIRED_AT_ONCE):
            key = next(iter(self._names), None)
            if key is None or self._names[key].used_ms + self.promise_ms > time_ms:
                return
            name = self._names.pop(key)
            self._sum -= name.hashed
            self._bytes -= len(key[1]) + ANSWER_OVERHEAD_BYTES
            for answer in name.answers.values():
                self._let_go(answer)

    def pieces(self) -> Generator[bytes, None, None]:
        """Copy the table, and return its bytes, the name used longest ago first."""
        names = [
            (_NameRecord(*key, name.used_ms, name.lowest), dict(name.answers))
            for key, name in self._names.items()
        ]
        settings = _Settings(self.promise_ms)

        def records() -> Iterator[bytes]:
            yield _RECORDS.encode(settings)
            for name, answers in names:
                yield _RECORDS.encode(name)
                for number, one in answers.items():
                    record = _AnswerRecord(
                        name.keyed, name.name, number, one.fingerprint, one.result
                    )
                    yield _RECORDS.encode(record)

        return packed(records())

    def load(self, record: bytes) -> None:
        """Take one of the records in :meth:`pieces`, in their order.

        :raises RemoteProtocolError: where it is none
        """
        match _RECORDS.decode(record):
            case _Settings(promise_ms=promise_ms):
                self.promise_ms = promise_ms
            case _NameRecord(keyed=keyed, name=name, used_ms=used_ms, lowest=lowest):
                self._bytes += len(name) + ANSWER_OVERHEAD_BYTES
                self._use((keyed, name), _Name(used_ms, lowest, 0, {}), used_ms, lowest)
            case _AnswerRecord() as one:
                key = (one.keyed, one.name)
                known = self._names.get(key)
                if known is None:
                    raise RemoteProtocolError("an answer without its name")
                self._keep(key, known, one.sequence, one.fingerprint, one.result)


class RequestsRestorer:
    """A table being read back."""

    def __init__(self) -> None:
        self._table = RequestTable()
        self._stream = RecordStream(self._table.load)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the section."""
        self._stream.feed(piece)

    def finish(self) -> RequestTable:
        """Return the table.

        :raises RemoteProtocolError: where the section is cut off
        """
        self._stream.finish()
        return self._table


def _parts(request: RequestID) -> tuple[_Key, int, int]:
    if isinstance(request, ClientRequest):
        return (False, request.client), request.sequence, request.lowest
    return (True, request.key), 0, 0
