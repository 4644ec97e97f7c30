----------------------------- MODULE Multipaxos -----------------------------
(***************************************************************************)
(* The protocol of docs/protocol.md, with its change of members            *)
(* (spec/README.md).                                                        *)
(*                                                                         *)
(* With MaxChanges = 0 members never change: there is a row of slots,       *)
(* one phase 1 for all of them, acceptances slot by slot, and learners     *)
(* that apply what is decided in order. With MaxChanges > 0 a decided      *)
(* command may replace the members (rules M1 to M8).                       *)
(*                                                                         *)
(* An acceptor is a DATA DIRECTORY (S6): a replica that has lost its disk  *)
(* is another acceptor from then on, and the old one never acts again.     *)
(* Acceptors are numbers, ordered as the replica ids are.                  *)
(*                                                                         *)
(* What is abstracted:                                                     *)
(* - Messages are state that stays: what a candidate was promised, what a  *)
(*   leader has proposed, which acceptances have left. A step may act on   *)
(*   them at any later time, any number of times, or never; so they are    *)
(*   lost, repeated, delayed and reordered.                                *)
(* - A role's step, its records and their sync are one step (S1). A crash  *)
(*   between them is either before the step, or a lost message after it.   *)
(* - A promise is whole. Its pages (S5) count only once they are all there,*)
(*   and nothing that they tell changes under one promise.                 *)
(* - Values travel with proposals. That a candidate fetches those that its *)
(*   own acceptor lacks (S4, S5) is part of Lead.                          *)
(* - A learner that counts a quorum decides the lowest slot that it has not*)
(*   applied, and applies it (E1). What clients see is not here (E2, E3).  *)
(* - Pre-votes, heartbeats and time are not here: safety does not rest on  *)
(*   them.                                                                 *)
(*                                                                         *)
(* Bug switches one wrong rule on. The name is that of the patch in bugs/  *)
(* where the mistake is one of the protocol as it is built.                *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    Acceptors,   \* all data directories that ever are: a set of numbers
    Founders,    \* the members of configuration 0: the started record (S6)
    Changes,     \* sets of members that a change may name
    MaxChanges,  \* how many changes there may be
    BallotList,  \* the ballots that are used, in order: <<configuration, round>>
    SlotCount,   \* how many slots there are
    Values,      \* the commands of clients
    Noop, None,  \* the value that fills a hole; the absence of a value
    LearnMax,    \* how many slots learners apply; those above are judged by what is chosen
    Trims,       \* whether acceptors forget what their learner has applied
    ByName,      \* whether a new leader names values instead of sending them
    Restarts,    \* whether processes die and come back
    Bug          \* which wrong rule is switched on

Bugs == { "none",
    \* of the protocol as it is built
    "candidate-counts-itself-unpromised", "promise-hides-trimmed-slots",
    "chosen-noop-is-nothing", "ballot-used-again-after-restart",
    "answer-before-durable", "acceptance-does-not-promise",
    "accept-checks-last-accepted", "trim-forgets-promise", "old-promises-count",
    "promiser-counts-twice", "tally-across-ballots", "first-value-wins",
    "own-command-first", "wiped-replica-votes", "mark-decides-any-ballot",
    "fetched-slots-are-marked", "own-value-at-any-ballot",
    "values-not-waited-for", "names-whatever-was-reported",
    \* of the change of members
    "changes-overlap", "old-vote-counts", "joiner-votes-early",
    "joiner-leads-early", "removed-leader-goes-on", "stale-stop-stands",
    "old-reports-count", "half-is-a-quorum", "voter-forgets-the-change",
    "forgotten-change-ends-nothing", "campaign-outlives-the-change" }

ASSUME Bug \in Bugs
ASSUME Founders \subseteq Acceptors /\ \A M \in Changes : M \subseteq Acceptors

Is(bug) == Bug = bug

VARIABLES
    promised,  \* for each acceptor: the highest ballot it has promised; 0: none
    accepted,  \* for each acceptor and slot: the ballot and the value accepted
    trimmed,   \* for each acceptor: it has forgotten the slots below
    log,       \* for each acceptor's replica: the values of its applied slots
    lead,      \* for each ballot: what its owner does
    promises,  \* for each ballot: what each acceptor has reported under it
    proposed,  \* for each ballot and slot: the value, and where it was reported
    votes      \* for each ballot and slot: acceptors and what they accepted

vars == << promised, accepted, trimmed, log, lead, promises, proposed, votes >>

-----------------------------------------------------------------------------
(* Slots, ballots, configurations                                          *)

Slots   == 0 .. SlotCount - 1
Ballots == 1 .. Len(BallotList)

\* M2: a ballot belongs to one configuration. Ballots are compared by their
\* configuration, and then by their round. So a ballot of configuration 0 is the
\* number that it is today.
Conf(b)  == BallotList[b][1]
Round(b) == BallotList[b][2]

Max(S) == CHOOSE x \in S : \A y \in S : y <= x
Min(S) == CHOOSE x \in S : \A y \in S : x <= y

\* M1: a command that names members is a stop-sign: the last one of its configuration.
IsStop(v) == v \in Changes

\* Where in a log the changes stand: the lengths of the log that end with one.
Stops(l) == { i \in 1 .. Len(l) : IsStop(l[i]) }

\* The newest configuration that a log knows.
Known(l) == Cardinality(Stops(l))

\* The first slot of configuration c, in a log that knows it.
Begin(l, c) ==
    IF c = 0 THEN 0
    ELSE CHOOSE i \in Stops(l) : Cardinality({ j \in Stops(l) : j <= i }) = c

\* The members of configuration c, in a log that knows it.
MembersOf(l, c) == IF c = 0 THEN Founders ELSE l[Begin(l, c)]

\* M3: two majorities of one configuration share a member, for even sizes too.
IsMajority(S, M) == 2 * Cardinality(S \cap M) > Cardinality(M)
IsQuorum(S, M) ==
    IF Is("half-is-a-quorum") THEN 2 * Cardinality(S \cap M) >= Cardinality(M)
    ELSE IsMajority(S, M)

\* M1: a change adds, removes or replaces one member.
ChangesOneMember(M, N) == Cardinality(M \ N) <= 1 /\ Cardinality(N \ M) <= 1

\* M2: round mod n, where the members are counted in the order of their ids.
Owner(b, M) ==
    CHOOSE a \in M : Cardinality({ m \in M : m < a }) = Round(b) % Cardinality(M)

Nothing == [bal |-> 0, val |-> None]
Idle    == [phase |-> "idle", who |-> 0, members |-> {}, next |-> 0]

\* Whether the owner of this ballot is at work. A process that has died is not (S2).
Works(b) == lead[b].phase \in { "campaigns", "leads" }

-----------------------------------------------------------------------------
Init ==
    /\ promised = [a \in Acceptors |-> 0]
    /\ accepted = [a \in Acceptors |-> [s \in Slots |-> Nothing]]
    /\ trimmed  = [a \in Acceptors |-> 0]
    /\ log      = [a \in Acceptors |-> << >>]
    /\ lead     = [b \in Ballots |-> Idle]
    /\ promises = [b \in Ballots |-> [a \in Acceptors |-> None]]
    /\ proposed = [b \in Ballots |-> [s \in Slots |-> None]]
    /\ votes    = [b \in Ballots |-> [s \in Slots |-> {}]]

-----------------------------------------------------------------------------
(* Phase 1                                                                 *)

\* What an acceptor reports with a promise (S4), and its trim mark (S5).
Report(a) ==
    [trimmed  |-> IF Is("promise-hides-trimmed-slots") THEN 0 ELSE trimmed[a],
     accepted |-> accepted[a]]

\* M4: a directory votes in a configuration once it has applied the change that made
\* it, durably, and if that change names it. (In configuration 0 founders vote.)
\* M5: it may go on until it has forgotten the change that ended this configuration.
MayVote(a, b) ==
    \/ /\ Known(log[a]) >= Conf(b)
       /\ a \in MembersOf(log[a], Conf(b))
       /\ IF Known(log[a]) = Conf(b) \/ Is("forgotten-change-ends-nothing") THEN TRUE
          ELSE trimmed[a] < Begin(log[a], Conf(b) + 1)
    \/ Is("joiner-votes-early") /\ a \in lead[b].members
    \/ Is("old-vote-counts") /\ a \in Founders

\* S2, M2, M5: the owner of a ballot begins phase 1 with its own durable promise. It
\* campaigns only under the newest configuration that it has applied, as a member. A
\* process holds one ballot.
Campaign(r, b) ==
    /\ lead[b] = Idle
    /\ promised[r] < b
    /\ \E from \in Acceptors :
        LET M == MembersOf(log[from], Conf(b)) IN
        \* What the replica knows, it has applied itself.
        /\ from = r \/ Is("joiner-leads-early")
        /\ Known(log[from]) = Conf(b)
        /\ r \in M /\ Owner(b, M) = r
        /\ lead' = [c \in Ballots |->
             IF c = b THEN [phase |-> "campaigns", who |-> r, members |-> M,
                            next |-> 0]
             ELSE IF lead[c].who = r /\ Works(c)
                  THEN [lead[c] EXCEPT !.phase = "ended"]
             ELSE lead[c]]
    /\ promised' = IF Is("candidate-counts-itself-unpromised") THEN promised
                   ELSE [promised EXCEPT ![r] = b]
    /\ promises' = [promises EXCEPT ![b][r] = Report(r)]
    /\ UNCHANGED << accepted, trimmed, log, proposed, votes >>

\* S1, S3, M4: an acceptor promises a higher ballot than any before, and reports. (A
\* promise that comes after phase 1 has ended does nothing but refuse lower ballots.
\* Nothing makes an acceptor accept those, so such a step would add nothing.)
Promise(a, b) ==
    /\ lead[b].phase = "campaigns"
    /\ promised[a] < b
    /\ MayVote(a, b)
    /\ promised' = [promised EXCEPT ![a] = b]
    /\ promises' = [promises EXCEPT ![b][a] = Report(a)]
    /\ UNCHANGED << accepted, trimmed, log, lead, proposed, votes >>

\* The report of an acceptor that a candidate counts: under this ballot alone (S3).
Counted(a, b) ==
    IF promises[b][a] /= None THEN promises[b][a]
    ELSE IF Is("old-promises-count")
         THEN LET older == { c \in Ballots : /\ c < b /\ lead[c].who = lead[b].who
                                             /\ promises[c][a] /= None }
              IN IF older = {} THEN None ELSE promises[Max(older)][a]
    ELSE None

\* S3, M3: promises count for each acceptor, and only those of members. Ballot 0 needs
\* no other promise than its owner's, since nothing is accepted before it (S2).
IsPromised(Q, b) ==
    IF b = 1 THEN Q = { lead[b].who }
    ELSE \/ IsQuorum(Q, lead[b].members)
         \/ Is("promiser-counts-twice") /\ 2 * Cardinality(Q) >= 2
         \/ Is("old-vote-counts")
            /\ 2 * Cardinality(Q) > Cardinality(lead[b].members)

\* S4, S5, M5, M6, M7: a quorum has promised, and the candidate's configuration is still
\* the newest that it knows. The new leader begins where no member of this
\* quorum has forgotten anything. It proposes again what may be chosen, fills the holes
\* below with Noop, and proposes nothing above a stop-sign.
Lead(b, Q) ==
    LET r     == lead[b].who
        of(a) == Counted(a, b)
        first == Max({ Len(log[r]) } \cup { of(a).trimmed : a \in Q })
        \* M6: what was accepted under an earlier configuration says nothing.
        counts(p) == /\ p.bal > 0
                     /\ Conf(p.bal) = Conf(b) \/ Is("old-reports-count")
                     /\ ~ (Is("chosen-noop-is-nothing") /\ p.val = Noop)
                     /\ ~ Is("own-command-first")
        reports(s) == { p \in { of(a).accepted[s] : a \in Q } : counts(p) }
        \* S4: what was accepted at the highest ballot.
        best(s) == CHOOSE p \in reports(s) : \A o \in reports(s) : o.bal <= p.bal
        own(s)  == of(r).accepted[s]
        found   == { s \in Slots : s >= first /\ reports(s) /= {} }
        \* M7: a stop-sign stands unless something above it is reported at a higher ballot.
        stale(s) == /\ \E t \in found : t > s /\ best(t).bal > best(s).bal
                    /\ ~ Is("stale-stop-stands")
        stands   == { s \in found : IsStop(best(s).val) /\ ~ stale(s) }
        end      == IF stands /= {} /\ ~ Is("changes-overlap") THEN Min(stands) + 1
                    ELSE IF found /= {} THEN Max(found) + 1
                    ELSE first
        again(s) ==
            IF s \notin found THEN [val |-> Noop, from |-> 0]
            ELSE LET p == IF Is("own-value-at-any-ballot") /\ own(s).bal > 0
                          THEN own(s)
                          ELSE IF Is("first-value-wins")
                          THEN CHOOSE p \in reports(s) :
                                  \A o \in reports(s) : o.bal >= p.bal
                          ELSE best(s)
                 IN IF \/ IsStop(p.val) /\ stale(s)
                       \/ Is("values-not-waited-for") /\ own(s) /= p
                    THEN [val |-> Noop, from |-> 0]
                    ELSE [val |-> p.val, from |-> IF ByName THEN p.bal ELSE 0]
    IN
    /\ lead[b].phase = "campaigns"
    /\ Known(log[r]) = Conf(b) \/ Is("joiner-leads-early") \/ Is("campaign-outlives-the-change")
    /\ \A a \in Q : Counted(a, b) /= None
    /\ IsPromised(Q, b)
    /\ proposed' = [proposed EXCEPT ![b] =
          [s \in Slots |-> IF s >= first /\ s < end THEN again(s) ELSE None]]
    /\ lead' = [lead EXCEPT ![b].phase = "leads", ![b].next = end]
    \* What was reported is of no use any more (but for a bug).
    /\ promises' = IF Is("old-promises-count") THEN promises
                   ELSE [promises EXCEPT ![b] = [a \in Acceptors |-> None]]
    /\ UNCHANGED << promised, accepted, trimmed, log, votes >>

