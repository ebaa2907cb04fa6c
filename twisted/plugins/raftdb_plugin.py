"""Makes ``twistd raftdb`` known; everything else is in :mod:`raftdb.tap`."""

from twisted.application.service import ServiceMaker

raftdb = ServiceMaker(  # type: ignore[no-untyped-call]  # Twisted has not typed it
    "raftdb",
    "raftdb.tap",
    "A node of a replicated key-value store.",
    "raftdb",
)
