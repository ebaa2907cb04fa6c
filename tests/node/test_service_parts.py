"""The small parts of the composition root, each by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyRequest

from raftdb.errors import InvalidRequest, JoinRefused, OutcomeUnknown
from raftdb.membership import Directory, JoinAnswer, JoinRequest, KnownMember
from raftdb.membership.founding import LISTEN_S
from raftdb.node import Node, Reactor, Settings, parts
from raftdb.node.admission import LOOK_S, Admission, check_name
from raftdb.node.endpoints import dial, listen_description, resolve_interface
from raftdb.node.journal import Journal
from raftdb.node.peer_setup import PeerSetup
from raftdb.node.peer_watch import DOUBT_LOOKS, PeerWatch
from raftdb.node.service import FAREWELL_S
from raftdb.node.starting_site import StartingApp
from raftdb.peer.handshake import HelloFacts, Kind
from raftdb.raft.types import ConfState, MemberID
from raftdb.simulation.disk.lossy_disk import LossyDisk
from raftdb.state.members import Member, MemberTable, encode_context
from raftdb.storage import DataDirectory, Identity, run_here

A, B = MemberID("a", 1), MemberID("b", 2)


def settings(**more: object) -> Settings:
    return Settings(data_dir=Path("/data"), http_address="a:8091", raft_address="a:8089", **more)  # type: ignore[arg-type]  # typed where they are read


class TestEndpoints:
    """host:port means TCP; a description means what it says."""

    @pytest.mark.parametrize(
        ("listen", "description"),
        [
            ("a.example:80", "tcp:80:interface=a.example"),
            ("[::1]:80", "tcp:80:interface=\\:\\:1"),
            (":80", "tcp:80:interface=\\:\\:"),
            ("tcp:80:interface=0.0.0.0", "tcp:80:interface=0.0.0.0"),
            ("ssl:443:privateKey=k.pem", "ssl:443:privateKey=k.pem"),
        ],
    )
    def test_what_is_listened_on(self, listen: str, description: str) -> None:
        """As the operator wrote it."""
        assert listen_description(listen) == description

    def test_names_become_addresses(self) -> None:
        """A socket is bound to an address."""
        assert resolve_interface("tcp:80:interface=localhost") == "tcp:80:interface=127.0.0.1"
        assert resolve_interface("tcp:80:interface=192.0.2.1") == "tcp:80:interface=192.0.2.1"

    def test_a_peer_is_dialled_by_the_template(self) -> None:
        """Also an IPv6 one, whose colons the description must not take for its own."""
        reactor = MemoryReactorClock()
        endpoint = dial(reactor, "tcp:host={host}:port={port}", "[2001:db8::1]:8089")
        endpoint.connect(Factory())
        assert reactor.tcpClients[0][:2] == ("2001:db8::1", 8089)


class TestWaitingRoom:
    """HTTP while there is no cluster yet."""

    def ask(self, path: bytes) -> tuple[int, dict[str, object]]:
        request = DummyRequest([b""])
        vars(request)["path"] = path
        body = StartingApp("joining").render(cast("Request", request))
        return request.responseCode or 200, json.loads(body)

    def test_it_is_alive(self) -> None:
        """So nobody restarts it for taking its time."""
        assert self.ask(b"/livez") == (200, {"live": True})

    @pytest.mark.parametrize("path", [b"/readyz", b"/key/k", b"/api/status", b"/"])
    def test_everything_else_is_refused_with_the_reason(self, path: bytes) -> None:
        """Surely nothing has happened."""
        status, body = self.ask(path)
        assert status == 503
        assert body == {"error": {"code": "starting", "message": "joining"}}


class TestPeerWatch:
    """The transport follows the table."""

    def watched(self) -> tuple[Clock, MemberTable, list[dict[MemberID, str]], PeerWatch]:
        clock, table = Clock(), MemberTable()
        told: list[dict[MemberID, str]] = []
        watch = PeerWatch(clock, 0.1, me=A, table=lambda: table, update=told.append)
        return clock, table, told, watch

    def test_what_the_join_told_comes_first(self) -> None:
        """A newcomer has no table; it must be able to dial back all the same."""
        clock, _, told, watch = self.watched()
        watch.start({B: "b:8089"})
        clock.advance(0.1)
        assert told == [{B: "b:8089"}]

    def test_changes_are_told_once_and_without_oneself(self) -> None:
        """Nobody dials itself."""
        clock, table, told, watch = self.watched()
        watch.start({})
        records = (Member(A, "a:8089", "a:8091"), Member(B, "b:8089", "b:8091"))
        table.apply_conf_change(encode_context(records), ConfState(voters=(A, B)))
        clock.pump([0.1] * 5)
        assert told == [{B: "b:8089"}]
        table.apply_conf_change(b"", ConfState(voters=(A,)))
        clock.advance(0.1)
        assert told == [{B: "b:8089"}, {}]

    def test_an_address_that_is_only_announced_is_tried_in_turns(self) -> None:
        """First the newer one; a table that is right after all gets its turn. Nobody is made up."""
        clock, table, told, _ = self.watched()
        records = (Member(A, "a:8089", "a:8091"), Member(B, "b:8089", "b:8091"))
        table.apply_conf_change(encode_context(records), ConfState(voters=(A, B)))
        news = {B: "b:9999", MemberID("stranger", 1): "s:1"}
        watch = PeerWatch(
            clock, 0.1, me=A, table=lambda: table, announced=lambda: news, update=told.append
        )
        watch.start({})
        clock.pump([0.1] * 2 * DOUBT_LOOKS)
        assert told == [{B: "b:9999"}, {B: "b:8089"}, {B: "b:9999"}]
        news.clear()
        clock.advance(0.1)
        assert told[-1] == {B: "b:8089"}

    def test_it_ends(self) -> None:
        """No timer is left behind."""
        clock, _, _, watch = self.watched()
        watch.start({})
        watch.stop()
        assert not clock.getDelayedCalls()


class TestName:
    """--id is needed once and never changes."""

    def directory(self, identity: Identity | None) -> DataDirectory:
        data = DataDirectory.open(LossyDisk(Random(0)), "/data")
        if identity is not None:
            data.create(identity)
        return data

    def test_it_comes_from_the_option_where_the_directory_is_empty(self) -> None:
        """There is nothing else."""
        assert check_name(settings(id="a"), self.directory(None)) == "a"

    def test_it_comes_from_the_directory_afterwards(self) -> None:
        """With the option or without."""
        data = self.directory(Identity("a", 1, 7))
        assert check_name(settings(), data) == check_name(settings(id="a"), data) == "a"

    def test_two_that_differ_are_refused(self) -> None:
        """A wrong mount must not become a second node a."""
        with pytest.raises(InvalidRequest, match="belongs to a, not to b"):
            check_name(settings(id="b"), self.directory(Identity("a", 1, 7)))

    def test_none_at_all_is_refused(self) -> None:
        """Names are not invented."""
        with pytest.raises(InvalidRequest, match="--id is needed"):
            check_name(settings(), self.directory(None))


class OneAnswer:
    """A directory that answers everybody alike."""

    def __init__(self, *members: MemberID, cluster_id: int = 7) -> None:
        self.members = members
        self.cluster_id = cluster_id
        self.asked: list[JoinRequest] = []

    def join(self, http_address: str, request: JoinRequest) -> Deferred[JoinAnswer]:
        self.asked.append(request)
        if not self.members:
            return fail(OutcomeUnknown(f"{http_address} is down"))
        known = tuple(KnownMember(member, "x:1", "x:2") for member in self.members)
        return succeed(JoinAnswer(self.cluster_id, known))


class TestAdmission:
    """An empty directory becomes somebody's, in one step and last."""

    def admission(
        self, directory: OneAnswer, disk: LossyDisk | None = None, **more: object
    ) -> tuple[Clock, Admission, DataDirectory]:
        clock = Clock()
        admission = Admission(clock, settings(id="a", **more), directory, random_id=lambda: 99)
        data = DataDirectory.open(disk or LossyDisk(Random(0)), "/data")
        return clock, admission, data

    def hello(self, expected: MemberID) -> HelloFacts:
        return HelloFacts(
            member=B,
            boot=5,
            cluster_id=7,
            raft_address="b:8089",
            http_address="b:8091",
            feature_level=1,
            protocols=(1, 1),
            kind=Kind.CONTROL,
            dialled=False,
            expected=expected,
        )

    def test_founding_takes_two_silent_seconds(self) -> None:
        """Then the log begins with the founder as its only voter."""
        disk = LossyDisk(Random(0))
        clock, admission, data = self.admission(OneAnswer(), disk=disk)
        founded = Deferred.fromCoroutine(admission.found(data, A))
        clock.pump([LOOK_S] * int(LISTEN_S / LOOK_S - 1))
        assert "identity" not in disk.list("/data")
        clock.pump([LOOK_S] * 3)
        assert founded.called
        assert data.identity == Identity("a", 1, 99)
        log = data.recover(run=run_here, fill=run_here, crash=print).log
        assert log.last_index() == 2
        assert log.initial_state()[0].commit == 2

    def test_a_cluster_that_knows_the_name_forbids_it(self) -> None:
        """Its disk was wiped; a second cluster would answer with nothing [R15]."""
        clock, admission, data = self.admission(OneAnswer())
        errors: list[BaseException | None] = []
        founded = Deferred.fromCoroutine(admission.found(data, A))
        founded.addErrback(lambda failure: errors.append(_value(failure)))
        clock.advance(LOOK_S)
        admission.heard(self.hello(expected=MemberID("a", 12345)))
        clock.advance(LOOK_S)
        assert isinstance(errors[0], JoinRefused)
        assert data.identity is None

    def test_a_cluster_that_looks_for_another_does_not(self) -> None:
        """Somebody else lived at this address before."""
        clock, admission, data = self.admission(OneAnswer())
        founded = Deferred.fromCoroutine(admission.found(data, A))
        admission.heard(self.hello(expected=MemberID("c", 3)))
        clock.pump([LOOK_S] * int(LISTEN_S / LOOK_S + 2))
        assert founded.called
        assert data.identity is not None

    def test_joining_keeps_the_cluster_that_answered(self) -> None:
        """Identity and log are there before the node says a word to its peers."""
        directory = OneAnswer(A, B)
        _, admission, data = self.admission(directory, join=("b:8091",))
        joined = Deferred.fromCoroutine(admission.join(data, A))
        assert cast("tuple[KnownMember, ...]", joined.result)[1].member == B
        assert data.identity == Identity("a", 1, 7)
        assert directory.asked[0].cluster_id is None

    def test_asking_again_names_the_cluster(self) -> None:
        """So that no other cluster takes the node in by mistake."""
        directory = OneAnswer(A, B)
        _, admission, data = self.admission(directory, join=("b:8091",))
        data.create(Identity("a", 1, 7))
        Deferred.fromCoroutine(admission.join(data, A))
        assert directory.asked[0].cluster_id == 7

    def test_a_failed_join_leaves_the_directory_empty(self) -> None:
        """The next start begins anew, with a new incarnation."""
        clock, admission, data = self.admission(OneAnswer(), join=("b:8091",), join_timeout_s=1.0)
        errors: list[BaseException | None] = []
        joined = Deferred.fromCoroutine(admission.join(data, A))
        joined.addErrback(lambda failure: errors.append(_value(failure)))
        clock.pump([0.25] * 8)
        assert isinstance(errors[0], OutcomeUnknown)
        assert "b:8091 is down" in str(errors[0])
        assert data.identity is None


