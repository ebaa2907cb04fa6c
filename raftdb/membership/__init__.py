"""Who belongs to the cluster: founding it, joining, promotion, new addresses, leaving.

- :mod:`~raftdb.membership.addresses` and :mod:`~raftdb.membership.directory` are the values.
- :mod:`~raftdb.membership.wire` and :mod:`~raftdb.membership.http_directory` bring a join request
  to a cluster.
- :mod:`~raftdb.membership.joining` and :mod:`~raftdb.membership.founding` are the newcomer's side.
- :mod:`~raftdb.membership.changes` does what is asked, :mod:`~raftdb.duties.autopilot` what has
  to be done unasked, both as :mod:`~raftdb.membership.decisions` says, by
  :mod:`~raftdb.membership.proposer`.
"""

from raftdb.membership.addresses import check_address, check_id, split_address
from raftdb.membership.changes import Membership
from raftdb.membership.directory import Directory, JoinAnswer, JoinRequest, KnownMember
from raftdb.membership.founding import claimed, founding_batch
from raftdb.membership.http_directory import HttpDirectory, quiet_client
from raftdb.membership.joining import Joiner
from raftdb.membership.proposer import Proposer, ProposerOptions
from raftdb.membership.reported_addresses import ReportedAddress
from raftdb.membership.wire import (
    decode_join_answer,
    decode_join_request,
    encode_join_answer,
    encode_join_request,
    hex128,
)

__all__ = [
    "Directory",
    "HttpDirectory",
    "JoinAnswer",
    "JoinRequest",
    "Joiner",
    "KnownMember",
    "Membership",
    "Proposer",
    "ProposerOptions",
    "ReportedAddress",
    "check_address",
    "check_id",
    "claimed",
    "decode_join_answer",
    "decode_join_request",
    "encode_join_answer",
    "encode_join_request",
    "founding_batch",
    "hex128",
    "quiet_client",
    "split_address",
]
