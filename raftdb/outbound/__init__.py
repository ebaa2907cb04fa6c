"""HTTP from the asking side, for clients and for nodes that join: which node, which way, what was met.

It knows :mod:`raftdb.errors`, Twisted and treq, nothing else of raftdb. twisted.web, treq and
hyperlink take names for what IDNA takes for one: an IPv6 address or a name with an underscore fails
in each of them, some after the caller was told that something was sent. Here both are addresses like
any other, and what fails before a connection stands is a
:class:`~twisted.internet.error.ConnectError`.
"""

from raftdb.outbound.agent import HttpPool, http_agent, verbatim
from raftdb.outbound.cause import cause_of
from raftdb.outbound.origin import DEFAULT_PORT, http_origin, http_origins
from raftdb.outbound.ways import NeverConnected

__all__ = [
    "DEFAULT_PORT",
    "HttpPool",
    "NeverConnected",
    "cause_of",
    "http_agent",
    "http_origin",
    "http_origins",
    "verbatim",
]