class TestJournal:
    """The log's lines."""

    def told(self, *events: tuple[str, dict[str, object]]) -> list[str]:
        seen: list[LogEvent] = []
        observer = cast("ILogObserver", seen.append)
        globalLogPublisher.addObserver(observer)
        try:
            journal = Journal()
            for event, fields in events:
                journal.trace(event, fields)
        finally:
            globalLogPublisher.removeObserver(observer)
        return [formatEvent(event) for event in seen]

    def test_what_has_no_words_of_its_own_names_the_member_first(self) -> None:
        """In the form that all other lines use."""
        lines = self.told(
            ("change proposed", {"id": A, "term": 2, "index": 4}),
            ("campaign ignored", {"id": A, "term": 2, "candidate": B}),
        )
        assert lines == [
            "change proposed: a#00000000 term=2 index=4",
            "campaign ignored: a#00000000 term=2 candidate=b#00000000",
        ]

    def test_an_election_reads_as_people_know_it(self) -> None:
        """The words of the older program."""
        lines = self.told(
            ("candidate", {"id": A, "term": 2}),
            ("campaign", {"id": A, "term": 2, "needed": 2}),
            ("vote", {"id": A, "term": 2, "voter": B, "granted": 2, "rejected": 0}),
            ("leader", {"id": A, "term": 2}),
        )
        assert lines == [
            "entering candidate state: term=2",
            "votes: needed=2 term=2",
            "vote of b#00000000: term=2 tally=2 rejected=0",
            "election won: term=2; entering leader state",
        ]

    def test_what_a_lonely_node_repeats_is_told_once(self) -> None:
        """It asks for votes with every heartbeat."""
        asking = ("pre-candidate", {"id": A, "term": 2})
        assert len(self.told(asking, asking, asking)) == 1

    def test_configurations_name_voters_and_learners(self) -> None:
        """Old and new, while both count."""
        conf_state = ConfState(voters=(A,), voters_outgoing=(A, B), auto_leave=True)
        lines = self.told(("configuration", {"id": A, "term": 2, "conf_state": conf_state}))
        joint = " and until left voters=[a#00000000 b#00000000]"
        assert lines == [f"new configuration: voters=[a#00000000] learners=[]{joint}"]


