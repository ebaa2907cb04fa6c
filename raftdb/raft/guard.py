"""What a message must look like before it is believed, whatever the state of this node.

Says what is wrong with it by :class:`~raftdb.errors.RemoteProtocolError`; nothing has changed then,
and the message is to be dropped. Whether a well-formed message is *right* is the rules' question.
"""

from __future__ import annotations

from raftdb.errors import ConfChangeError, RemoteProtocolError
from raftdb.raft import confchange
from raftdb.raft.messages import AppendEntries, Heartbeat, InstallSnapshot, Message, ReadIndex
from raftdb.raft.types import TERM_MAX, Entry, EntryID, MemberID


def check(message: Message, receiver: MemberID) -> None:
    """Refuse what no correct node sends.

    :raises RemoteProtocolError: naming what is wrong
    """
    if message.receiver != receiver:
        raise RemoteProtocolError(f"a message for {message.receiver} came to {receiver}")
    if message.sender == receiver:
        raise RemoteProtocolError(f"a message to {receiver} claims to come from itself")
    if not 0 < message.term <= TERM_MAX:
        raise RemoteProtocolError(f"term {message.term} is not in [1, 2**62]")
    match message:
        case AppendEntries():
            _check_append(message)
        case Heartbeat():
            if not 0 <= message.commit <= message.match or message.round < 1:
                raise RemoteProtocolError(
                    f"a heartbeat's commit {message.commit} is beyond its match {message.match},"
                    f" or its round {message.round} is below 1"
                )
        case InstallSnapshot():
            _check_snapshot(message)
        case ReadIndex():
            if message.read.requester != message.sender:
                raise RemoteProtocolError(f"{message.sender} asks in another member's name")
        case _:
            pass


def _check_append(message: AppendEntries) -> None:
    """Check that the entries continue ``previous`` and that terms never fall along them."""
    last: EntryID | Entry = message.previous
    for entry in message.entries:
        if entry.index != last.index + 1 or entry.term < last.term:
            raise RemoteProtocolError(
                f"entry {entry.id} does not continue the one of term {last.term} at {last.index}"
            )
        last = entry
    if last.term > message.term or message.previous.index < 0:
        raise RemoteProtocolError(
            f"an append of term {message.term} carries an entry of term {last.term} at {last.index}"
        )


def _check_snapshot(message: InstallSnapshot) -> None:
    last = message.snapshot.last
    if last.index < 1 or not 0 < last.term <= message.term:
        raise RemoteProtocolError(f"a snapshot of term {message.term} ends with {last}")
    try:
        confchange.check(message.snapshot.conf_state)
    except ConfChangeError as error:
        raise RemoteProtocolError(f"a snapshot's configuration is impossible: {error}") from error
