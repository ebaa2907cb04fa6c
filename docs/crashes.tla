------------------------------- MODULE crashes -------------------------------
(***************************************************************************)
(* Raft with disks that take their time, and deaths that lose what was not *)
(* synced. The specification of etcd's raft makes everything durable in    *)
(* the step that sends; here, as in raftdb's core, some messages leave at  *)
(* once and some wait for a save, and a save takes a while in which other  *)
(* things happen. It asks one question: which messages have to wait?       *)
(*                                                                         *)
(* Left out is what does not touch that question: heartbeats, snapshots,   *)
(* changes of members, pre-votes. An append carries its sender's whole     *)
(* log, so that nobody has to probe. Messages are never taken away from    *)
(* the network: each may arrive late, twice, or not at all.                *)
(*                                                                         *)
(* docs/traces.md says how to run it, and what TLC answers.                *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
    Server,
    Nobody,             \* who a vote is for that was not given
    Begun,              \* whether somebody leads term 1 already, which saves TLC nine steps
    MaxTerm,            \* bounds of what is explored
    MaxLog,
    MaxCrashes,
    RequestWaits,       \* RequestVote waits for the save of the campaign [R7g]
    AnswerWaits,        \* so do votes and acknowledgements [R7]
    OwnMatchWaits       \* a leader counts itself for what it has saved [R7b]

VARIABLES
    mem,      \* of each server: term, vote, role, log, commit, votes, match
    disk,     \* of each server: term, vote, log
    saving,   \* of each server: the save in hand, or Nothing
    later,    \* of each server: messages that wait for the next save
    net,      \* every message ever sent
    history   \* leaders: of which term; committed: what was, by index; writes and crashes so far

vars == <<mem, disk, saving, later, net, history>>

Nothing == [term |-> 0, vote |-> Nobody, log |-> <<>>, messages |-> {}, none |-> TRUE]
Symmetric == Permutations(Server)
IsQuorum(S) == 2 * Cardinality(S) > Cardinality(Server)
LastTerm(log) == IF log = <<>> THEN 0 ELSE log[Len(log)].term
Durable(m) == [term |-> m.term, vote |-> m.vote, log |-> m.log]
Max(a, b) == IF a > b THEN a ELSE b
Min(a, b) == IF a < b THEN a ELSE b

\* A server as it comes back with what is on a disk.
Started(d) == [term |-> d.term, vote |-> d.vote, role |-> "follower", log |-> d.log, commit |-> 0,
               votes |-> {}, match |-> [j \in Server |-> 0]]

\* All begin with nothing, or with one of them leading term 1, which all have on their disks.
Init ==
    \E one \in Server :
        LET begin == IF Begun THEN [term |-> 1, vote |-> one, log |-> <<>>]
                              ELSE [term |-> 0, vote |-> Nobody, log |-> <<>>]
            role(i) == IF Begun /\ i = one THEN "leader" ELSE "follower"
        IN  /\ disk = [i \in Server |-> begin]
            /\ mem = [i \in Server |-> [Started(begin) EXCEPT !.role = role(i)]]
            /\ saving = [i \in Server |-> Nothing]
            /\ later = [i \in Server |-> {}]
            /\ net = {}
            /\ history = [leaders |-> IF Begun THEN {<<1, one>>} ELSE {}, committed |-> {},
                          writes |-> 0, crashes |-> 0]

\* Where a message goes to: the network, or what waits for the save.
Send(i, message, waits) ==
    IF waits THEN /\ later' = [later EXCEPT ![i] = @ \union {message}]
                  /\ net' = net
             ELSE /\ net' = net \union {message}
                  /\ later' = later

\* The term rule (Paper, Fig. 2, All Servers).
Entered(m, term) ==
    IF term > m.term
    THEN [m EXCEPT !.term = term, !.vote = Nobody, !.role = "follower", !.votes = {}]
    ELSE m

------------------------------------------------------------------------------
\* A server's own steps

\* The own vote counts with the save, in EndSave, as it does in etcd [R7a].
Campaign(i) ==
    LET m == mem[i]
    IN  /\ m.role # "leader"
        /\ m.term < MaxTerm
        /\ mem' = [mem EXCEPT ![i] = [m EXCEPT !.term = @ + 1, !.vote = i, !.role = "candidate",
                                               !.votes = {}]]
        /\ Send(i, [kind |-> "request", term |-> m.term + 1, from |-> i,
                    last |-> LastTerm(m.log), size |-> Len(m.log)], RequestWaits)
        /\ UNCHANGED <<disk, saving, history>>

Lead(i) ==
    LET m == mem[i]
    IN  /\ m.role = "candidate"
        /\ IsQuorum(m.votes)
        /\ mem' = [mem EXCEPT ![i] = [m EXCEPT !.role = "leader",
                        !.match = [j \in Server |-> IF j = i THEN Len(m.log) ELSE 0]]]
        /\ history' = [history EXCEPT !.leaders = @ \union {<<m.term, i>>}]
        /\ UNCHANGED <<disk, saving, later, net>>

