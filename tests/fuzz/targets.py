"""What is fuzzed: one function per parser, from any bytes to nothing, or an exception that is a bug.

Each is given the bytes a stranger, a disk or a newer version could send, and knows what may come of
them: a value with exactly one encoding, or the one error that is documented. ``make fuzz`` lets
atheris look for bytes that end otherwise; ``make test`` tries the examples below and what it finds in ``kept``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from raftdb import codec
from raftdb.errors import Corrupt, InvalidRequest, RemoteProtocolError, StorageError
from raftdb.http.limits import Limits
from raftdb.membership.wire import decode_join_answer, decode_join_request
from raftdb.raft.messages import AppendEntries, Heartbeat
from raftdb.raft.types import Entry, EntryID, MemberID
from raftdb.simulation.disk.lossy_disk import LossyDisk
from raftdb.simulation.disk.storage_fixture import (
    IDENTITY,
    StorageFixture,
    entries_of,
    fill_log,
    save,
)
from raftdb.state import KeyedRequest, Local, ReplicatedState, UnknownCommand, encode_entry
from raftdb.state.envelope import decode_envelope
from raftdb.state.hash_check import COMMANDS as HASH_COMMANDS
from raftdb.state.kv.commands import COMMANDS as KV_COMMANDS
from raftdb.state.kv.commands import (
    Absent,
    CompareAndSwap,
    Delete,
    Put,
)
from raftdb.state.kv.values import RESULTS, decode_version
from raftdb.state.members import InitCluster
from raftdb.state.members.commands import COMMANDS as MEMBERS_COMMANDS
from raftdb.state.members.records import decode_context
from raftdb.state.requests import COMMANDS as REQUESTS_COMMANDS
from raftdb.state.requests import REQUEST_IDS, SetPromise
from raftdb.storage.recovery import read_log
from tests.http.conftest import Served
from tests.http.test_http_fuzz import settle, sorted_heads
from tests.peer.conftest import Caller, Town

KEPT = Path(__file__).with_name("kept")
"""Bytes that found a bug once, one directory per target."""

A = MemberID("a", 1)
B = MemberID("b", 2)


class Target(NamedTuple):
    """One parser under attack.

    :param run: takes any bytes; an exception is a bug
    :param examples: bytes from which the search begins
    """

    run: Callable[[bytes], None]
    examples: Callable[[], list[bytes]]


# -- the codec ----------------------------------------------------------------------------------

_RECODERS: tuple[tuple[Callable[[bytes], object], Callable[..., bytes]], ...] = (
    (codec.decode_message, codec.encode_message),
    (codec.decode_messages, codec.encode_messages),
    (codec.decode_entry, codec.encode_entry),
    (codec.decode_entries, codec.encode_entries),
    (codec.decode_hard_state, codec.encode_hard_state),
    (codec.decode_conf_state, codec.encode_conf_state),
    (codec.decode_conf_change, codec.encode_conf_change),
    (codec.decode_snapshot_metadata, codec.encode_snapshot_metadata),
    (codec.decode_member_id, codec.encode_member_id),
)


def recode(data: bytes) -> None:
    """What decodes has one form: encoding it again gives the same bytes."""
    if not data:
        return
    decode, encode = _RECODERS[data[0] % len(_RECODERS)]
    try:
        value = decode(data[1:])
    except RemoteProtocolError:
        return
    assert encode(value) == data[1:]


def _codec_examples() -> list[bytes]:
    append = AppendEntries(A, B, 3, EntryID(2, 7), (Entry(3, 8, b"x"), Entry(3, 9, b"")), 7, 1)
    values: tuple[object, ...] = (append, [append, Heartbeat(A, B, 3, 7, 7, 1)], append.entries[0])
    encoded = [encode(value) for (_, encode), value in zip(_RECODERS, values, strict=False)]
    encoded.append(codec.encode_entries(append.entries))
    return [bytes([number]) + one for number, one in enumerate(encoded)]


# -- what stands in the log's entries -----------------------------------------------------------

_DECODERS: tuple[Callable[[bytes], object], ...] = (
    decode_envelope,
    KV_COMMANDS.decode,
    MEMBERS_COMMANDS.decode,
    decode_context,
    REQUESTS_COMMANDS.decode,
    REQUEST_IDS.decode,
    HASH_COMMANDS.decode,
    RESULTS.decode,
    decode_version,
    decode_join_request,
    decode_join_answer,
)


def decode(data: bytes) -> None:
    """Every decoder returns, or says what is wrong in the one way that is caught."""
    if not data:
        return
    try:
        _DECODERS[data[0] % len(_DECODERS)](data[1:])
    except (RemoteProtocolError, InvalidRequest):
        return


def _envelopes() -> list[bytes]:
    commands = (
        Put(((b"k", b"1"), (b"l", b""))),
        Delete((b"k", b"x")),
        CompareAndSwap(b"l", Absent(), b"2"),
    )
    bodies = [encode_entry(one, wall_ms=5) for one in commands]
    return [
        *bodies,
        encode_entry(commands[0], wall_ms=6, request=KeyedRequest(b"k")),
        encode_entry(SetPromise(9), wall_ms=6),
        encode_entry(InitCluster.of(7), wall_ms=7),
    ]


def _decode_examples() -> list[bytes]:
    return [
        *(b"\0" + one for one in _envelopes()),
        b"\x01" + KV_COMMANDS.encode(Put(((b"k", b"v"),))),
        b"\x09" + json.dumps({"id": "a", "incarnation": "0" * 32}).encode(),
    ]


def apply(data: bytes) -> None:
    """Entries, each behind its length, are applied or stop the node; what stands can be copied."""
    state = ReplicatedState(Local(checkpoint_interval=2))
    index, rest = 0, data
    while rest:
        length, rest = rest[0], rest[1:]
        index += 1
        try:
            state.apply(index, rest[:length])
        except UnknownCommand:
            return  # the process would end here
        rest = rest[length:]
    other = ReplicatedState()
    restorer = other.restore()
    for section, chunk in state.snapshot():
        restorer.feed(section, chunk)
    restorer.finish()
    assert other.state_hash == state.state_hash


def _apply_examples() -> list[bytes]:
    return [b"".join(bytes([len(one)]) + one for one in _envelopes() if len(one) < 256)]


# -- snapshots ----------------------------------------------------------------------------------


@cache
def _sections() -> tuple[tuple[tuple[str, bytes], ...], int]:
    state = ReplicatedState()
    for index, envelope in enumerate(_envelopes(), 1):
        state.apply(index, envelope)
    return tuple(state.snapshot()), state.state_hash


def restore(data: bytes) -> None:
    """A damaged snapshot is refused as a whole, or was not damaged where it counts."""
    sections, state_hash = _sections()
    chunks = [(section, bytearray(chunk)) for section, chunk in sections]
    for where, offset, byte in _edits(data):
        chunk = chunks[where % len(chunks)][1]
        if chunk:
            chunk[offset % len(chunk)] = byte
    state = ReplicatedState()
    restorer = state.restore()
    try:
        for section, chunk in chunks:
            restorer.feed(section, bytes(chunk))
        restorer.finish()
    except Corrupt:
        assert state.applied_index == 0
        return
    assert state.state_hash == state_hash


def _edits(data: bytes) -> Iterator[tuple[int, int, int]]:
    for at in range(0, len(data) - 3, 4):
        yield data[at], int.from_bytes(data[at + 1 : at + 3], "big"), data[at + 3]


# -- the log on the disk ------------------------------------------------------------------------


class _Log(NamedTuple):
    disk: LossyDisk
    path: str
    image: bytes
    entries: tuple[Entry, ...]
    batch_begins: int


@cache
def _log() -> _Log:
    bench = StorageFixture(Random(3))
    storage = bench.begin()
    fill_log(storage, 1, 6)
    path = bench.segments()[-1]
    used = len(bench.disk.contents(path).rstrip(b"\0"))
    save(storage, entries_of(7, b"\0" * 700), commit=6)
    image = bench.disk.contents(path)
    begins = -(-used // 512) * 512
    return _Log(bench.disk, path, image, _survivors(bench.disk), begins)


def _survivors(disk: LossyDisk) -> tuple[Entry, ...]:
    return tuple(read_log(disk, f"{StorageFixture.path}/wal", IDENTITY.owner).replay.entries)


def recover(data: bytes) -> None:
    """Whatever bytes are overwritten: all entries, all but the last batch, or a refusal."""
    log = _log()
    image = bytearray(log.image)
    for where, offset, byte in _edits(data):
        image[(where * 65_536 + offset) % len(image)] = byte
    log.disk.overwrite(log.path, bytes(image))
    try:
        found = _survivors(log.disk)
    except StorageError:
        return
    if found != log.entries:
        assert found == log.entries[:-1], "something acknowledged was cut silently"
        assert image[: log.batch_begins] == log.image[: log.batch_begins]


# -- the peer port ------------------------------------------------------------------------------


def call(data: bytes) -> None:
    """A stranger's bytes, with or without a Hello before them, end or wait, and leave nothing."""
    if not data:
        return
    town = Town()
    station = town.build("a")
    caller = Caller(town, "a")
    if data[0] & 1:
        caller.hello(kind=b"bulk" if data[0] & 2 else b"control")
    for at in range(1, len(data), 1 + (data[0] >> 2) * 8):
        caller.say(data[at : at + 1 + (data[0] >> 2) * 8])
    if caller.protocol.transport is not None:
        caller.protocol.transport.loseConnection()
    town.run(0.05)
    assert town.wires.connections("a") == 0
    assert all(message.sender.id == "x" for message in station.delivered)