-----------------------------------------------------------------------------
(* Phase 2                                                                 *)

HasStop(b) == \E s \in Slots : proposed[b][s] /= None /\ IsStop(proposed[b][s].val)

\* M5: a leader whose configuration has ended proposes nothing. It knows that when it has
\* proposed the stop-sign itself (M1), or has applied it.
MayPropose(b) ==
    LET over == Known(log[lead[b].who]) > Conf(b) IN
    \/ ~ HasStop(b) /\ ~ over
    \/ Is("changes-overlap") /\ ~ over
    \/ Is("removed-leader-goes-on") /\ over

\* S4, M1: the leader's own clients' commands come above what was proposed again. A change
\* is a command like any other, but the last one of this ballot.
Propose(b, v) ==
    LET s == lead[b].next IN
    /\ lead[b].phase = "leads"
    /\ MayPropose(b)
    /\ s < SlotCount
    /\ IsStop(v) => /\ Conf(b) < MaxChanges
                     /\ v /= lead[b].members
                     /\ ChangesOneMember(lead[b].members, v)
    /\ proposed' = [proposed EXCEPT ![b][s] = [val |-> v, from |-> 0]]
    /\ lead' = [lead EXCEPT ![b].next = s + 1]
    /\ UNCHANGED << promised, accepted, trimmed, log, promises, votes >>

