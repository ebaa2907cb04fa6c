"""How a server of the public TLA+ specification of etcd's raft receives a message, written anew.

One receipt in a trace may be several steps there: a higher term is taken over first, a candidate
becomes follower, conflicting entries go one by one, and only the last step takes the message away.
"""

from __future__ import annotations

from raftdb.simulation.trace.format import CANDIDATE, FOLLOWER, NOBODY
from raftdb.simulation.trace.specification import Letter, Model, Server, require


def receive(model: Model, letter: Letter) -> None:
    """Let a message that was sent be received, and take it away."""
    server = model.servers[letter.receiver]
    model.take_away(letter)
    if letter.term > server.term:
        server.term, server.vote, server.role = letter.term, NOBODY, FOLLOWER
    match letter.kind:
        case "RequestVoteRequest":
            _vote(model, server, letter)
        case "RequestVoteResponse":
            if letter.term == server.term:
                server.responded[letter.sender] = None
                if letter.ok:
                    server.granted[letter.sender] = None
        case "AppendEntriesResponse":
            if letter.term == server.term and letter.ok:
                known = server.match.get(letter.sender, 0)
                server.match[letter.sender] = max(known, letter.last)
        case _:
            _take_entries(model, server, letter)


def _vote(model: Model, server: Server, letter: Letter) -> None:
    theirs = (letter.log_term, letter.last)
    grant = (
        letter.term == server.term
        and theirs >= (server.last_term, len(server.log))
        and server.vote in {NOBODY, letter.sender}
    )
    if grant:
        server.vote = letter.sender
    model.send(Letter("RequestVoteResponse", "", server.term, server.nid, letter.sender, ok=grant))


def _take_entries(model: Model, server: Server, letter: Letter) -> None:
    if letter.term < server.term:
        _answer(model, server, letter, "app", ok=False)
        return
    if server.role == CANDIDATE:
        server.role = FOLLOWER
    require(server.role == FOLLOWER, "a leader of this term receives entries")
    matches = letter.last == 0 or (
        letter.last <= len(server.log) and letter.log_term == server.term_at(letter.last)
    )
    if not matches:
        _answer(model, server, letter, "app", ok=False)
        return
    committed, last = server.commit, letter.last + len(letter.entries)
    if letter.last + 1 <= committed:
        # Also a snapshot of much more than that: it is not taken in.
        if letter.variety == "heartbeat":
            server.commit = max(committed, letter.commit)
            _answer(model, server, letter, letter.variety, index=last)
        else:
            _answer(model, server, letter, letter.variety, index=committed)
        return
    _append(server, letter)
    server.commit = max(committed, min(letter.commit, last))
    _answer(model, server, letter, letter.variety, index=last)


def _append(server: Server, letter: Letter) -> None:
    """Take conflicting entries back, from the end, and add what is missing."""
    log, entries, before = server.log, letter.entries, letter.last
    overlap = min(len(log) - before, len(entries))
    agree = next((k for k in range(overlap) if log[before + k].term != entries[k].term), overlap)
    if agree < overlap:
        del log[before + agree :]
    if before + len(entries) > len(log):
        log.extend(entries[len(log) - before :])


def _answer(
    model: Model,
    server: Server,
    letter: Letter,
    variety: str,
    *,
    ok: bool = True,
    index: int = 0,
) -> None:
    """Let an answer wait for the receiver's next Ready."""
    model.send(
        Letter(
            "AppendEntriesResponse",
            variety,
            server.term,
            server.nid,
            letter.sender,
            ok=ok,
            last=index if ok else 0,
        )
    )
