//! What a proposer does about leading, and what keeps it from it: for whoever explains a run.
//!
//! Nothing here changes anything. A proposer that is replayed is asked (`trace explain`), and a
//! pre-vote is refused by the same [`Refusal`] that is explained.

use super::{Proposer, State};
use crate::quorum::ReplicaSet;
use crate::types::{Ballot, ReplicaId, Time};

/// What a proposer does about leading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It may not lead: its vote does not count, for this reason.
    Observes(NoVote),
    /// It follows, and waits.
    Follows(Patience),
    /// It asks whether a quorum would help it.
    AsksForPreVotes {
        /// The ballot with which it would campaign.
        ballot: Ballot,
        /// The number of the question in this life.
        round: u64,
        /// Who would help, itself included.
        granted: ReplicaSet,
    },
    /// It campaigns with this ballot.
    Campaigns {
        /// The ballot.
        ballot: Ballot,
        /// Who has promised it.
        promised: ReplicaSet,
    },
    /// It leads with this ballot.
    Leads(Ballot),
}

/// Why a vote does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoVote {
    /// The directory is not on the list with which the cluster started (S6).
    NotMember,
    /// Another process runs on a copy of the directory (S12).
    Beside,
}

/// How long a follower waits, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The highest ballot that it has heard to lead.
    pub leader: Option<Ballot>,
    /// When it last heard a serving leader.
    pub heard_at: Option<Time>,
    /// When it asks for pre-votes, if it hears of no leader and no campaign until then.
    pub until: Time,
    /// It waits longer because it lacks lines that another replica has applied.
    pub is_behind: bool,
    /// It has granted a pre-vote, and waits until `until` for that campaign.
    pub is_calm: bool,
    /// A campaign that it has lately heard to move.
    pub campaign: Option<Ballot>,
    /// Something has waited for too long without progress.
    pub is_unsatisfied: bool,
}

/// Why a replica does not help a candidate (L2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The ballot is another replica's.
    NotOwner,
    /// Its own vote does not count.
    Observes(NoVote),
    /// Its acceptor has promised this ballot, which is not lower.
    Promised(Ballot),
    /// It leads itself, with this ballot.
    Leads(Ballot),
    /// It hears the leader with this ballot.
    Hears(Ballot),
    /// It campaigns itself, with this ballot.
    Campaigns(Ballot),
    /// It has lately heard another campaign, with this ballot.
    HearsCampaign(Ballot),
}

impl Proposer {
    /// What it does about leading.
    pub fn outlook(&self, now: Time) -> Outlook {
        if let Some(why) = self.no_vote(now) {
            return Outlook::Observes(why);
        }
        match &self.state {
            State::Following => Outlook::Follows(self.election.patience(now)),
            State::PreVoting(vote) => {
                let (ballot, round, granted) = (vote.ballot, self.pre_vote_round, vote.granted());
                Outlook::AsksForPreVotes { ballot, round, granted }
            }
            State::Campaigning(phase1) => {
                let (ballot, promised) = (phase1.ballot(), phase1.promised_by());
                Outlook::Campaigns { ballot, promised }
            }
            State::Leading { phase2, .. } => Outlook::Leads(phase2.ballot()),
        }
    }

    /// Why its vote does not count, if it does not.
    fn no_vote(&self, now: Time) -> Option<NoVote> {
        match self.may_lead(now) {
            true => None,
            false if self.is_voter() => Some(NoVote::Beside),
            false => Some(NoVote::NotMember),
        }
    }

    /// L2: why this replica does not help `candidate` to lead with `ballot`. It helps only if it
    /// misses a serving leader itself, or gets nothing applied (L1), and if no other campaign moves.
    pub fn refusal(&self, now: Time, candidate: ReplicaId, ballot: Ballot) -> Option<Refusal> {
        if self.configuration.owner(ballot) != Some(candidate) {
            return Some(Refusal::NotOwner);
        }
        if let Some(why) = self.no_vote(now) {
            return Some(Refusal::Observes(why));
        }
        if let Some(promised) = self.promised.filter(|promised| *promised >= ballot) {
            return Some(Refusal::Promised(promised));
        }
        if !self.election.is_unsatisfied(now) {
            if let Some(ballot) = self.leading() {
                return Some(Refusal::Leads(ballot));
            }
            if self.election.hears_leader(now) {
                return Some(Refusal::Hears(self.election.leader().unwrap_or_default()));
            }
        }
        let own = self.moving_campaign(now).map(Refusal::Campaigns);
        own.or_else(|| self.election.campaign_heard(now, candidate).map(Refusal::HearsCampaign))
    }
}