\* S3: the ballot is compared before the slot. Accepting is also promising.
MayAccept(a, b, s) ==
    /\ IF Is("accept-checks-last-accepted") THEN accepted[a][s].bal < b
       ELSE promised[a] <= b
    /\ MayVote(a, b)
    /\ trimmed[a] <= s

DoAccept(a, b, s, v) ==
    /\ promised' = IF Is("acceptance-does-not-promise") THEN promised
                   ELSE [promised EXCEPT ![a] = Max({ @, b })]
    /\ accepted' = [accepted EXCEPT ![a][s] = [bal |-> b, val |-> v]]
    /\ votes'    = [votes EXCEPT ![b][s] = @ \cup { << a, v >> }]
    /\ UNCHANGED << trimmed, log, lead, promises, proposed >>

\* S1, S3, M4: an acceptor takes a value that a leader has proposed.
Accept(a, b, s) ==
    /\ proposed[b][s] /= None
    /\ accepted[a][s].bal /= b
    /\ MayAccept(a, b, s)
    /\ DoAccept(a, b, s, proposed[b][s].val)

\* S4: an acceptor takes at the leader's ballot what it holds at just the named one.
AcceptHeld(a, b, s) ==
    /\ ByName
    /\ proposed[b][s] /= None /\ proposed[b][s].from > 0
    /\ \/ accepted[a][s].bal = proposed[b][s].from
       \/ Is("names-whatever-was-reported") /\ accepted[a][s].bal \in 1 .. b - 1
    /\ MayAccept(a, b, s)
    /\ DoAccept(a, b, s, accepted[a][s].val)

