"""The same log gives the same state, in every process, by whatever way it came."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from random import Random

import pytest

from raftdb.raft.types import ConfState, MemberID
from raftdb.state import ClientRequest, KeyedRequest, ReplicatedState, encode_entry
from raftdb.state.hash_check import CHECKPOINT_INTERVAL
from raftdb.state.kv.commands import (
    Absent,
    Command,
    CompareAndSwap,
    Delete,
    DeleteRange,
    Expectation,
    Put,
    SetRetention,
    ValueIs,
)
from raftdb.state.kv.values import Retention
from raftdb.state.members import InitCluster, Invite, Member, encode_context
from raftdb.state.requests import RequestID, SetPromise

ENTRIES = 3_000


def log() -> Iterator[bytes]:
    """Yield the data of a mixed log; empty data are entries that open a term."""
    rng = Random(7)
    yield encode_entry(SetRetention(Retention(200, 20_000)), wall_ms=1)
    yield encode_entry(SetPromise(1_000), wall_ms=1)
    yield encode_entry(InitCluster.of(3), wall_ms=1)
    for n in range(4, ENTRIES):
        request: RequestID | None = None
        if n % 5 == 0:
            request = ClientRequest(b"%d" % (n % 3), n // 2, max(1, n // 2 - 9))
        elif n % 7 == 0:
            request = KeyedRequest(b"%d" % (n // 14))
        choice = rng.random()
        if choice < 0.02 or n % CHECKPOINT_INTERVAL == 0:
            yield b""
        elif choice < 0.03:
            yield encode_entry(Invite(f"n{n % 9}", "h:1", "h:2"), wall_ms=n)
        else:
            yield encode_entry(_command(rng), wall_ms=n, request=request)


def _command(rng: Random) -> Command:
    def key() -> bytes:
        return b"%02d" % rng.randrange(60)

    value = rng.randbytes(rng.randrange(50))
    match rng.randrange(5):
        case 0:
            return Delete((key(), key()))
        case 1:
            return DeleteRange(key(), key())
        case 2:
            expected: Expectation = Absent() if rng.random() < 0.5 else ValueIs(value)
            return CompareAndSwap(key(), expected, value)
        case _:
            return Put(((key(), value), (key(), value)))


def applied(state: ReplicatedState, *, after: int = 0, until: int = ENTRIES) -> ReplicatedState:
    """Apply the log's indexes in ``(after, until]`` as Replica does: empty entries are left out."""
    members = (MemberID("anna", 1), MemberID("bert", 2))
    for index, data in enumerate(log(), 1):
        if not after < index <= until:
            continue
        if index == 100:
            context = encode_context(tuple(Member(one, "h:1", "h:2") for one in members))
            state.apply_conf_change(index, context, ConfState(voters=members))
        elif data:
            state.apply(index, data)
    return state


def copy(state: ReplicatedState) -> ReplicatedState:
    """Return what a snapshot of ``state`` restores."""
    other = ReplicatedState()
    restorer = other.restore()
    for section, chunk in state.snapshot():
        restorer.feed(section, chunk)
    restorer.finish()
    return other


class TestDeterminism:
    """Replicas that applied the same are the same."""

    @pytest.mark.parametrize("seed", ["0", "1", "4242"])
    def test_under_any_hash_seed(self, seed: str) -> None:
        """No order comes from a set or from string hashes [R26]."""
        here = applied(ReplicatedState())
        there = subprocess.run(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert there.stdout.split() == [f"{here.state_hash:032x}", *_points(here)]

    @pytest.mark.parametrize("at", [1, 99, 100, 1_024, 1_500, 2_999])
    def test_through_a_snapshot(self, at: int) -> None:
        """Who comes in through a snapshot goes on like who was always there."""
        whole = applied(ReplicatedState())
        half = copy(applied(ReplicatedState(), until=at))
        rest = applied(half, after=half.applied_index)
        assert rest.state_hash == whole.state_hash
        assert set(rest.hash_check.checkpoints) <= set(whole.hash_check.checkpoints)

    def test_a_snapshot_taken_while_applying_goes_on(self) -> None:
        """It is the state at which it began, whatever is applied between its slices."""
        state = applied(ReplicatedState(), until=1_000)
        slices = state.snapshot()
        frozen = applied(ReplicatedState(), until=1_000)
        other = ReplicatedState()
        restorer = other.restore()
        for at, (section, chunk) in enumerate(slices):
            applied(state, after=1_000 + 100 * at, until=1_100 + 100 * at)
            restorer.feed(section, chunk)
        restorer.finish()
        assert other.state_hash == frozen.state_hash
        assert other.applied_index == frozen.applied_index

    def test_checkpoints_stand_at_every_interval(self) -> None:
        """Also where the interval ends at an entry without data."""
        state = applied(ReplicatedState())
        assert [index for index, _ in state.hash_check.checkpoints] == [1_024, 2_048]
        early = applied(ReplicatedState(), until=1_024)
        assert state.hash_check.checkpoints[0][1] == early.state_hash


def _points(state: ReplicatedState) -> list[str]:
    return [f"{index}:{digest:032x}" for index, digest in state.hash_check.checkpoints]


if __name__ == "__main__":
    found = applied(ReplicatedState())
    print(f"{found.state_hash:032x}", *_points(found))  # noqa: T201  # read by the test above
