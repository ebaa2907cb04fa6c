"""The newcomer's side: whom it asks, how long, and what it believes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from raftdb.errors import InvalidRequest, JoinRefused, NoLeader, OutcomeUnknown, ShuttingDown
from raftdb.membership import JoinAnswer, Joiner, JoinRequest, KnownMember
from raftdb.membership.joining import RETRY_S
from raftdb.raft.types import MemberID

ME = MemberID("node02", 2)
REQUEST = JoinRequest(member=ME, raft_address="c:8089", http_address="c:8091")
ANSWER = JoinAnswer(7, (KnownMember(ME, "c:8089", "c:8091"),))

Reply = Callable[[JoinRequest], "Deferred[JoinAnswer]"]


class ScriptedDirectory:
    """Answers as told, per address, and remembers who was asked."""

    def __init__(self, replies: dict[str, Reply]) -> None:
        self.replies = replies
        self.asked: list[str] = []

    def join(self, http_address: str, request: JoinRequest) -> Deferred[JoinAnswer]:
        self.asked.append(http_address)
        return self.replies[http_address](request)


def no_leader(_request: JoinRequest) -> Deferred[JoinAnswer]:
    return fail(NoLeader())


def taken(_request: JoinRequest) -> Deferred[JoinAnswer]:
    return succeed(ANSWER)


def joiner(clock: Clock, directory: ScriptedDirectory, timeout_s: float = 5) -> Joiner:
    return Joiner(
        clock,
        directory,
        addresses=list(directory.replies),
        own_address="c:8091",
        timeout_s=timeout_s,
    )


@pytest.fixture(name="lines")
def lines_fixture() -> Iterator[list[str]]:
    """Collect what is logged."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


class TestWhomItAsks:
    """The addresses of --join, in turn."""

    def test_the_first_that_answers_is_enough(self) -> None:
        """Nobody else is bothered."""
        directory = ScriptedDirectory({"a:1": taken, "b:1": taken})
        asked = joiner(Clock(), directory).join(REQUEST)
        assert asked.result == ANSWER
        assert directory.asked == ["a:1"]

    def test_an_address_that_does_not_answer_is_passed_over(self) -> None:
        """An unreachable first address does not hold the others up."""
        directory = ScriptedDirectory({"a:1": no_leader, "b:1": taken})
        assert joiner(Clock(), directory).join(REQUEST).result == ANSWER
        assert directory.asked == ["a:1", "b:1"]

    def test_its_own_address_is_skipped(self) -> None:
        """The same flags may serve every node."""
        directory = ScriptedDirectory({"c:8091": no_leader, "b:1": taken})
        assert joiner(Clock(), directory).join(REQUEST).result == ANSWER
        assert directory.asked == ["b:1"]

    def test_only_its_own_address_is_an_error(self) -> None:
        """A node cannot be let in by itself."""
        with pytest.raises(InvalidRequest, match="nobody but this node itself"):
            joiner(Clock(), ScriptedDirectory({"c:8091": taken}))


class TestHowLongItAsks:
    """Round after round, until the time is up."""

    def test_it_asks_again_after_a_pause(self) -> None:
        """A cluster that comes up later is found."""
        clock = Clock()
        directory = ScriptedDirectory({"a:1": no_leader})
        asked = joiner(clock, directory).join(REQUEST)
        directory.replies["a:1"] = taken
        clock.advance(RETRY_S)
        assert asked.result == ANSWER

    def test_it_gives_up_and_names_every_reason(self) -> None:
        """The operator learns what each address said."""
        clock = Clock()
        directory = ScriptedDirectory({"a:1": no_leader, "b:1": no_leader})
        asked = joiner(clock, directory, timeout_s=2).join(REQUEST)
        clock.pump([RETRY_S] * 8)
        error = failure_of(asked)
        assert isinstance(error, OutcomeUnknown)
        assert "a:1: no leader" in str(error)
        assert "b:1: no leader" in str(error)
        assert not clock.getDelayedCalls()

    def test_a_refusal_for_good_ends_it_at_once(self) -> None:
        """Nobody else can say anything else."""
        directory = ScriptedDirectory({"a:1": lambda _: fail(JoinRefused("removed")), "b:1": taken})
        error = failure_of(joiner(Clock(), directory).join(REQUEST))
        assert isinstance(error, JoinRefused)
        assert directory.asked == ["a:1"]

    def test_stop_ends_a_pause(self) -> None:
        """A SIGTERM does not wait for the deadline."""
        clock = Clock()
        one = joiner(clock, ScriptedDirectory({"a:1": no_leader}))
        asked = one.join(REQUEST)
        asked.addErrback(lambda _: None)
        one.stop()
        assert not clock.getDelayedCalls()

    def test_stop_ends_it_although_the_directory_hides_the_cancellation(
        self, lines: list[str]
    ) -> None:
        """An HTTP client turns a cancelled request into just another failure."""

        def unanswered(_request: JoinRequest) -> Deferred[JoinAnswer]:
            return Deferred(lambda d: d.errback(OutcomeUnknown("no answer")))

        directory = ScriptedDirectory({"a:1": unanswered, "b:1": taken})
        one = joiner(Clock(), directory)
        asked = one.join(REQUEST)
        one.stop()
        assert isinstance(failure_of(asked), ShuttingDown)
        assert directory.asked == ["a:1"]
        assert lines == []

    def test_a_reason_to_wait_is_told_once_and_for_how_long(self, lines: list[str]) -> None:
        """Who reads it knows that nothing has to be done yet."""
        clock = Clock()
        asked = joiner(clock, ScriptedDirectory({"a:1": no_leader})).join(REQUEST)
        clock.pump([RETRY_S] * 30)
        assert isinstance(failure_of(asked), OutcomeUnknown)
        (line,) = lines
        assert line.startswith("join through a:1 has to wait: ")
        assert line.endswith("; asking again for up to 5 s")


class TestWhatItBelieves:
    """An answer is checked before anything rests on it."""

    def test_another_cluster_than_expected_is_refused(self) -> None:
        """A directory that belongs to a cluster never changes over."""
        directory = ScriptedDirectory({"a:1": taken})
        error = failure_of(joiner(Clock(), directory).join(REQUEST._replace(cluster_id=8)))
        assert isinstance(error, JoinRefused)
        assert "belongs to cluster" in str(error)

    def test_an_answer_without_the_node_is_refused(self) -> None:
        """Whoever answered did not take this incarnation in."""
        other = MemberID("node02", 3)
        stale = JoinAnswer(7, (KnownMember(other, "c:8089", "c:8091"),))
        directory = ScriptedDirectory({"a:1": lambda _: succeed(stale)})
        error = failure_of(joiner(Clock(), directory).join(REQUEST))
        assert isinstance(error, JoinRefused)


def failure_of(deferred: Deferred[JoinAnswer]) -> BaseException | None:
    errors: list[BaseException] = []

    def note(failure: Failure) -> None:
        assert failure.value is not None
        errors.append(failure.value)

    deferred.addErrback(note)
    return errors[0] if errors else None
