"""Watches that the replicas are the same: lets them compare, and tells people of a difference.

The leader's vigil puts its newest checkpoint into the log (:mod:`raftdb.state.hash_check`); every
node's looks for what came of it. A difference is told once, as critical, and stands in
``/api/status`` until the node is started on a new state. The node goes on: which of the two is
wrong, no node can know.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.database import Database
from raftdb.errors import RaftDBError
from raftdb.raft.types import Role
from raftdb.replica import Replica
from raftdb.state import ReplicatedState


class HashCheckDuty:
    """Looks once per ``interval_s``.

    :param clock: for the looks
    :param interval_s: between two looks
    :param replica: says whether this node leads
    :param machine: its state
    :param database: the way to let all compare
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        interval_s: float,
        *,
        replica: Replica,
        machine: ReplicatedState,
        database: Database,
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._replica = replica
        self._machine = machine
        self._database = database
        self._call: IDelayedCall | None = None
        self._asking = False
        self._told = False

    def start(self) -> None:
        """Begin to look."""
        self._call = self._clock.callLater(self._interval_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _look(self) -> None:
        self.start()
        if self._machine.hash_check.difference is not None and not self._told:
            self._told = True
            self._tell()
        if self._replica.role is Role.LEADER and not self._asking:
            self._asking = True
            self._database.compare_replicas().addErrback(self._not_now).addBoth(self._asked)

    def _not_now(self, failure: Failure) -> None:
        failure.trap(RaftDBError)  # a later look asks again

    def _asked(self, result: object) -> None:
        self._asking = False
        if isinstance(result, Failure):
            self._log.failure("the replicas could not be compared", failure=result)

    def _tell(self) -> None:
        difference = self._machine.hash_check.difference
        assert difference is not None
        self._log.critical(
            "REPLICAS DIFFER: at index {index} the state of {us} hashes to {ours}, that of {witness}"
            " to {theirs}. One of them applied something else: a bug, or a broken machine. Keep"
            " both directories, find out with the third node which one is wrong, and let that one"
            " join again with an empty directory",
            index=difference.index,
            us=self._replica.id,
            ours=f"{difference.ours:032x}",
            witness=difference.witness,
            theirs=f"{difference.theirs:032x}",
        )
