"""What the tests of a Replica share: how a Deferred ended, without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def _outcome(deferred: Deferred[Any]) -> object:
    if not deferred.called:
        return "pending"
    result = getattr(deferred, "result", None)
    if isinstance(result, Failure):
        deferred.addErrback(lambda _: None)
        return result.value
    return result


@pytest.fixture
def outcome() -> Callable[[Deferred[Any]], object]:
    """Tell how a Deferred ended: its result, its error, or ``"pending"``."""
    return _outcome
