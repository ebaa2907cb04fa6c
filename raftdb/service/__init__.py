"""The composition root: builds the parts of one node, starts them in order, stops them in order.

- :mod:`~raftdb.service.settings` is what the operator decides.
- :mod:`~raftdb.service.node` is the order of things; :mod:`~raftdb.service.admission` how an empty
  directory gets an identity; :mod:`~raftdb.service.parts` everything that makes a member.
"""

from raftdb.service.node import Node
from raftdb.service.reactor import Reactor, running_seconds
from raftdb.service.settings import Settings

__all__ = ["Node", "Reactor", "Settings", "running_seconds"]