def _call_examples() -> list[bytes]:
    def key(name: bytes, value: bytes) -> bytes:
        return len(name).to_bytes(2, "big") + name + len(value).to_bytes(2, "big") + value

    heartbeat = codec.encode_messages([Heartbeat(MemberID("x", 1), A, 1, 0, 0, 1)])
    deliver = key(b"_command", b"Deliver") + key(b"messages", heartbeat) + b"\0\0"
    ping = key(b"_ask", b"1") + key(b"_command", b"Ping") + b"\0\0"
    return [b"\xfd" + deliver, b"\xff" + deliver, b"\xfd" + ping + deliver, b"\xfc" + ping]


# -- the client port ----------------------------------------------------------------------------

_LIMITS = Limits(body_bytes_max=3000, held_bytes_max=6000, key_bytes_max=500)
_ROLES = ("leader", "follower", "none")


def serve(data: bytes) -> None:
    """Both HTTP lanes give the same proper answers to the same bytes, in any pieces."""
    if len(data) < 2:
        return
    size = 1 + data[1]
    lanes = [Served(_LIMITS, fast=True), Served(_LIMITS, fast=False)]
    wires = [served.wire() for served in lanes]
    for served in lanes:
        served.database.role = _ROLES[data[0] % 3]
        served.database.waits = bool(data[0] & 128)
    for at in range(2, len(data), size):
        for served, wire in zip(lanes, wires, strict=True):
            wire.send(data[at : at + size])
            served.database.release()
            served.clock.turn()
            while served.database.waiting:  # what waited behind what was released just now
                served.database.release()
                served.clock.turn()
        assert sorted_heads(wires[0].received) == sorted_heads(wires[1].received)
    assert lanes[0].database.entries == lanes[1].database.entries
    for served, wire in zip(lanes, wires, strict=True):
        settle(served, wire)


def _serve_examples() -> list[bytes]:
    requests = (
        b'POST /key HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\n{"foo": "bar"}',
        b"GET /key/foo?level=stale HTTP/1.1\r\nHost: a\r\n\r\n",
        b"DELETE /key/a%2Fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"PUT /api/kv?key=k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST /key HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    )
    return [b"\0\xff" + one + requests[1] for one in requests]


TARGETS: dict[str, Target] = {
    "codec": Target(recode, _codec_examples),
    "decoders": Target(decode, _decode_examples),
    "machine": Target(apply, _apply_examples),
    "snapshot": Target(restore, lambda: [b"\x01\0\x05\xff"]),
    "log": Target(recover, lambda: [b"\0\x10\x05\xff", b"\0\0\0\0"]),
    "peer": Target(call, _call_examples),
    "http": Target(serve, _serve_examples),
}
