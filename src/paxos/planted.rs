//! Planted bugs: known ways to get this wrong, switched on in tests alone.
//!
//! Each is a small variant of our own code, made by somebody once in a public
//! implementation. A test plants one, and the simulator has to find it: a planted bug
//! that nothing catches is a hole in the tests. They exist only where debug assertions
//! do; a release build cannot be talked into one.

/// A way to get it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each is told in `Bug::what`.
pub enum Bug {
    CandidateCountsItselfUnpromised,
    PromiseHidesTrimmedSlots,
    HolesStayOpen,
    ChosenNoopIsNothing,
    BallotUsedAgainAfterRestart,
    AnswerBeforeDurable,
    AcceptanceDoesNotPromise,
    AcceptChecksLastAccepted,
    TrimForgetsPromise,
    OldPromisesCount,
    PromiserCountsTwice,
    VotesSurviveElection,
    TallyAcrossBallots,
    FirstValueWins,
    OwnCommandFirst,
    CommandExecutedTwice,
    SessionsLostInRestart,
    StaleExpiry,
    WipedReplicaVotes,
    CompleteBeforeDecided,
    AnswerToAnotherClient,
    MarkDecidesAnyBallot,
    FetchedSlotsAreMarked,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Bug] = &[
        Bug::CandidateCountsItselfUnpromised,
        Bug::PromiseHidesTrimmedSlots,
        Bug::HolesStayOpen,
        Bug::ChosenNoopIsNothing,
        Bug::BallotUsedAgainAfterRestart,
        Bug::AnswerBeforeDurable,
        Bug::AcceptanceDoesNotPromise,
        Bug::AcceptChecksLastAccepted,
        Bug::TrimForgetsPromise,
        Bug::OldPromisesCount,
        Bug::PromiserCountsTwice,
        Bug::VotesSurviveElection,
        Bug::TallyAcrossBallots,
        Bug::FirstValueWins,
        Bug::OwnCommandFirst,
        Bug::CommandExecutedTwice,
        Bug::SessionsLostInRestart,
        Bug::StaleExpiry,
        Bug::WipedReplicaVotes,
        Bug::CompleteBeforeDecided,
        Bug::AnswerToAnotherClient,
        Bug::MarkDecidesAnyBallot,
        Bug::FetchedSlotsAreMarked,
    ];

    /// What is wrong, in a sentence.
    pub fn what(self) -> &'static str {
        match self {
            Bug::CandidateCountsItselfUnpromised => {
                "a candidate counts its own vote without promising"
            }
            Bug::PromiseHidesTrimmedSlots => "a promise leaves out trimmed slots and gives no mark",
            Bug::HolesStayOpen => "holes below the highest slot are never filled",
            Bug::ChosenNoopIsNothing => "a chosen no-op is taken for nothing accepted",
            Bug::BallotUsedAgainAfterRestart => "ballot 0 is led again after a restart",
            Bug::AnswerBeforeDurable => "an answer leaves before its record is durable",
            Bug::AcceptanceDoesNotPromise => "the promise is not raised by the acceptance",
            Bug::AcceptChecksLastAccepted => {
                "accept compares with the last accepted ballot rather than the promise"
            }
            Bug::TrimForgetsPromise => "the promise is forgotten when the log is trimmed",
            Bug::OldPromisesCount => "promises of an older ballot count",
            Bug::PromiserCountsTwice => "two promises of one acceptor count twice",
            Bug::VotesSurviveElection => "a vote set survives from one election into the next",
            Bug::TallyAcrossBallots => "acceptances are tallied across ballots",
            Bug::FirstValueWins => "the first value seen is re-proposed, not the highest ballot's",
            Bug::OwnCommandFirst => "own commands go into slots that may be chosen",
            Bug::CommandExecutedTwice => "a command proposed in two slots is executed twice",
            Bug::SessionsLostInRestart => "the session table is lost in a restart",
            Bug::StaleExpiry => "a returning replica answers a client from stale state",
            Bug::WipedReplicaVotes => "a replica that lost its disk votes under its old id",
            Bug::CompleteBeforeDecided => "a leader answers complete before the slot is decided",
            Bug::AnswerToAnotherClient => "the answer goes to another client",
            Bug::MarkDecidesAnyBallot => "a decided mark decides acceptances of other ballots",
            Bug::FetchedSlotsAreMarked => "a leader marks slots that it did not tally",
        }
    }
}

/// Which bug is planted, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Planted(Option<Bug>);

impl Planted {
    /// Our code as it is.
    pub const NONE: Planted = Planted(None);

    /// With this bug, where debug assertions are on.
    pub const fn bug(bug: Bug) -> Self {
        Planted(Some(bug))
    }

    /// Whether `bug` is planted here.
    pub fn has(self, bug: Bug) -> bool {
        cfg!(debug_assertions) && self.0 == Some(bug)
    }
}
