"""The data of a log entry for any command: which part it is for follows from its type."""

from __future__ import annotations

from typing import TypeAlias, get_args

from raftdb.state.envelope import encode_envelope
from raftdb.state.hash_check import StateHash
from raftdb.state.kv import commands as kv
from raftdb.state.members import commands as members
from raftdb.state.registry import COMPARING, KV, MEMBERS, REQUESTS, Kind
from raftdb.state.requests import RequestID, RequestsCommand

__all__ = ["Command", "encode_entry"]

Command: TypeAlias = kv.Command | members.MembersCommand | RequestsCommand | StateHash
"""Everything that may be replicated as a normal entry."""

_KINDS: dict[type[object], Kind] = {
    **dict.fromkeys(get_args(kv.Command), KV),
    **dict.fromkeys(get_args(members.MembersCommand), MEMBERS),
    RequestsCommand: REQUESTS,
    StateHash: COMPARING,
}


def encode_entry(command: Command, *, wall_ms: int, request: RequestID | None = None) -> bytes:
    """Return the data of a normal log entry.

    :param wall_ms: the proposer's wall clock, in ms since 1970
    :param request: the name of a request that must happen exactly once
    """
    kind = _KINDS[type(command)]
    assert request is None or kind.results is not None, "such a command has no name"
    return encode_envelope(
        kind.number, kind.commands.encode(command), wall_ms=wall_ms, request=request
    )