\* Each write has a number of its own, so that two entries of one name can be told apart.
Write(i) ==
    LET m == mem[i]
        log == Append(m.log, [term |-> m.term, value |-> history.writes])
        match == IF OwnMatchWaits THEN m.match ELSE [m.match EXCEPT ![i] = Len(log)]
    IN  /\ m.role = "leader"
        /\ Len(m.log) < MaxLog
        /\ mem' = [mem EXCEPT ![i] = [m EXCEPT !.log = log, !.match = match]]
        /\ history' = [history EXCEPT !.writes = @ + 1]
        /\ UNCHANGED <<disk, saving, later, net>>

\* Appends never wait: the followers' disks work beside the leader's (Thesis 10.2.1).
Replicate(i) ==
    LET m == mem[i]
        message == [kind |-> "append", term |-> m.term, from |-> i, log |-> m.log,
                    commit |-> m.commit]
    IN  /\ m.role = "leader"
        /\ m.log # <<>>
        /\ message \notin net
        /\ net' = net \union {message}
        /\ UNCHANGED <<mem, disk, saving, later, history>>

Commit(i) ==
    LET m == mem[i]
        agreed == {n \in 1..Len(m.log) : /\ IsQuorum({j \in Server : m.match[j] >= n})
                                         /\ m.log[n].term = m.term}
    IN  /\ m.role = "leader"
        /\ \E n \in agreed :
            /\ n > m.commit
            /\ mem' = [mem EXCEPT ![i] = [m EXCEPT !.commit = n]]
            /\ history' = [history EXCEPT !.committed =
                                @ \union {<<k, m.log[k]>> : k \in 1..n}]
        /\ UNCHANGED <<disk, saving, later, net>>

------------------------------------------------------------------------------
\* The disk

BeginSave(i) ==
    /\ saving[i] = Nothing
    /\ Durable(mem[i]) # disk[i] \/ later[i] # {}
    /\ saving' = [saving EXCEPT ![i] = [term |-> mem[i].term, vote |-> mem[i].vote,
                        log |-> mem[i].log, messages |-> later[i], none |-> FALSE]]
    /\ later' = [later EXCEPT ![i] = {}]
    /\ UNCHANGED <<mem, disk, net, history>>

\* What was saved counts now, as far as it still is what this server has.
EndSave(i) ==
    LET m == mem[i]
        saved == saving[i]
        same == {n \in 1..Min(Len(saved.log), Len(m.log)) : saved.log[n] = m.log[n]}
        own == m.role = "candidate" /\ saved.term = m.term /\ saved.vote = i
        kept == Max(m.match[i], Cardinality(same))
    IN  /\ saved # Nothing
        /\ disk' = [disk EXCEPT ![i] = [term |-> saved.term, vote |-> saved.vote,
                                        log |-> saved.log]]
        /\ saving' = [saving EXCEPT ![i] = Nothing]
        /\ net' = net \union saved.messages
        /\ mem' = [mem EXCEPT ![i] = [m EXCEPT
                        !.votes = IF own THEN @ \union {i} ELSE @,
                        !.match = IF m.role = "leader" THEN [@ EXCEPT ![i] = kept] ELSE @]]
        /\ UNCHANGED <<later, history>>

