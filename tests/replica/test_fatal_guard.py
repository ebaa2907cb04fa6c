"""The guard around every entry into a Replica: whose exceptions end the node."""

from __future__ import annotations

import pytest
from twisted.python.failure import Failure

from raftdb.replica.guard import Guard


class TestGuard:
    """What must not happen ends the node, and nothing else."""

    def test_an_exception_is_handed_over_and_goes_no_further(self) -> None:
        """A reactor would only log it."""
        crashes: list[Failure] = []
        with Guard(crashes.append):
            raise RuntimeError("a bug")
        assert [str(failure.value) for failure in crashes] == ["a bug"]

    def test_ctrl_c_passes(self) -> None:
        """It is nobody's bug, and somebody else's to handle."""
        crashes: list[Failure] = []
        with pytest.raises(KeyboardInterrupt), Guard(crashes.append):
            raise KeyboardInterrupt
        assert crashes == []