-----------------------------------------------------------------------------
(* Learning                                                                *)

\* S3, M3: a quorum of the ballot's configuration has accepted the slot at this one ballot.
IsTallied(b, s) ==
    LET at(c) == { v[1] : v \in votes[c][s] }
        whole == IF Is("tally-across-ballots")
                 THEN UNION { at(c) : c \in 1 .. b } ELSE at(b)
    IN IF Is("old-vote-counts")
       THEN 2 * Cardinality(whole) > Cardinality(lead[b].members)
       ELSE IsQuorum(whole, lead[b].members)

Apply(r, v) ==
    /\ Len(log[r]) < LearnMax
    /\ log' = [log EXCEPT ![r] = Append(@, v)]
    /\ UNCHANGED << promised, accepted, trimmed, lead, promises, proposed, votes >>

\* S7 (1), E1: the leader's learner counts, and applies the next slot.
Tally(b) ==
    LET r == lead[b].who
        s == Len(log[r])
    IN  /\ lead[b].phase = "leads"
        /\ s < LearnMax
        /\ proposed[b][s] /= None
        /\ IsTallied(b, s)
        /\ Apply(r, proposed[b][s].val)

\* S7: what a leader's decided mark may cover: what it has tallied itself at its ballot.
\* (It may still say so when it is deposed, and datagrams of it may come later.)
IsMarked(b, s) ==
    \/ proposed[b][s] /= None /\ IsTallied(b, s)
    \/ /\ Is("fetched-slots-are-marked")
       /\ lead[b].who /= 0 /\ s < Len(log[lead[b].who])

