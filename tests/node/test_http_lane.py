"""The option that leaves every request to twisted.web's parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from raftdb.http.budget import Budget
from raftdb.http.connection import Connection
from raftdb.http.fast_connection import FastConnection
from raftdb.http.limits import Limits
from raftdb.http.site import LimitedSite
from raftdb.tap import Options


class TestTheHttpLane:
    """Fast by default, stock where it is asked for."""

    @pytest.mark.parametrize(
        ("environ", "lane"), [({}, "fast"), ({"RAFTDB_HTTP_LANE": "stock"}, "stock")]
    )
    def test_is_read_from_the_options(
        self, environ: dict[str, str], lane: str, tmp_path: Path
    ) -> None:
        """Or the environment."""
        options = Options(environ)
        options.parseOptions(["--id=a", str(tmp_path)])
        assert options.settings.http_lane == lane

    def test_is_not_built_into_a_site_that_answers_itself(self) -> None:
        """As one that waits for a cluster does."""
        limits = Limits()

        def site(**take: object) -> LimitedSite:
            budget = Budget(limits.held_bytes_max)
            return LimitedSite(Clock(), None, limits, budget, **take)  # type: ignore[arg-type]

        assert site().protocol is Connection
        assert site(take=print).protocol is FastConnection
