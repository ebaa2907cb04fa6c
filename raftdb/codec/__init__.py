"""The only place that turns entries and messages into bytes, and back; pure.

House rules: every encoding is laid out by hand, big-endian, and has exactly one form, so that equal
values are equal bytes; everything top-level begins with a byte that names its version; nothing is
guessed. ``encode_*`` raise :class:`~raftdb.errors.LocalProtocolError` for a value that has no
encoding. ``decode_*`` take any bytes and either return a value that keeps the promises of its class
or raise :class:`~raftdb.errors.RemoteProtocolError` that names what is wrong, in time and memory
proportional to the input. ``docs/protocol.md`` gives the layouts.
"""

from __future__ import annotations

from raftdb.codec.entries import (
    decode_conf_change,
    decode_entries,
    decode_entry,
    encode_conf_change,
    encode_entries,
    encode_entry,
)
from raftdb.codec.messages import (
    decode_message,
    decode_messages,
    encode_message,
    encode_messages,
)
from raftdb.codec.reader import INDEX_MAX, MEMBER_ID_BYTES_MAX
from raftdb.codec.states import (
    decode_conf_state,
    decode_hard_state,
    decode_member_id,
    decode_snapshot_metadata,
    encode_conf_state,
    encode_hard_state,
    encode_member_id,
    encode_snapshot_metadata,
)

__all__ = [
    "INDEX_MAX",
    "MEMBER_ID_BYTES_MAX",
    "decode_conf_change",
    "decode_conf_state",
    "decode_entries",
    "decode_entry",
    "decode_hard_state",
    "decode_member_id",
    "decode_message",
    "decode_messages",
    "decode_snapshot_metadata",
    "encode_conf_change",
    "encode_conf_state",
    "encode_entries",
    "encode_entry",
    "encode_hard_state",
    "encode_member_id",
    "encode_message",
    "encode_messages",
    "encode_snapshot_metadata",
]