def _value(failure: Failure) -> BaseException | None:
    return failure.value


class TestARemovedNode:
    """It ends, but not before it has answered what it was asked."""

    def test_ends_once_and_a_moment_later(self) -> None:
        """The leader that was asked to remove itself may learn of it first from the others."""
        reactor, died = MemoryReactorClock(), list[Failure]()
        node = Node(cast("Reactor", reactor), settings(), die=died.append)
        node._removed()
        node._removed()
        reactor.advance(FAREWELL_S * 0.9)
        assert not died
        reactor.advance(FAREWELL_S)
        (failure,) = died
        assert failure.check(JoinRefused)


class TestTurns:
    """When a member's replica does what it has to do."""

    def test_come_behind_the_events_of_a_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not through the heap of timers."""
        asked: list[Callable[[], None]] = []
        clocks: list[object] = []

        def spied(clock: object) -> Callable[[Callable[[], None]], object]:
            clocks.append(clock)
            return asked.append

        monkeypatch.setattr(parts, "soon", spied)
        reactor, plain = MemoryReactorClock(), settings(id="a")
        data = DataDirectory.open(LossyDisk(Random(0)), "/data")
        data.create(Identity("a", 1, 7), limits=plain.storage_limits)
        storage = data.recover(
            run=run_here, fill=run_here, crash=print, limits=plain.storage_limits
        )
        made = parts.NodeParts(
            reactor,
            plain,
            storage,
            PeerSetup(reactor, plain),
            cast("Directory", OneAnswer()),
            rng=Random(0),
            boot=1,
            die=lambda failure: failure.raiseException(),
            on_removed=lambda: None,
        )
        assert clocks == [reactor]
        made.replica.start()
        assert len(asked) == 1
        asked.pop()()
