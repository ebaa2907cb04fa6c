"""The composition root: builds the parts of one node, starts them in order, stops them in order.

- :mod:`~raftdb.node.settings` is what the operator decides.
- :mod:`~raftdb.node.service` is the order of things; :mod:`~raftdb.node.admission` how an empty
  directory gets an identity; :mod:`~raftdb.node.parts` everything that makes a member.
"""

from raftdb.node.service import Node
from raftdb.node.settings import Settings
from raftdb.reactor.interfaces import Reactor, running_seconds

__all__ = ["Node", "Reactor", "Settings", "running_seconds"]
