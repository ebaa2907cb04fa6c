"""The invariants of the public TLA+ specification of etcd's raft, over the model of a trace.

The same eight that its trace configuration names. Logs of one term and index are compared once,
when they grow, instead of in every state.
"""

from __future__ import annotations

from raftdb.simulation.trace.format import LEADER
from raftdb.simulation.trace.specification import LogEntry, Model, Server, require


class Invariants:
    """Checks a model after each event.

    :param model: is looked at, never changed
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[tuple[int, int], tuple[LogEntry, int]] = {}
        self._committed: list[LogEntry] = []
        self._seen: dict[str, list[object]] = {}
        for server in model.servers.values():
            self._check_log_matching(server)
            self._check_committed(server)
        for server in model.servers.values():
            self.check(server)

    def check(self, server: Server) -> None:
        """Check everything that a change of one server can break.

        :raises NotAllowed: naming the invariant
        """
        seen: list[object] = [server.term, server.role, server.commit, len(server.log)]
        seen += [server.last_term, server.voters, server.durable.last]
        if self._seen.get(server.nid) == seen:
            return
        self._seen[server.nid] = seen
        self._check_log_matching(server)
        self._check_committed(server)
        servers = list(self._model.servers.values())
        for other in servers:
            self._check_leaders(server, other)
            self._check_leaders(other, server)
            _check_up_to_date(server, other)
            _check_up_to_date(other, server)
            self._check_quorum(other)
        if server.role == LEADER:
            require(
                server.commit <= server.durable.last,
                "CommittedIsDurableInv: a leader has committed more than is durable",
            )

    def _check_log_matching(self, server: Server) -> None:
        log = server.log
        for place in range(len(log) - 1, -1, -1):
            now = (log[place], log[place - 1].term if place else 0)
            name = (place + 1, now[0].term)
            known = self._known.get(name)
            if known is None:
                self._known[name] = now
                continue
            require(known == now, f"LogMatchingInv: entry {name[0]} of term {name[1]}")
            return  # what is before it was compared when it came here first

    def _check_committed(self, server: Server) -> None:
        committed = self._committed
        committed.extend(server.log[len(committed) : server.commit])
        index = server.commit
        # With Log Matching, this one stands for all before it.
        same = not index or committed[index - 1] == server.log[index - 1]
        require(same, f"LogInv: {index} is committed in two ways")

    def _check_leaders(self, leader: Server, other: Server) -> None:
        if leader.role != LEADER or leader is other:
            return
        require(
            other.role != LEADER or other.term != leader.term,
            f"MoreThanOneLeaderInv: {leader.nid} and {other.nid} lead {leader.term}",
        )
        theirs = len(other.log) if other.last_term == leader.term else 0
        own = len(leader.log) if leader.last_term == leader.term else 0
        require(theirs <= own, f"ElectionSafetyInv: {other.nid} has more of term {leader.term}")
        for index in range(other.commit, 0, -1):
            entry = other.log[index - 1]
            if leader.term > entry.term:
                # With Log Matching, this one stands for all before it.
                has = leader.term_at(index) == entry.term
                require(has, f"LeaderCompletenessInv: {leader.nid} lacks {index}")
                return

    def _check_quorum(self, server: Server) -> None:
        index, term = server.commit, server.term_at(server.commit)
        holders = sum(self._model.servers[voter].term_at(index) == term for voter in server.voters)
        # Every quorum has a holder: those without it are no quorum.
        without = len(server.voters) - holders
        require(
            2 * without <= len(server.voters),
            f"QuorumLogInv: {without} of {len(server.voters)} voters lack {index} of {server.nid}",
        )


def _check_up_to_date(one: Server, other: Server) -> None:
    if (one.last_term, len(one.log)) >= (other.last_term, len(other.log)):
        has = one.term_at(other.commit) == other.term_at(other.commit)
        require(has, f"MoreUpToDateCorrectInv: {one.nid} lacks {other.commit} of {other.nid}")
