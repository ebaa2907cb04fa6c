"""What every part of the replicated state is to the whole: one protocol, so that parts can be added.

A part is a deterministic function of the log. It reads no clock, draws nothing at random, and knows
no other part. :mod:`raftdb.state.registry` lists the parts there are.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol, TypeAlias, TypeVar

import msgspec

__all__ = ["Applied", "Changes", "Context", "Part", "PartRestorer"]

CommandT_contra = TypeVar("CommandT_contra", contravariant=True)
PartT_co = TypeVar("PartT_co", covariant=True)

Changes: TypeAlias = Sequence[bytes]
"""What applying a command changed, in order, in the part's own bytes; empty for nothing."""


class Context(msgspec.Struct, frozen=True, gc=False):
    """What applying may know besides the state and the command.

    :param index: of the entry
    :param time_ms: the replicated clock, in ms since 1970; it never goes back
    """

    index: int
    time_ms: int


class Applied(Protocol[CommandT_contra]):
    """Something that commands are applied to."""

    def apply(self, context: Context, command: CommandT_contra) -> tuple[object, Changes]:
        """Apply one command; return the result for the proposer, and what changed.

        A command that is refused returns an instance of RaftDBError and changes nothing.
        """


class Part(Applied[CommandT_contra], Protocol[CommandT_contra]):
    """One part of the replicated state: it is hashed, and written into snapshots."""

    @property
    def digest(self) -> bytes:
        """What the state hash covers of this part: equal states give equal bytes, at any length."""

    def pieces(self) -> Generator[bytes, None, None]:
        """Pin the part as it is now, and return its bytes in pieces of bounded work, <= 60 KiB.

        Applying goes on between pieces; closing the generator lets go of the pin.
        """


class PartRestorer(Protocol[PartT_co]):
    """A part being read back from the pieces of a snapshot."""

    def feed(self, piece: bytes) -> None:
        """Take the next piece; work is bounded by its length.

        :raises RemoteProtocolError, Corrupt: where it is not what the part's section holds
        """

    def finish(self) -> PartT_co:
        """Return the part.

        :raises RemoteProtocolError, Corrupt: where the section is cut off or contradicts itself
        """
