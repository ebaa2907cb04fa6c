"""Who writes the log of a real node: the kernel where it may, a thread where that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster

TOLD = "the log is written by"
"""And by whom, or why not by the kernel."""


class TestTheLogWriter:
    """``--log-writer`` decides whether the kernel is asked."""

    @pytest.mark.parametrize(("flags", "asked"), [((), True), (("--log-writer", "thread"), False)])
    def test_is_the_one_that_is_wanted(
        self, cluster: Cluster, flags: tuple[str, ...], asked: bool
    ) -> None:
        """The node's log tells of the first save."""
        node = cluster.node(*flags).start()
        cluster.leader()
        cluster.put("key", "value")
        assert (TOLD in node.log) is asked
