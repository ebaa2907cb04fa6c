"""Bugs that only a cluster connected by bytes can find, put into production code one at a time.

Each is a patch of a named function and must be found within so many seeds, counted from 0. The table
is in ``docs/testing.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from raftdb.duties import autopilot
from raftdb.membership.reported_addresses import ReportedAddresses
from raftdb.peer import transport
from raftdb.peer.dialer import Dialer
from raftdb.peer.handshake import HelloFacts, Refusal
from raftdb.peer.keepalive import Keepalive
from raftdb.peer.protocol import PeerConnection
from raftdb.peer.registry import Registry
from raftdb.peer.snapshot_receiver import IncomingSnapshots
from raftdb.peer.transport import PeerTransport
from raftdb.raft.ready import Status
from raftdb.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, ConfState
from raftdb.replica import ReplicaOptions
from raftdb.simulation.run.plan import Plan
from raftdb.simulation.run.run_seed import run
from raftdb.storage.snapshot_io import SnapshotReceiving

Patch = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """A bug, and where to look for it.

    :param within: so many seeds
    :param finds: part of what is said of it
    """

    name: str
    patch: Patch
    within: int
    plan: Plan
    finds: str


def _plan(*faults: str, **changes: Any) -> Plan:
    quick = Plan(seed=0, wired=True, durable=True, storm_s=2.0, interval_s=0.3, faults=faults)
    return replace(quick, **{"liveness": False, "manners": False, **changes})


def _boot_nonce_ignored(patch: pytest.MonkeyPatch) -> None:
    async def trusting(
        self: Registry, connection: PeerConnection, facts: HelloFacts
    ) -> Refusal | None:
        if not connection.is_closing:
            self._count_in(connection, facts)
        return None

    patch.setattr(Registry, "admit", trusting)


def _removed_not_told(patch: pytest.MonkeyPatch) -> None:
    init = PeerTransport.__init__

    def forgiving(self: PeerTransport, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **{**more, "is_removed": lambda _: False})

    patch.setattr(PeerTransport, "__init__", forgiving)


def _learner_promoted_at_once(patch: pytest.MonkeyPatch) -> None:
    def hasty(conf_state: ConfState, status: Status, **_: Any) -> ConfChange | None:
        del status
        if conf_state.is_joint or not conf_state.learners:
            return None
        first = ConfChangeSingle(ConfChangeKind.ADD_VOTER, conf_state.learners[0])
        return ConfChange(changes=(first,))

    patch.setattr(autopilot, "next_promotion", hasty)


def _lost_link_is_a_death(patch: pytest.MonkeyPatch) -> None:
    class Rash(Dialer):
        def __init__(self, *arguments: Any, lost: Callable[[bool], None], **more: Any) -> None:
            super().__init__(*arguments, lost=lambda _: lost(True), **more)

    patch.setattr(transport, "Dialer", Rash)


def _half_open_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keepalive, "_is_overdue", lambda _: False)


def _new_address_untold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReportedAddresses, "news", lambda *_: None)


def _broken_stream_is_whole(patch: pytest.MonkeyPatch) -> None:
    async def unverified(self: SnapshotReceiving) -> None:
        store = self._store
        await store.run(self._sync_and_read_back)
        await store.run(self._publish)
        await store.run(store.received(self._metadata))

    def over(self: IncomingSnapshots, connection: PeerConnection) -> None:
        stream = self._stream
        if stream is not None and stream.connection is connection and stream.taken:
            self._stream = None
            done = stream.receiver.commit()
            done.addCallbacks(lambda _: self._deliver([stream.message]), lambda _: None)

    patch.setattr(SnapshotReceiving, "_commit", unverified)
    patch.setattr(IncomingSnapshots, "lost", over)


_COMING_AND_GOING: dict[str, Any] = {
    "reconfigure": True,
    "storm_s": 5.0,
    "options": ReplicaOptions(snapshot_entries=20),
}

_SNAPSHOTS: dict[str, Any] = {**_COMING_AND_GOING, "options": ReplicaOptions(snapshot_entries=5)}

BUGS = (
    Bug("boot nonce ignored", _boot_nonce_ignored, 5, _plan(manners=True, copied=True), "a copy"),
    Bug(
        "removed node not told",
        _removed_not_told,
        20,
        _plan("kill", "isolate", **_COMING_AND_GOING),
        "was removed and not told",
    ),
    Bug(
        "learner promoted before it has caught up",
        _learner_promoted_at_once,
        10,
        _plan("weather", **_COMING_AND_GOING),
        "is to vote, with",
    ),
    Bug(
        "lost link taken for a death",
        _lost_link_is_a_death,
        5,
        _plan(manners=True),
        "broken connections deposed",
    ),
    Bug("half-open connection not noticed", _half_open_unnoticed, 10, _plan("snap"), ""),
    Bug(
        "new address not told",
        _new_address_untold,
        10,
        _plan("kill", **_COMING_AND_GOING),
        "moved and is not known there",
    ),
    Bug(
        "broken snapshot stream taken for a whole one",
        _broken_stream_is_whole,
        30,
        _plan("snap", "isolate", "weather", interval_s=0.1, **_SNAPSHOTS),
        "",
    ),
)


def seeds_needed(bug: Bug) -> tuple[int, str] | None:
    """Return how many seeds it took, and what broke; None where none found it."""
    for seed in range(bug.within):
        violation = run(replace(bug.plan, seed=seed)).violation
        if violation is not None:
            return seed + 1, violation
    return None


class TestBugsOnTheWire:
    """Each is found by the simulator's own checks, within the seeds it is given."""

    @pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
    def test_is_found(self, bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
        """And the right thing is said of it."""
        bug.patch(monkeypatch)
        found = seeds_needed(bug)
        assert found is not None
        assert bug.finds in found[1]
