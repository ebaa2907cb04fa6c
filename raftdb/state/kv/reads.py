"""The reads of the key-value store, as values: what is asked, and how the store answers it."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from raftdb.state.kv.store import KeyValueStore
from raftdb.state.kv.values import KeyValue, RangePage

__all__ = ["Get", "Range", "Read"]

AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Read(Protocol[AnswerT_co]):
    """Something that can be asked of the store."""

    def answer(self, store: KeyValueStore, /) -> AnswerT_co:
        """Return the answer, from the store as it stands.

        :raises RaftDBError: where there is none
        """


class Get(msgspec.Struct, frozen=True, gc=False):
    """One key; the answer is None where it does not exist.

    :param revision: read it as it was then; now if None
    """

    key: bytes
    revision: int | None = None

    def answer(self, store: KeyValueStore, /) -> KeyValue | None:
        """Return the key.

        :raises Compacted: where the revision is no longer kept
        :raises InvalidRequest: where it is still to come
        """
        return store.get(self.key, self.revision)


class Range(msgspec.Struct, frozen=True, gc=False):
    """A page of the keys in ``[start, end)``; an empty ``end`` means: to the end.

    :param revision: read it as it was then; now if None
    :param limit: of keys, ``1 <= limit <= 10_000``
    """

    start: bytes
    end: bytes = b""
    revision: int | None = None
    limit: int = 1_000

    def answer(self, store: KeyValueStore, /) -> RangePage:
        """Return the page.

        :raises Compacted: where the revision is no longer kept
        :raises InvalidRequest: where it is still to come, or the limit is out of range
        """
        return store.range(self.start, self.end, revision=self.revision, limit=self.limit)
