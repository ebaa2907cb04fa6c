"""The newcomer's side: ask each address in turn until a cluster takes the node in.

It knows a :class:`~raftdb.membership.directory.Directory` and a clock, no sockets. What the cluster
does with the request is :mod:`raftdb.membership.changes`'s part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from raftdb.errors import (
    InvalidRequest,
    JoinRefused,
    OutcomeUnknown,
    RaftDBError,
    ShuttingDown,
)
from raftdb.membership.directory import Directory, JoinAnswer, JoinRequest
from raftdb.membership.wire import hex128
from raftdb.outbound import http_origin

RETRY_S = 0.25
"""Between two rounds over all addresses."""

JOIN_TIMEOUT_S = 60.0
"""After this long without an answer the node gives up and says why."""


class Joiner:
    """Asks to be taken in, until it is, is refused for good, or the time is up.

    :param clock: for the pauses and the deadline
    :param directory: whom to ask
    :param addresses: the HTTP addresses given as ``--join``, in the order to be tried
    :param own_address: this node's own HTTP address, which is skipped: the same flags may serve
        every node of a cluster
    :param timeout_s: how long to go on asking
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        directory: Directory,
        *,
        addresses: Sequence[str],
        own_address: str,
        timeout_s: float = JOIN_TIMEOUT_S,
    ) -> None:
        self._clock = clock
        self._directory = directory
        others: dict[str, str] = {}
        for address in addresses:
            others.setdefault(http_origin(address), address)
        others.pop(http_origin(own_address), None)
        self._addresses = tuple(others.values())
        self._timeout_s = timeout_s
        self._deadline = math.inf
        self._reasons: dict[str, str] = {}
        self._asking: Deferred[JoinAnswer] | None = None
        self._stopped = False
        if not self._addresses:
            raise InvalidRequest(
                f"--join names nobody but this node itself ({own_address}): name another member of"
                " the cluster, or leave --join away to found a cluster"
            )

    def join(self, request: JoinRequest) -> Deferred[JoinAnswer]:
        """Ask until an answer comes that can be believed.

        :raises JoinRefused: a cluster refused for good, or is not the one that was expected
        :raises OutcomeUnknown: nobody took the node in within the time; the message gives each
            address's last reason
        :raises ShuttingDown: :meth:`stop` was called meanwhile
        """
        assert self._asking is None, "one Joiner asks once"
        self._asking = Deferred.fromCoroutine(self._join(request))
        return self._asking

    def stop(self) -> None:
        """Ask no more; what was asked already may still happen."""
        self._stopped = True
        if self._asking is not None:
            self._asking.cancel()

    async def _join(self, request: JoinRequest) -> JoinAnswer:
        self._deadline = self._clock.seconds() + self._timeout_s
        while True:
            for address in self._addresses:
                answer = await self._ask(address, request)
                if answer is not None:
                    return check_answer(address, request, answer)
                if self._stopped:
                    raise ShuttingDown
            if self._clock.seconds() + RETRY_S > self._deadline:
                raise OutcomeUnknown(self._nobody())
            await deferLater(self._clock, RETRY_S)

    async def _ask(self, address: str, request: JoinRequest) -> JoinAnswer | None:
        try:
            return await self._directory.join(address, request)
        except JoinRefused:
            raise
        except RaftDBError as error:
            if not self._stopped:  # else it is the end of our own asking that came back
                self._note(address, str(error))
            return None

    def _note(self, address: str, reason: str) -> None:
        """Tell each reason once per address: a cluster that is not up yet is no news twice."""
        if self._reasons.get(address) != reason:
            self._reasons[address] = reason
            self._log.info(
                "join through {address} has to wait: {reason}; asking again for up to {left:.0f} s",
                address=address,
                reason=reason,
                left=max(0.0, self._deadline - self._clock.seconds()),
            )

    def _nobody(self) -> str:
        reasons = "; ".join(f"{address}: {reason}" for address, reason in self._reasons.items())
        return f"no cluster took this node in within {self._timeout_s:g} s ({reasons})"


def check_answer(address: str, request: JoinRequest, answer: JoinAnswer) -> JoinAnswer:
    """Return ``answer`` where it takes in this very node, into the cluster it may belong to.

    :raises JoinRefused: where it does not
    """
    if request.cluster_id not in {None, answer.cluster_id}:
        assert request.cluster_id is not None
        raise JoinRefused(
            f"{address} belongs to cluster {hex128(answer.cluster_id)}, this data directory to"
            f" cluster {hex128(request.cluster_id)}: correct --join, or use an empty directory"
        )
    if all(known.member != request.member for known in answer.members):
        raise JoinRefused(f"{address} took the join request but does not list {request.member}")
    return answer
