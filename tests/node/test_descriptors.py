"""Open files: the node's own come first, connections get what is left."""

from __future__ import annotations

import resource

import pytest

from raftdb.errors import InvalidRequest
from raftdb.node.descriptors import HTTP_MIN, PEERS_MIN, RESERVE, share


class TestShares:
    """Who gets how many."""

    @pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, 65_536, RESERVE + 900 + 256])
    def test_all_that_is_wanted_where_there_is_room(self, limit: int) -> None:
        """No limit counts as room."""
        assert share(limit, http=900, peers=256) == (900, 256)

    @pytest.mark.parametrize("limit", range(RESERVE + HTTP_MIN + PEERS_MIN, 1_400, 37))
    def test_the_reserve_stays_free(self, limit: int) -> None:
        """Whatever the limit, from the least on."""
        http, peers = share(limit, http=900, peers=256)
        assert http + peers + RESERVE <= limit
        assert HTTP_MIN <= http <= 900
        assert PEERS_MIN <= peers <= 256

    def test_no_room_at_all_is_refused(self) -> None:
        """With the number that would do."""
        with pytest.raises(InvalidRequest, match="at least 208"):
            share(RESERVE + HTTP_MIN + PEERS_MIN - 1, http=900, peers=256)
