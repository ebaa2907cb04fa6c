"""Klein's routes looked up byte for byte, so that no key can confuse the routing.

Klein hands paths to werkzeug, which decodes them, splits at ``%2F``, redirects a path that begins
with two slashes, and fails on bytes that are no UTF-8 and on a strange Host header. The routes are
declared with Klein and its handlers run by Klein; only the look-up is this module's: exact raw
paths in one dict, and rules that end in ``<path:name>`` by their prefix, the rest raw.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction
from typing import Protocol, TypeAlias, TypeVar, cast

import msgspec
from klein import Klein
from twisted.web.iweb import IRequest

from raftdb.http.messages import Request, Response

__all__ = ["App", "Handler", "Match", "Router", "Routes"]

Handler: TypeAlias = Callable[..., object]
_Handler: TypeAlias = Callable[..., Response | Awaitable[Response]]
_HandlerT = TypeVar("_HandlerT", bound=_Handler)


class Router(Klein):
    """Klein whose handlers take an :class:`~raftdb.http.messages.Request` and return an Answer."""

    def at(self, rule: str, *methods: str) -> Callable[[_HandlerT], _HandlerT]:
        """Declare a handler: ``rule`` is an exact raw path, or one that ends in ``<path:name>``."""
        decorate = self.route(rule, methods=list(methods))
        return cast("Callable[[_HandlerT], _HandlerT]", decorate)


class App(Protocol):
    """A group of routes that tells its errors in one way."""

    @property
    def app(self) -> Klein:
        """The routes, bound to this object."""

    def answer_error(self, error: Exception, asked: Request) -> Response:
        """Answer a request of this group that failed with ``error``."""


class Match(msgspec.Struct, frozen=True):
    """The handlers of one path, by method.

    :param handlers: each takes the request and the keywords, and returns an
        :class:`~raftdb.http.messages.Response` or a Deferred of one
    :param keywords: the raw rest of a path under the name that its rule gives it
    """

    app: App
    handlers: dict[bytes, Handler]
    keywords: dict[str, bytes]

    @property
    def allow(self) -> bytes:
        """The value of an Allow header."""
        return b", ".join(sorted(self.handlers))


class Routes:
    """The routes of several Klein apps as one table.

    :param apps: no two may have a rule for the same path
    """

    def __init__(self, apps: Sequence[App]) -> None:
        self._exact: dict[bytes, Match] = {}
        prefixes: dict[bytes, tuple[Match, str]] = {}
        for app in apps:
            # Klein binds itself to the object weakly; the closures keep it.
            for rule in app.app.url_map.iter_rules():
                self._add(prefixes, app, app.app, rule.rule, rule.methods or set(), rule.endpoint)
        # The longest first. To look for each beginning of a path instead costs its length squared.
        self._prefixes = sorted(prefixes.items(), key=lambda item: len(item[0]), reverse=True)

    def find(self, path: bytes) -> Match | None:
        """Return what answers ``path``; the longest rule wins."""
        match = self._exact.get(path)
        if match is not None:
            return match
        for prefix, (match, name) in self._prefixes:
            if path.startswith(prefix):
                return Match(match.app, match.handlers, {name: path[len(prefix) :]})
        return None

    def _add(
        self,
        prefixes: dict[bytes, tuple[Match, str]],
        app: App,
        bound: Klein,
        rule: str,
        methods: set[str],
        endpoint: str,
    ) -> None:
        handler = _handler(app, bound, endpoint)
        path, placeholder, rest = rule.partition("<path:")
        assert "<" not in path, f"{rule}: only a trailing <path:name> is supported"
        empty = Match(app, {}, {})
        if placeholder:
            assert rest.endswith(">"), rule
            assert path.endswith("/"), rule
            match, _ = prefixes.setdefault(path.encode(), (empty, rest[:-1]))
        else:
            match = self._exact.setdefault(path.encode(), empty)
        assert match.app is app, f"{rule} belongs to two apps"
        for method in sorted(methods):
            assert method.encode() not in match.handlers, f"{method} {rule} is there twice"
            match.handlers[method.encode()] = handler


def _handler(app: App, bound: Klein, endpoint: str) -> Handler:
    """Return what runs an endpoint, which Klein names after its function."""

    def run(asked: Request, **keywords: bytes) -> object:
        # Klein hands the request through without a look at it.
        return bound.execute_endpoint(endpoint, cast("IRequest", asked), **keywords)

    function: Handler = getattr(app, endpoint)
    # All that Klein does on the way is to make a Deferred of a coroutine.
    return run if iscoroutinefunction(function) else function
