//! Planted bugs: each known way to get this wrong is caught by its recorded seed.
//!
//! The seeds were found by `make search-planted`, which also finds new ones after a
//! change that makes runs differ. A planted bug is a variant of the code that the
//! replicas run (`paxos::planted`), so what is shown here is that the simulator's
//! checker would see that mistake, not only that it has an opinion about it.

use multipaxos::paxos::planted::{Bug, Planted};
use multipaxos::sim::{Options, run};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Each bug, and a seed that catches it.
const CAUGHT: &[(Bug, u64)] = &[
    (Bug::CandidateCountsItselfUnpromised, 1),
    (Bug::PromiseHidesTrimmedSlots, 127),
    (Bug::HolesStayOpen, 5),
    (Bug::ChosenNoopIsNothing, 2479),
    (Bug::BallotUsedAgainAfterRestart, 1),
    (Bug::AnswerBeforeDurable, 1),
    (Bug::AcceptanceDoesNotPromise, 143),
    (Bug::AcceptChecksLastAccepted, 3),
    (Bug::TrimForgetsPromise, 181),
    (Bug::OldPromisesCount, 7137),
    (Bug::PromiserCountsTwice, 14),
    (Bug::VotesSurviveElection, 1097),
    (Bug::TallyAcrossBallots, 4),
    (Bug::FirstValueWins, 121),
    (Bug::OwnCommandFirst, 1),
    (Bug::CommandExecutedTwice, 84),
    (Bug::SessionsLostInRestart, 1),
    (Bug::StaleExpiry, 8),
    (Bug::WipedReplicaVotes, 56),
    (Bug::CompleteBeforeDecided, 1),
    (Bug::AnswerToAnotherClient, 1),
    (Bug::MarkDecidesAnyBallot, 66),
    (Bug::FetchedSlotsAreMarked, 130),
];

/// Whether the run fails: by a violated invariant, or by an assertion of our own.
fn fails(seed: u64, planted: Planted) -> bool {
    let options = Options { planted, ..Options::default() };
    match catch_unwind(AssertUnwindSafe(|| run(seed, options))) {
        Ok(report) => report.violation.is_some(),
        Err(_) => true,
    }
}

#[test]
fn every_planted_bug_is_caught_by_its_seed() {
    let missed: Vec<String> = CAUGHT
        .iter()
        .filter(|(bug, seed)| !fails(*seed, Planted::bug(*bug)))
        .map(|(bug, seed)| format!("{bug:?} (seed {seed}): {}", bug.what()))
        .collect();
    assert!(
        missed.is_empty(),
        "not caught; search for new seeds with `make search-planted`:\n{}",
        missed.join("\n")
    );
}

#[test]
fn the_same_seeds_are_clean_without_the_bugs() {
    for (_, seed) in CAUGHT {
        assert!(!fails(*seed, Planted::NONE), "repeat: simulate --seed {seed} --trace");
    }
}

#[test]
fn every_planted_bug_has_a_seed() {
    for bug in Bug::ALL {
        let recorded = CAUGHT.iter().any(|(caught, _)| caught == bug);
        assert!(recorded, "{bug:?} has no recorded seed: {}", bug.what());
    }
}
