"""A client for programs: several endpoints, one deadline, and honest about what happened.

It knows the HTTP interface and :mod:`raftdb.errors`, nothing else of raftdb.

- A :class:`~raftdb.errors.Refused` means: it surely did not happen.
- An :class:`~raftdb.errors.OutcomeUnknown` means: it may have happened, or may still happen.

What surely did not happen is tried again until the deadline, at the leader if it is known, else at
the next endpoint. A write of unknown outcome is never sent twice: between the two, somebody else
may have written.
"""

from raftdb.client.client import Client

__all__ = ["Client"]
