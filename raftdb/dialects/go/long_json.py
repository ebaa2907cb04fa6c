"""JSON of long values, a piece a turn and one value at a time.

To escape 1.5 MiB takes a tenth of a second and several times the value's memory. Two hundred
clients that ask for it at once must cost neither the event loop nor the memory two hundred times
that at a time.
"""

from __future__ import annotations

from codecs import getincrementaldecoder

from twisted.internet.defer import DeferredLock

from raftdb.dialects.go.go_json import json_string
from raftdb.http.pacing import Pacer

PIECE_BYTES = 64 * 1024

_decoder = getincrementaldecoder("utf-8")


class LongJson:
    """Turns values into JSON strings.

    :param pacer: says when there is time for a piece
    """

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._lock = DeferredLock()

    async def json_string(self, value: bytes) -> bytes:
        """Return ``value`` as a JSON string; bytes that are no UTF-8 become U+FFFD."""
        if len(value) <= PIECE_BYTES:
            return json_string(value.decode("utf-8", "replace"))
        await self._lock.acquire()
        try:
            return await self._in_pieces(value)
        finally:
            self._lock.release()

    async def _in_pieces(self, value: bytes) -> bytes:
        decoder = _decoder("replace")
        pieces = []
        for start in range(0, len(value), PIECE_BYTES):
            # Before anything else: values done at once would be as many nested calls of release(),
            # and two hundred of them one RecursionError that leaves the lock locked for ever.
            await self._pacer.turn()
            end = start + PIECE_BYTES
            text = decoder.decode(value[start:end], final=end >= len(value))
            pieces.append(json_string(text)[1:-1])
        return b'"' + b"".join(pieces) + b'"'
