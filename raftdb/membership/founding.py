"""A cluster of one: the entries it begins with, and when it must not begin at all [R15].

The first two entries are the same kind as all others, in term 1 and committed: whoever joins later
reads the cluster's whole history from its log.
"""

from __future__ import annotations

from raftdb.errors import JoinRefused
from raftdb.membership.seams import Envelope
from raftdb.membership.wire import hex128
from raftdb.raft.ready import Ready
from raftdb.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    Entry,
    HardState,
    MemberID,
)
from raftdb.state.members import InitCluster, Member, encode_context

LISTEN_S = 2.0
"""How long a node listens for a cluster that knows it before it founds one of its own."""

FOUNDING_TERM = 1


def founding_batch(founder: Member, cluster_id: int, envelope: Envelope) -> Ready:
    """Return what is made durable, in one batch, for a cluster of which ``founder`` is all.

    :param envelope: stamps a command with the time
    """
    change = ConfChange(
        changes=(ConfChangeSingle(ConfChangeKind.ADD_VOTER, founder.id),),
        context=encode_context((founder,)),
    )
    entries = (
        Entry(FOUNDING_TERM, 1, change=change),
        Entry(FOUNDING_TERM, 2, data=envelope(InitCluster.of(cluster_id))),
    )
    return Ready(hard_state=HardState(term=FOUNDING_TERM, commit=len(entries)), entries=entries)


def claimed(*, name: str, peer: MemberID, cluster_id: int) -> JoinRefused:
    """Return why a node must not found a cluster: an older one knows it by name.

    Its disk was wiped; as the founder of a second cluster it would answer old clients with nothing.

    :param name: of this node
    :param peer: who called it by that name
    :param cluster_id: of the older cluster
    """
    return JoinRefused(
        f"{peer.id} of cluster {hex128(cluster_id)} knows {name} as a member, but this data"
        " directory is empty. To come back as a new member, start with --join and the HTTP address"
        " of a running member; to found another cluster, use another --id and address"
    )
