--------------------------------- MODULE MC ---------------------------------
(* What the .cfg files cannot say: sequences, and sets that are equal but for names. *)
EXTENDS Multipaxos, TLC

\* Two commands are alike.
Alike == Permutations(Values)

One     == { 1 }
Two     == { 1, 2 }
Three   == { 1, 2, 3 }
Four    == { 1, 2, 3, 4 }

\* Ballots: <<configuration, round>>. With three founders round 0 belongs to replica 1,
\* round 1 to 2, round 2 to 3, round 3 to 1 again.
Ballots01   == << <<0, 0>>, <<0, 1>> >>
Ballots012  == << <<0, 0>>, <<0, 1>>, <<0, 2>> >>
Ballots013  == << <<0, 0>>, <<0, 1>>, <<0, 3>> >>
Ballots0134 == << <<0, 0>>, <<0, 1>>, <<0, 3>>, <<0, 4>> >>

\* One ballot of each configuration; in Joins the second belongs to a fresh directory.
Change01  == << <<0, 0>>, <<1, 0>> >>
Change012 == << <<0, 0>>, <<1, 0>>, <<2, 0>> >>
Joins     == << <<0, 0>>, <<1, 2>> >>

\* Two ballots of configuration 0 and one of configuration 1, and the other way round.
Change001 == << <<0, 0>>, <<0, 1>>, <<1, 0>> >>
Change011 == << <<0, 0>>, <<1, 0>>, <<1, 1>> >>
Change0001 == << <<0, 0>>, <<0, 1>>, <<0, 2>>, <<1, 0>> >>
Change0011 == << <<0, 0>>, <<0, 1>>, <<1, 0>>, <<1, 1>> >>

NoChanges == {}
\* A fresh directory takes the place of replica 3's, of replica 1's.
Replace3 == { { 1, 2, 4 } }
Replace1 == { { 2, 3, 4 } }
Add4     == { { 1, 2, 3, 4 } }
Remove3  == { { 1, 2 } }
Remove1  == { { 2, 3 } }
\* Two leaders want different members.
Rivals   == { { 1, 2 }, { 2, 3 } }
\* 4 takes the place of 3, and then 2 is removed.
Chain    == { { 1, 2, 4 }, { 1, 4 } }
\* From {1, 2, 3} either, but not from one to the other.
Apart    == { { 1, 2 }, { 1, 2, 3, 4 } }

\* A constraint that keeps a model small: ballot 0 begins with a change, if with anything.
ChangeComesFirst == proposed[1][0] = None \/ IsStop(proposed[1][0].val)

\* What must happen in some state: each is the denial of it, and must be broken.
NothingUnderTheNewMembers ==
    \A b \in Ballots, s \in Slots : Conf(b) > 0 => ChosenAt(b, s) = {}

NothingAfterTwoChanges ==
    \A b \in Ballots, s \in Slots : Conf(b) > 1 => ChosenAt(b, s) = {}

NoJoinerIsNeeded ==
    \A b \in Ballots, s \in Slots :
        ~ /\ IsMajority({ v[1] : v \in votes[b][s] }, lead[b].members)
          /\ ~ IsMajority({ v[1] : v \in votes[b][s] } \cap Founders, lead[b].members)

NoStaleStopIsReported ==
    \A c \in Ballots, a, d \in Acceptors, s, t \in Slots :
        ~ /\ s < t
          /\ promises[c][a] /= None /\ promises[c][d] /= None
          /\ IsStop(promises[c][a].accepted[s].val)
          /\ promises[c][d].accepted[t].bal > promises[c][a].accepted[s].bal
=============================================================================