\* A death in the middle of a save keeps all of it or nothing.
Crash(i) ==
    /\ history.crashes < MaxCrashes
    /\ history' = [history EXCEPT !.crashes = @ + 1]
    /\ \E d \in {disk[i]} \union (IF saving[i] = Nothing THEN {} ELSE {Durable(saving[i])}) :
        /\ disk' = [disk EXCEPT ![i] = d]
        /\ mem' = [mem EXCEPT ![i] = Started(d)]
    /\ saving' = [saving EXCEPT ![i] = Nothing]
    /\ later' = [later EXCEPT ![i] = {}]
    /\ UNCHANGED net

------------------------------------------------------------------------------
\* Messages

Vote(i, q) ==
    LET m == Entered(mem[i], q.term)
        grant == /\ q.term = m.term
                 /\ m.vote \in {Nobody, q.from}
                 /\ \/ q.last > LastTerm(m.log)
                    \/ q.last = LastTerm(m.log) /\ q.size >= Len(m.log)
    IN  /\ q.kind = "request" /\ q.from # i /\ grant
        /\ mem' = [mem EXCEPT ![i] = [m EXCEPT !.vote = q.from]]
        /\ Send(i, [kind |-> "vote", term |-> m.term, from |-> i, to |-> q.from], AnswerWaits)
        /\ UNCHANGED <<disk, saving, history>>

Count(i, q) ==
    /\ q.kind = "vote" /\ q.to = i
    /\ mem[i].role = "candidate" /\ q.term = mem[i].term
    /\ mem' = [mem EXCEPT ![i].votes = @ \union {q.from}]
    /\ UNCHANGED <<disk, saving, later, net, history>>

\* Only a conflict takes entries back; entries of one term and index are taken for the same.
Taken(own, theirs) ==
    LET differ == {n \in 1..Len(theirs) : n > Len(own) \/ own[n].term # theirs[n].term}
    IN  IF differ = {} THEN own
        ELSE LET n == CHOOSE k \in differ : \A l \in differ : k <= l
             IN  SubSeq(own, 1, n - 1) \o SubSeq(theirs, n, Len(theirs))

Take(i, q) ==
    LET m == Entered(mem[i], q.term)
        log == Taken(m.log, q.log)
        commit == Max(m.commit, Min(q.commit, Len(q.log)))
    IN  /\ q.kind = "append" /\ q.from # i
        /\ q.term = m.term /\ m.role # "leader"
        /\ mem' = [mem EXCEPT ![i] = [m EXCEPT !.role = "follower", !.votes = {}, !.log = log,
                                               !.commit = commit]]
        /\ Send(i, [kind |-> "have", term |-> m.term, from |-> i, to |-> q.from,
                    size |-> Len(q.log)], AnswerWaits)
        /\ UNCHANGED <<disk, saving, history>>

Have(i, q) ==
    /\ q.kind = "have" /\ q.to = i
    /\ mem[i].role = "leader" /\ q.term = mem[i].term
    /\ mem' = [mem EXCEPT ![i].match = [@ EXCEPT ![q.from] = Max(@, q.size)]]
    /\ UNCHANGED <<disk, saving, later, net, history>>

Next ==
    \/ \E i \in Server : \/ Campaign(i) \/ Lead(i) \/ Write(i) \/ Replicate(i) \/ Commit(i)
                         \/ BeginSave(i) \/ EndSave(i) \/ Crash(i)
    \/ \E i \in Server : \E q \in net : Vote(i, q) \/ Count(i, q) \/ Take(i, q) \/ Have(i, q)

Spec == Init /\ [][Next]_vars

------------------------------------------------------------------------------
\* What must hold (Paper, Fig. 3)

ElectionSafety == \A a, b \in history.leaders : a[1] = b[1] => a[2] = b[2]

LogMatching ==
    \A i, j \in Server : \A n \in 1..Min(Len(mem[i].log), Len(mem[j].log)) :
        mem[i].log[n].term = mem[j].log[n].term =>
            SubSeq(mem[i].log, 1, n) = SubSeq(mem[j].log, 1, n)

StateMachineSafety == \A a, b \in history.committed : a[1] = b[1] => a[2] = b[2]

LeaderCompleteness ==
    \A i \in Server : mem[i].role = "leader" =>
        \A c \in history.committed : c[2].term < mem[i].term =>
            Len(mem[i].log) >= c[1] /\ mem[i].log[c[1]] = c[2]

==============================================================================
