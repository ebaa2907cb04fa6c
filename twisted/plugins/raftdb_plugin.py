"""Makes ``twistd raftdb`` known; everything else is in :mod:`raftdb.tap`."""

from twisted.application.service import ServiceMaker

raftdb = ServiceMaker(
    "raftdb",
    "raftdb.tap",
    "A node of a replicated key-value store.",
    "raftdb",
)
