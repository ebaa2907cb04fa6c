"""Puts the dialects together: their routes, the one resource, the site that listens.

Nothing here starts a timer before the site listens, and nothing reads a clock it was not given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from raftdb.database import Database
from raftdb.dialects.go.join import JoinApp
from raftdb.dialects.go.key import KeyApp
from raftdb.dialects.go.long_json import LongJson
from raftdb.dialects.native.api import ClusterApp, KVApp
from raftdb.dialects.raft_headers import raft_headers
from raftdb.http.budget import Budget
from raftdb.http.dispatch import Dispatcher
from raftdb.http.limits import Limits
from raftdb.http.pacing import Pacer
from raftdb.http.routing import App, Routes
from raftdb.http.site import LimitedSite
from raftdb.membership import Membership

__all__ = ["make_resource", "make_site"]


def make_resource(
    clock: IReactorTime,
    *,
    database: Database,
    membership: Membership,
    status: Callable[[], object],
    unready: Callable[[], str | None],
    limits: Limits,
    budget: Budget,
    serve_reads: bool = False,
    further: Sequence[App] = (),
) -> Dispatcher:
    """Make the resource that answers everything.

    :param clock: for deadlines
    :param database: what ``/key`` and ``/api/kv`` read and write
    :param membership: what ``/join`` and ``/api/cluster`` change
    :param status: what ``/api/status`` shows, ready to be written as JSON
    :param unready: why ``/readyz`` answers 503, or None
    :param limits: what a request may ask for
    :param budget: of bytes, for all clients together
    :param serve_reads: whether ``/key`` answers all reads here, see :class:`~raftdb.dialects.go.key.KeyApp`
    :param further: more groups of routes
    """
    pacer = Pacer(clock)
    apps: tuple[App, ...] = (
        KeyApp(database, limits, LongJson(pacer), serve_reads=serve_reads),
        JoinApp(membership),
        KVApp(database, limits),
        ClusterApp(membership, status=status, unready=unready),
        *further,
    )
    return Dispatcher(
        clock,
        Routes(apps),
        headers=lambda: raft_headers(database.position()),
        limits=limits,
        pacer=pacer,
        budget=budget,
    )


def make_site(
    clock: IReactorTime,
    *,
    database: Database,
    membership: Membership,
    status: Callable[[], object],
    unready: Callable[[], str | None],
    limits: Limits | None = None,
    access_log: str | None = None,
    fast: bool = True,
    serve_reads: bool = False,
    further: Sequence[App] = (),
) -> LimitedSite:
    """Make the site to listen with; the arguments are those of :func:`make_resource`.

    :param access_log: the path of an access log, or None for none
    :param fast: let plain requests go past twisted.web's parser; not while there is an access log,
        which wants twisted.web's requests
    """
    limits = limits or Limits()
    budget = Budget(limits.held_bytes_max)
    resource = make_resource(
        clock,
        database=database,
        membership=membership,
        status=status,
        unready=unready,
        limits=limits,
        budget=budget,
        serve_reads=serve_reads,
        further=further,
    )
    take = resource.take if fast and access_log is None else None
    return LimitedSite(clock, resource, limits, budget, access_log, take=take)