\* S7 (2), E1: a follower takes a slot by the mark of ballot b if its own acceptance is at b.
Follow(r, b) ==
    LET s == Len(log[r]) IN
    /\ s < LearnMax
    /\ IsMarked(b, s)
    /\ \/ accepted[r][s].bal = b
       \/ Is("mark-decides-any-ballot") /\ accepted[r][s].bal > 0
    /\ Apply(r, accepted[r][s].val)

\* S7 (3), E1, E4, M4: a learner fetches the next slot from a decided log. So does an
\* observer, which has no vote (yet).
Fetch(r, q) ==
    /\ Len(log[r]) < Len(log[q])
    /\ Apply(r, log[q][Len(log[r]) + 1])

\* S5, E4: an acceptor forgets the acceptances of what is durably applied here, and
\* keeps its promise.
Trim(a) ==
    LET s == trimmed[a] IN
    /\ Trims
    /\ s < Len(log[a])
    /\ trimmed'  = [trimmed EXCEPT ![a] = s + 1]
    /\ accepted' = [accepted EXCEPT ![a][s] = Nothing]
    /\ promised' = IF Is("trim-forgets-promise") THEN [promised EXCEPT ![a] = 0]
                   ELSE promised
    /\ UNCHANGED << log, lead, promises, proposed, votes >>

