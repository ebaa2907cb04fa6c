"""Nodes become a cluster, in whatever order they start, and come back to it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster

ORDERS = list(itertools.permutations(range(3)))
ROUNDS = int(os.environ.get("RAFTDB_START_ROUNDS", "1"))
PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.2)
"""Between two starts: together, within the founder's two silent seconds, and after them."""


class TestThreeAtOnce:
    """The README's flags, whatever comes first."""

    @pytest.mark.parametrize("attempt", range(ROUNDS))
    @pytest.mark.parametrize("order", ORDERS, ids=str)
    def test_any_order_forms_one_cluster(
        self, cluster: Cluster, order: tuple[int, ...], attempt: int
    ) -> None:
        """Whatever the pauses between the starts, they end as three voters of one cluster."""
        pauses = Random(f"{order} {attempt}")
        first = cluster.node()
        trio = [first, cluster.node(join=first), cluster.node(join=first)]
        for position in order:
            trio[position].start()
            time.sleep(pauses.choice(PAUSES_S))
        cluster.wait_for_voters(3)
        assert len({one.status()["cluster_id"] for one in trio}) == 1
        cluster.put("k", "v")
        cluster.wait_until_equal()
        assert [one.get("k") for one in trio] == ["v"] * 3


class TestRestarts:
    """The same flags are always right."""

    def test_all_three_come_back_with_their_data(self, cluster: Cluster) -> None:
        """Also when none of the others is up yet, the one to join included."""
        trio = cluster.three()
        cluster.put("k", "v")
        cluster.wait_until_equal()
        for one in trio:
            one.kill()
        for one in reversed(trio):
            one.start()
        cluster.wait_for_voters(3)
        assert trio[1].get("k", "consistent") == "v"

    def test_without_the_join_target(self, cluster: Cluster) -> None:
        """A joined node asks nobody."""
        trio = cluster.three()
        trio[0].kill()
        trio[1].stop()
        trio[1].start()
        cluster.put("k", "v")
        assert trio[1].get("k", "consistent") == "v"

    def test_the_name_is_remembered(self, cluster: Cluster) -> None:
        """--id is needed once."""
        one = cluster.node().start()
        cluster.put("k", "v")
        one.stop()
        one.start(id_flag=False)
        cluster.leader()
        assert one.status()["id"] == "node01"

    def test_in_the_background(self, cluster: Cluster) -> None:
        """Twistd without -n forks after the node was built, and before it starts."""
        one = cluster.node()
        log = cluster.base / "twistd.log"
        one.foreground = False
        one.start()
        assert one.wait() == 0
        cluster.wait_until("a leader", lambda: one.status().get("role") == "leader")
        pid = int((cluster.base / "node01.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        cluster.wait_until("its end", lambda: "] stopped" in log.read_text())


class TestJoining:
    """Several addresses, some of them of no use."""

    def test_unreachable_addresses_and_redirects(self, cluster: Cluster) -> None:
        """One that nobody listens on is passed over; a follower redirects."""
        first, second = cluster.node(), None
        first.start()
        second = cluster.node(join=f"127.0.0.1:1,{first.http}").start()
        cluster.wait_for_voters(2)
        follower = next(one for one in (first, second) if one is not cluster.leader())
        cluster.node(join=follower).start()
        cluster.wait_for_voters(3)

    def test_from_the_environment(self, cluster: Cluster) -> None:
        """RAFTDB_JOIN, with the node's own address among the others."""
        first = cluster.node().start()
        second = cluster.node()
        second.environ["RAFTDB_JOIN"] = f"{second.http},{first.http}"
        second.start()
        cluster.wait_for_voters(2)

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_crash_while_joining(self, cluster: Cluster, moment: str) -> None:
        """The cluster has taken it in; its identity is not written yet, or just so."""
        cluster.node().start()
        cluster.put("k", "v")
        second = cluster.node(join=cluster.nodes[0])
        second.on_failing_disk(kill_at=f"{moment} rename identity-part:1")
        second.start()
        assert second.wait() == -signal.SIGKILL
        second.environ = {}
        second.start()
        cluster.wait_for_voters(2)
        cluster.wait_until_equal()
        assert second.get("k") == "v"

    def test_an_invitation_of_nobody_hurts_nobody(self, cluster: Cluster) -> None:
        """The older dialect's /join of an address that does not exist."""
        first = cluster.node().start()
        cluster.put("k", "v")
        nobody = {"id": "node09", "raftAddr": "127.0.0.1:1", "httpAddr": "127.0.0.1:2"}
        assert first.ask("POST", "/join", json.dumps(nobody).encode()).status == 200
        assert first.ask("POST", "/join", json.dumps(nobody).encode()).status == 200
        cluster.put("k", "w")
        assert first.get("k", "consistent") == "w"

    def test_a_learner_that_never_comes_hurts_nobody(self, cluster: Cluster) -> None:
        """It is taken in, and never becomes a voter."""
        first = cluster.node().start()
        cluster.put("k", "v")
        nobody = {
            "id": "node09",
            "incarnation": "0" * 31 + "9",
            "raft_address": "127.0.0.1:1",
            "http_address": "127.0.0.1:2",
        }
        reply = first.ask("POST", "/api/cluster/members", json.dumps(nobody).encode())
        assert reply.status == 200
        time.sleep(1)
        cluster.put("k", "w")
        roles = {one["id"]: one["role"] for one in first.status()["members"]}
        assert roles == {"node01": "leader", "node09": "learner"}


class TestNewAddresses:
    """A node that comes back elsewhere tells the others itself."""

    def test_everybody_learns_them(self, cluster: Cluster) -> None:
        """Redirects lead to the new address."""
        trio = cluster.three()
        moved = next(one for one in trio if one is not cluster.leader())
        moved.stop()
        fresh = cluster.node()
        cluster.nodes.remove(fresh)
        moved.http_port, moved.raft_port = fresh.http_port, fresh.raft_port
        moved.start()

        def seen() -> bool:
            return all(
                {m["id"]: m["http_address"] for m in one.status().get("members", [])}.get(
                    moved.name
                )
                == moved.http
                for one in trio
            )

        cluster.wait_until("the new address everywhere", seen)
        cluster.wait_for_voters(3)
        cluster.put("k", "v")


class TestWipedDisk:
    """It forgot its votes, so it is somebody else now."""

    def test_it_comes_back_as_a_new_member(self, cluster: Cluster) -> None:
        """Under its old name, in one change; the old incarnation is removed."""
        trio = cluster.three()
        cluster.put("k", "v")
        wiped = next(one for one in trio[1:] if one is not cluster.leader())
        before = wiped.status()["incarnation"]
        wiped.kill()
        shutil.rmtree(wiped.data)
        wiped.start()
        cluster.wait_for_voters(3)
        assert wiped.status()["incarnation"] != before
        cluster.wait_until_equal()
        assert wiped.get("k") == "v"

    def test_a_wiped_first_node_founds_no_second_cluster(self, cluster: Cluster) -> None:
        """Without --join it listens first, hears of itself, and says what to do."""
        trio = cluster.three()
        trio[0].kill()
        shutil.rmtree(trio[0].data)
        trio[0].start()
        assert trio[0].wait() == 1
        assert "--join" in trio[0].log.splitlines()[-1]
        assert "knows node01 as a member" in trio[0].log
        trio[0].start("--join", trio[1].http)
        cluster.wait_for_voters(3)

    def test_a_second_cluster_is_noticed(self, cluster: Cluster) -> None:
        """Nobody was there to warn it: both sides refuse the other, and it says what to do."""
        trio = cluster.three()
        cluster.put("k", "v")
        for one in trio:
            one.kill()
        shutil.rmtree(trio[0].data)
        trio[0].start()
        cluster.leader()
        second = trio[0].status()["cluster_id"]
        for one in trio[1:]:
            one.start()
        cluster.wait_until("the alarm", lambda: "two clusters claim node01" in trio[0].log)
        cluster.wait_until("the old one", lambda: trio[1].get("k", "consistent") == "v")
        assert trio[1].status()["cluster_id"] != second
        trio[0].stop()
        shutil.rmtree(trio[0].data)
        trio[0].start("--join", trio[1].http)
        cluster.wait_for_voters(3)

    def test_a_lost_identity_costs_nobody_a_place(self, cluster: Cluster) -> None:
        """The log says that somebody lives there: nothing is asked of the cluster before that."""
        trio = cluster.three()
        lost = next(one for one in trio[1:] if one is not cluster.leader())
        before = lost.status()["incarnation"]
        lost.kill()
        (lost.data / "identity").rename(lost.data / "lost")
        lost.start()
        assert lost.wait() == 1
        assert "holds a log but no file named identity: restore that file" in lost.log
        (lost.data / "lost").rename(lost.data / "identity")
        lost.start()
        cluster.wait_for_voters(3)
        assert lost.status()["incarnation"] == before


class TestLeaving:
    """A removed node is told so."""

    def test_it_exits_and_stays_out(self, cluster: Cluster) -> None:
        """Also at its next start, and the rest goes on."""
        trio = cluster.three()
        leaver = next(one for one in trio if one is not cluster.leader())
        assert cluster.leader().ask("DELETE", f"/api/cluster/members/{leaver.name}").status == 200
        assert leaver.wait() == 1
        assert "removed" in leaver.log.splitlines()[-1]
        leaver.start()
        assert leaver.wait() == 1
        cluster.wait_for_voters(2)
        cluster.put("k", "v")

    def test_the_leader_can_be_removed(self, cluster: Cluster) -> None:
        """The others elect another."""
        cluster.three()
        leader = cluster.leader()
        assert leader.ask("DELETE", f"/api/cluster/members/{leader.name}").status == 200
        assert leader.wait() == 1
        cluster.wait_for_voters(2)
        cluster.put("k", "v")
