"""Who belongs to the cluster: founding it, joining, promotion, new addresses, leaving.

- :mod:`~raftdb.membership.addresses` and :mod:`~raftdb.membership.directory` are the values.
- :mod:`~raftdb.membership.wire` and :mod:`~raftdb.membership.http_directory` bring a join request
  to a cluster.
- :mod:`~raftdb.membership.joining` is the newcomer's side.
"""

from raftdb.membership.addresses import check_address, split_address
from raftdb.membership.directory import Directory, JoinAnswer, JoinRequest, KnownMember
from raftdb.membership.joining import Joiner
from raftdb.membership.wire import (
    decode_join_answer,
    decode_join_request,
    encode_join_answer,
    encode_join_request,
    hex128,
)

__all__ = [
    "Directory",
    "JoinAnswer",
    "JoinRequest",
    "Joiner",
    "KnownMember",
    "check_address",
    "decode_join_answer",
    "decode_join_request",
    "encode_join_answer",
    "encode_join_request",
    "hex128",
    "split_address",
]