-----------------------------------------------------------------------------
(* Deaths                                                                  *)

\* How much of its log a replica finds again for certain: what its acceptor has trimmed
\* (E4), and the change that made the newest configuration in which it has voted (M4).
Durable(r) ==
    LET voted == IF promised[r] = 0 THEN 0 ELSE Conf(promised[r])
    IN  IF Is("voter-forgets-the-change") \/ voted > Known(log[r]) THEN trimmed[r]
        ELSE Max({ trimmed[r], Begin(log[r], voted) })

\* S1, S2, S6, E4: a process dies and comes back. The acceptor's memory is as it was; the
\* decided log may be shorter; a ballot that the process held is used up.
Restart(r) ==
    /\ Restarts
    /\ \E length \in Durable(r) .. Len(log[r]) :
          log' = [log EXCEPT ![r] = SubSeq(@, 1, length)]
    /\ IF Is("answer-before-durable") \/ Is("wiped-replica-votes")
       \* Nothing of the memory was synced; or the disk is lost, and the id votes on.
       THEN /\ promised' = [promised EXCEPT ![r] = 0]
            /\ accepted' = [accepted EXCEPT ![r] = [s \in Slots |-> Nothing]]
       ELSE UNCHANGED << promised, accepted >>
    /\ lead' = [b \in Ballots |->
          IF lead[b].who /= r \/ ~ Works(b) THEN lead[b]
          ELSE IF Is("ballot-used-again-after-restart") /\ b = 1
               THEN [lead[b] EXCEPT !.next = 0]
               ELSE [lead[b] EXCEPT !.phase = "ended"]]
    /\ UNCHANGED << trimmed, promises, proposed, votes >>

-----------------------------------------------------------------------------
Next ==
    \/ \E r \in Acceptors, b \in Ballots : Campaign(r, b)
    \/ \E a \in Acceptors, b \in Ballots : Promise(a, b)
    \/ \E b \in Ballots : \E Q \in SUBSET Acceptors : Lead(b, Q)
    \/ \E b \in Ballots, v \in Values \cup Changes : Propose(b, v)
    \/ \E a \in Acceptors, b \in Ballots, s \in Slots : Accept(a, b, s)
    \/ \E a \in Acceptors, b \in Ballots, s \in Slots : AcceptHeld(a, b, s)
    \/ \E b \in Ballots : Tally(b)
    \/ \E r \in Acceptors, b \in Ballots : Follow(r, b)
    \/ \E r, q \in Acceptors : Fetch(r, q)
    \/ \E a \in Acceptors : Trim(a)
    \/ \E r \in Acceptors : Restart(r)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What must hold                                                          *)

AllValues == Values \cup Changes \cup { Noop }

TypeOK ==
    /\ promised \in [Acceptors -> 0 .. Len(BallotList)]
    /\ trimmed \in [Acceptors -> 0 .. SlotCount]
    /\ \A a \in Acceptors : Len(log[a]) <= SlotCount
    /\ \A a \in Acceptors, s \in Slots :
          (accepted[a][s].bal = 0) <=> (accepted[a][s].val = None)

