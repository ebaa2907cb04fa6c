"""What a program that uses raftdb needs for tests of its own: a cluster in trouble, from one seed.

:class:`World` is a running cluster and a clock that moves only while something is waited for. Its
words (kill, pause, part, trouble, heal) are public and stay; what is below it in
:mod:`raftdb.simulation` is not, and may change with any release. ``docs/simulating.md`` shows how.
"""

from raftdb.simulation.world import TROUBLES, World

__all__ = ["TROUBLES", "World"]
