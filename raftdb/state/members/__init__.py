"""The replicated table of members: who they are and where they live; pure.

It is changed by configuration changes, whose context carries the records of new members, and by
commands of its own; never by the users' keys.
"""

from raftdb.state.members.commands import (
    InitCluster,
    Invite,
    MembersCommand,
    SetFeatureLevel,
    Uninvite,
    UpdateMember,
)
from raftdb.state.members.records import Invitation, Member, decode_context, encode_context
from raftdb.state.members.table import MemberTable

__all__ = [
    "InitCluster",
    "Invitation",
    "Invite",
    "Member",
    "MemberTable",
    "MembersCommand",
    "SetFeatureLevel",
    "Uninvite",
    "UpdateMember",
    "decode_context",
    "encode_context",
]