\* I1: the values that a quorum has accepted in a slot at one ballot, by the definition.
ChosenAt(b, s) ==
    IF votes[b][s] = {} THEN {}
    ELSE { v \in { vote[2] : vote \in votes[b][s] } :
             IsMajority({ a \in Acceptors : << a, v >> \in votes[b][s] }, lead[b].members) }
Chosen(s) == UNION { ChosenAt(b, s) : b \in Ballots }

\* What replicas have applied in a slot.
Applied(s) == { log[a][s + 1] : a \in { x \in Acceptors : Len(log[x]) > s } }

\* I1, I4: one value in each slot, chosen or applied.
Agreement == \A s \in Slots : Cardinality(Chosen(s) \cup Applied(s)) <= 1

\* I4: what is applied was chosen. So logs are prefixes of one another.
AppliedIsChosen == \A s \in Slots : Applied(s) \subseteq Chosen(s)

\* I1, its second half: no ballot above the one at which a value was chosen proposes
\* another one in its slot.
NothingElseAbove ==
    \A s \in Slots, b, c \in Ballots :
        b < c /\ proposed[c][s] /= None => ChosenAt(b, s) \subseteq { proposed[c][s].val }

\* I2: one value for a slot and a ballot.
OneValue ==
    \A b \in Ballots, s \in Slots :
        \A v \in votes[b][s] : proposed[b][s] /= None /\ v[2] = proposed[b][s].val

\* S3, I3: no acceptance lies above the promise.
PromiseCovers ==
    \A a \in Acceptors, s \in Slots : accepted[a][s].bal <= promised[a]

\* I3: no promise goes down.
PromisesRise == [][\A a \in Acceptors : promised'[a] >= promised[a]]_vars

\* I7: whatever is chosen was proposed by some leader as its own client's command, or is
\* Noop or a change.
Validity ==
    \A s \in Slots : \A v \in Chosen(s) \cup Applied(s) :
        v \in { Noop } \cup { p.val : p \in { proposed[b][t] : b \in Ballots, t \in Slots }
                                            \ { None } }

\* M1, M7: nothing is proposed above a stop-sign of the same ballot.
StopIsLast ==
    \A b \in Ballots, s, t \in Slots :
        (/\ proposed[b][s] /= None /\ IsStop(proposed[b][s].val)
         /\ t > s)
        => proposed[b][t] = None

\* M1, M7: where a change is chosen, its configuration chooses nothing above it.
ChangeIsTheLast ==
    \A s, t \in Slots : s < t =>
        \A b, c \in Ballots :
            Conf(b) = Conf(c) /\ (\E v \in ChosenAt(b, s) : IsStop(v))
                => ChosenAt(c, t) = {}

\* M1: a slot is decided by the one configuration to which it belongs.
SlotHasOneConfiguration ==
    \A a \in Acceptors, s \in Slots :
        Len(log[a]) > s =>
            \A b \in Ballots :
                ChosenAt(b, s) /= {} => Conf(b) = Known(SubSeq(log[a], 1, s))

\* M4, M8: once a ballot of a configuration leads, each quorum of that configuration has a
\* member that holds the whole log below. So whoever is no member may be switched off.
EachQuorumHasTheLog ==
    \A b \in Ballots :
        (Conf(b) > 0 /\ lead[b].phase = "leads") =>
            LET M == lead[b].members
                least == Min({ Begin(log[a], Conf(b)) :
                                 a \in { x \in Acceptors : Known(log[x]) >= Conf(b) } })
            IN  (\E x \in Acceptors : Known(log[x]) >= Conf(b)) =>
                \A Q \in SUBSET M :
                    IsMajority(Q, M) => \E a \in Q : Len(log[a]) >= least

\* M1, M6: configurations follow each other one change at a time.
OneMemberAtATime ==
    \A a \in Acceptors : \A c \in 1 .. Known(log[a]) :
        ChangesOneMember(MembersOf(log[a], c - 1), MembersOf(log[a], c))
=============================================================================
