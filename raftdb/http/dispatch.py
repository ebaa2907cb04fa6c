"""The one resource: takes a request off twisted.web, has it answered, writes the answer.

It owns what all answers share: the cap on waiting requests, the deadline, the cancelling when a
client hangs up (its waiter, never its write), the headers that tell where this node stands, and
that nothing ends in a 500.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request as TwistedRequest

from raftdb.errors import Overloaded, Timeout
from raftdb.http.budget import Budget
from raftdb.http.deadlines import RequestDeadlines
from raftdb.http.errors import answer_error
from raftdb.http.limits import Limits
from raftdb.http.messages import Request, Response, error_answer
from raftdb.http.pacing import Pacer
from raftdb.http.precedence import HEALTH, URGENT_WAITING_MAX, is_urgent
from raftdb.http.responder import NodeHeaders, Responder, TwistedResponder
from raftdb.http.routing import Handler, Match, Routes
from raftdb.http.targets import split_target

_LONG_BYTES = 64 * 1024


class Dispatcher(Resource):
    """Answers every request of the site.

    :param clock: for deadlines
    :param routes: who answers what
    :param headers: the fields that say where this node stands, asked for with each response
    :param limits: how many may wait, and how long
    :param pacer: whether there is time for another request in this turn
    :param budget: whether there is room for a long answer
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        routes: Routes,
        *,
        headers: Callable[[], NodeHeaders],
        limits: Limits,
        pacer: Pacer,
        budget: Budget,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._routes = routes
        self._headers = headers
        self._limits = limits
        self._pacer = pacer
        self._budget = budget
        self._waiting = 0
        # The database has a deadline of its own, a little before this one.
        self._patience: RequestDeadlines[Response] = RequestDeadlines(
            clock, limits.answer_timeout_s * 1.1
        )

    @property
    def waiting(self) -> int:
        """How many requests wait for their answer now."""
        return self._waiting

    def render(self, request: TwistedRequest) -> int:
        """Take a complete request from twisted.web."""
        self.take(_read(request), TwistedResponder(request))
        return NOT_DONE_YET

    def take(self, asked: Request, exchange: Responder) -> None:
        """Take a complete request; it is answered at once or later, but always."""
        match = self._routes.find(asked.path)
        if match is None:
            text = f"nothing is at {asked.path.decode('latin-1'):.99}; docs/http-api.md lists the paths"
            self._write(exchange, asked, error_answer(404, "not_found", text))
            return
        handler = match.handlers.get(asked.method)
        if handler is None:
            self._write(exchange, asked, _not_allowed(match, asked))
        elif asked.path in HEALTH:
            self._handle(exchange, asked, match, handler)
        elif self._waiting >= self._limits.waiting_max and not self._makes_way(asked):
            error = Overloaded(f"{self._waiting} requests are waiting already")
            self._write(exchange, asked, match.app.answer_error(error, asked))
        elif self._pacer.may_work():
            self._handle(exchange, asked, match, handler)
        else:
            self._queue(exchange, asked, match, handler)

    def _makes_way(self, asked: Request) -> bool:
        """Whether the request may wait though no more may."""
        most = self._limits.waiting_max + URGENT_WAITING_MAX
        return self._waiting < most and is_urgent(asked.path)

    def _queue(self, exchange: Responder, asked: Request, match: Match, handler: Handler) -> None:
        """Handle the request in a later turn, if its client is still there by then."""
        gone = False
        too_late = self._clock.seconds() + self._limits.answer_timeout_s

        def hang_up() -> None:
            nonlocal gone
            gone = True

        def go_on(_: None) -> None:
            self._waiting -= 1
            if gone:
                return
            if self._clock.seconds() > too_late:
                error = Overloaded("the node had no time for this request")
                self._write(exchange, asked, match.app.answer_error(error, asked))
            else:
                self._handle(exchange, asked, match, handler)

        self._waiting += 1
        exchange.when_gone(hang_up)
        self._pacer.turn().addCallback(go_on).addErrback(self._lost)

    def _handle(self, exchange: Responder, asked: Request, match: Match, handler: Handler) -> None:
        """Have the request answered, now or when its Deferred fires."""
        began_s = self._clock.seconds()
        result: object
        try:
            result = handler(asked, **match.keywords)
        except Exception as error:  # noqa: BLE001  # the table knows every error, bugs too
            result = match.app.answer_error(error, asked)
        if isinstance(result, Response):
            self._write(exchange, asked, result)
        else:  # asked last: to see that something is no Deferred takes an ABC's way
            assert isinstance(result, Deferred)
            self._wait(exchange, asked, match, result)
        self._pacer.worked(self._clock.seconds() - began_s)

    def _wait(
        self, exchange: Responder, asked: Request, match: Match, answer: Deferred[Response]
    ) -> None:
        """Write the answer when it comes; cancel it if the client goes or the time is up."""
        gone = False

        def hang_up() -> None:
            nonlocal gone
            gone = True
            answer.cancel()

        def done(result: Response | Failure) -> None:
            self._waiting -= 1
            self._patience.end(answer)
            try:  # instead of an errback, which costs every answer a step more of its Deferred
                if isinstance(result, Failure):
                    result = self._answer_failure(result, asked, match)
                if not gone:
                    self._write(exchange, asked, result)
            except Exception:  # noqa: BLE001  # there is no one to tell
                self._lost(Failure())

        self._waiting += 1
        if not answer.called or answer.paused:  # paused: a callback waits for another Deferred
            exchange.when_gone(hang_up)
            self._patience.begin(answer)
        answer.addBoth(done)

    def _answer_failure(self, failure: Failure, asked: Request, match: Match) -> Response:
        error = failure.value
        if isinstance(error, CancelledError):
            # Only our own deadline and the client's going cancel; the latter nobody reads.
            error = Timeout("the outcome was not known in time")
        assert isinstance(error, Exception)
        return match.app.answer_error(error, asked)

    def _write(self, exchange: Responder, asked: Request, answer: Response) -> None:
        """Send ``answer``; a HEAD request gets the head of what GET would get.

        A long answer is that of a read, so it may still be refused.
        """
        if len(answer.body) > _LONG_BYTES and not self._budget.has_room(len(answer.body)):
            answer = answer_error(Overloaded("too many answers have not been taken yet"), asked)
        body = b"" if asked.method == b"HEAD" else answer.body
        exchange.answer(answer, self._headers(), body=body)

    def _lost(self, failure: Failure) -> None:
        """Log what went wrong while an answer was being written: there is no one to tell."""
        self._log.failure("an answer could not be written", failure)


def _read(request: TwistedRequest) -> Request:
    """Take everything a handler may need now: later the client may be gone and it all closed."""
    path, query, target = split_target(request.uri)
    content = request.content
    assert content is not None
    return Request(request.method, path, query, target, bool(request.isSecure()), content.read())


def _not_allowed(match: Match, asked: Request) -> Response:
    text = f"{asked.method.decode('latin-1'):.99} is not for this path; {match.allow.decode()} are"
    return error_answer(405, "method_not_allowed", text, ((b"Allow", match.allow),))
