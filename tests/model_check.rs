//! Model check: every state that a small cluster can get into, with the real roles.
//!
//! The simulator runs long and looks at few ways; this runs short and looks at all of
//! them. Acceptors, proposers and learners are those of `paxos`, fed one input at a time;
//! around them is a model (`tests/model`) of what they do not control: a network that
//! loses, repeats, delays and reorders, timers that fire at any moment, processes that
//! die and begin anew from what was synced, a disk that takes its time between writing
//! and syncing. `stateright` goes through everything that can come of it, within bounds
//! that each test names, and the laws of `model::history` must hold everywhere. What a
//! test expects to come across (a value chosen at each ballot, a death between syncing
//! and sending) must be met, so that a check that looks at nothing is noticed.
//!
//! They are tests like any other; `make model-check` prints what each has gone through,
//! and `make model-check-hour` goes through the largest.
//!
//! **Planted bugs** (`bugs/`) are the check of the check: with each that can show here, the
//! model must find two values chosen, or logs or answers that are wrong; it is not enough
//! that an inner law is broken.
//!
//! What this does not see: more than three replicas, four ballots and three slots; bursts
//! of more than one input; liveness; clients, joiners and warm-up; real storage and
//! real datagrams. The simulator and the scenarios are for those.

mod model;

use model::bounds::Bounds;
use model::history::{Law, Reach};
use model::report::{check, search};

/// A slot for which the leaders of all ballots have a line of their own.
const ONE_SLOT: Bounds =
    Bounds { offers: &[(0, "A"), (1, "B"), (2, "C"), (3, "D"), (4, "E")], ..Bounds::least() };

/// Ballot 0 leaves out slot 0; the next has to fill it.
const A_HOLE: Bounds = Bounds { slots: 2, single: true, skip_slot: Some(0), ..ONE_SLOT };

/// The learners of those who lead are heard by the other roles.
const HEARD: Bounds = Bounds { learners: &[0, 1], progress: true, ..ONE_SLOT };

/// And what the second leader says is heard by all.
const SAID: Bounds = Bounds { learners: &[1], heartbeats: true, ..HEARD };

// --- small ones -----------------------------------------------------------------------

#[test]
fn one_slot_three_ballots() {
    let bounds = Bounds { ballots: &[0, 1, 3], ..ONE_SLOT };
    check(
        "one_slot_three_ballots",
        &bounds,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::Decided(3),
            Reach::ProposedAgain,
            Reach::ValuesFetched,
            Reach::Displaced,
            Reach::Applied,
        ],
    );
}

#[test]
fn one_slot_two_ballots_two_deaths() {
    let bounds = Bounds { crashes: 2, ..ONE_SLOT };
    check(
        "one_slot_two_ballots_two_deaths",
        &bounds,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::ProposedAgain,
            Reach::ValuesFetched,
            Reach::Displaced,
            Reach::Applied,
            Reach::LedAfterCrash,
            Reach::DiedUnsynced,
            Reach::DiedUnsent,
        ],
    );
}

#[test]
fn two_slots_with_a_hole_and_a_death() {
    let bounds = Bounds { crashes: 1, ..A_HOLE };
    check(
        "two_slots_with_a_hole_and_a_death",
        &bounds,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::ProposedAgain,
            Reach::ValuesFetched,
            Reach::HoleFilled,
            Reach::LedAfterCrash,
            Reach::DiedUnsent,
        ],
    );
}

#[test]
fn what_is_applied_is_forgotten() {
    check(
        "what_is_applied_is_forgotten",
        &FORGETTING,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::Applied,
            Reach::Trimmed,
            Reach::ValuesFetched,
            Reach::ValuesForgotten,
        ],
    );
}

#[test]
fn followers_decide_by_what_the_leader_says() {
    check(
        "followers_decide_by_what_the_leader_says",
        &SAID,
        &[Reach::Decided(0), Reach::Decided(1), Reach::Displaced, Reach::AppliedByAll],
    );
}

// --- large ones, by `make model-check` -------------------------------------------------

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn one_slot_three_ballots_and_a_death() {
    let bounds = Bounds { ballots: &[0, 1, 3], crashes: 1, ..ONE_SLOT };
    check(
        "one_slot_three_ballots_and_a_death",
        &bounds,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::Decided(3),
            Reach::ProposedAgain,
            Reach::Displaced,
            Reach::Applied,
            Reach::LedAfterCrash,
            Reach::DiedUnsynced,
            Reach::DiedUnsent,
        ],
    );
}

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn one_slot_three_ballots_and_two_deaths() {
    let bounds = Bounds { ballots: &[0, 1, 3], crashes: 2, ..ONE_SLOT };
    check(
        "one_slot_three_ballots_and_two_deaths",
        &bounds,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::Decided(3),
            Reach::LedAfterCrash,
            Reach::DiedUnsynced,
            Reach::DiedUnsent,
        ],
    );
}

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn one_slot_four_ballots() {
    let bounds = Bounds { ballots: &[0, 1, 2, 3], ..ONE_SLOT };
    check(
        "one_slot_four_ballots",
        &bounds,
        &[Reach::Decided(0), Reach::Decided(1), Reach::Decided(2), Reach::Decided(3)],
    );
}

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn two_slots_with_a_hole_and_two_deaths() {
    let bounds = Bounds { crashes: 2, ..A_HOLE };
    check(
        "two_slots_with_a_hole_and_two_deaths",
        &bounds,
        &[Reach::Decided(0), Reach::Decided(1), Reach::HoleFilled, Reach::LedAfterCrash],
    );
}

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn two_slots_with_a_hole_and_three_ballots() {
    let bounds = Bounds { ballots: &[0, 1, 3], offers: &[(0, "A"), (3, "C")], ..A_HOLE };
    check(
        "two_slots_with_a_hole_and_three_ballots",
        &bounds,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::Decided(3),
            Reach::ProposedAgain,
            Reach::HoleFilled,
        ],
    );
}

/// The first ballots of the configurations that changes make, above which ballots of their own lie.
const AFTER_ONE: u64 = 1 << 48;
const AFTER_TWO: u64 = 2 << 48;

/// The leader of ballot 0 may be asked to remove replica 2.
const A_CHANGE: Bounds = Bounds {
    slots: 2,
    ballots: &[0, 1, AFTER_ONE + 2],
    changes: &[0],
    offers: &[(1, "B"), (AFTER_ONE + 2, "C")],
    pages: true,
    opening: &[LEADS],
    ..HEARD
};

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn a_change_of_members() {
    check(
        "a_change_of_members",
        &A_CHANGE,
        &[Reach::Decided(0), Reach::Decided(1), Reach::DecidedAfterChange],
    );
}

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn a_change_of_members_and_a_death() {
    let bounds = Bounds {
        ballots: &[0, AFTER_ONE + 1, AFTER_ONE + 2],
        offers: &[(AFTER_ONE + 2, "C"), (AFTER_ONE + 1, "D")],
        crashes: 1,
        ..A_CHANGE
    };
    check(
        "a_change_of_members_and_a_death",
        &bounds,
        &[Reach::Decided(0), Reach::DecidedAfterChange, Reach::LedAfterCrash],
    );
}

#[test]
#[ignore = "millions of states: make model-check goes through them"]
fn two_changes_of_members() {
    let bounds = Bounds {
        slots: 3,
        ballots: &[0, AFTER_ONE + 2, AFTER_TWO + 1],
        changes: &[0, AFTER_ONE + 2],
        offers: &[(AFTER_TWO + 1, "E")],
        ..A_CHANGE
    };
    check("two_changes_of_members", &bounds, &[Reach::DecidedAfterChange, Reach::DecidedAfterTwo]);
}

// --- the largest, by `make model-check-hour` ----------------------------------------

#[test]
#[ignore = "about an hour on two cores, and 11 GiB"]
fn one_slot_four_ballots_and_a_death() {
    let bounds = Bounds { ballots: &[0, 1, 2, 3], crashes: 1, ..ONE_SLOT };
    check(
        "one_slot_four_ballots_and_a_death",
        &bounds,
        &[
            Reach::Decided(0),
            Reach::Decided(1),
            Reach::Decided(2),
            Reach::Decided(3),
            Reach::LedAfterCrash,
            Reach::DiedUnsynced,
            Reach::DiedUnsent,
        ],
    );
}

// --- planted bugs ---------------------------------------------------------------------

const LOOKED_FOR: &[(&str, Bounds)] = &[
    ("candidate-counts-itself-unpromised", Bounds { ballots: &[0, 1, 3], ..ONE_SLOT }),
    ("promise-hides-trimmed-slots", FORGETTING),
    (
        "chosen-noop-is-nothing",
        Bounds { ballots: &[0, 1, 3], offers: &[(0, "A"), (3, "C")], ..A_HOLE },
    ),
    (
        "ballot-used-again-after-restart",
        Bounds { crashes: 1, mortals: &[0], offers: &[(0, "A"), (0, "B")], ..ONE_SLOT },
    ),
    ("answer-before-durable", Bounds { crashes: 1, ..ONE_SLOT }),
    ("acceptance-apart", Bounds { crashes: 1, ..ONE_SLOT }),
    ("acceptance-does-not-promise", ONE_SLOT),
    ("accept-checks-last-accepted", ONE_SLOT),
    (
        "trim-forgets-promise",
        Bounds {
            opening: &[LEADS, ONE_APPLIED, TWO_APPLIED, ANOTHER_LEADS],
            slots: 3,
            offers: &[(0, "A"), (0, "B"), (0, "D"), (1, "C")],
            ..FORGETTING
        },
    ),
    ("old-promises-count", Bounds { ballots: &[0, 1, 3], ..ONE_SLOT }),
    ("promiser-counts-twice", ONE_SLOT),
    (
        "votes-survive-election",
        Bounds {
            slots: 2,
            single: true,
            ballots: &[0, 1, 3, 4],
            offers: &[(0, "A"), (3, "B"), (4, "C")],
            opening: &[LEADS, HALF_AN_ELECTION],
            ..ONE_SLOT
        },
    ),
    ("tally-across-ballots", Bounds { ballots: &[0, 1, 3], ..ONE_SLOT }),
    ("first-value-wins", Bounds { ballots: &[0, 1, 3], ..ONE_SLOT }),
    ("own-value-at-any-ballot", Bounds { ballots: &[0, 1, 3], ..ONE_SLOT }),
    ("names-whatever-was-reported", Bounds { ballots: &[0, 1, 3], ..ONE_SLOT }),
    ("values-not-waited-for", ONE_SLOT),
    ("own-command-first", ONE_SLOT),
    ("command-executed-twice", Bounds { slots: 2, learners: &[0], offers: &[(0, "A")], ..HEARD }),
    (
        "sessions-lost-in-restart",
        Bounds {
            opening: &[LEADS, ONE_APPLIED, ANEW],
            slots: 2,
            ballots: &[0, 3],
            crashes: 1,
            mortals: &[0],
            trims: true,
            learners: &[0],
            offers: &[(0, "A"), (3, "A")],
            ..HEARD
        },
    ),
    ("complete-before-decided", ONE_SLOT),
    ("mark-decides-any-ballot", SAID),
    (
        "fetched-slots-are-marked",
        Bounds {
            opening: &[LEADS, TWO_LEADERS],
            pages: true,
            learners: &[0, 1],
            offers: &[(0, "A"), (1, "B")],
            ..SAID
        },
    ),
];

/// Replica 0 leads ballot 0, by its own acceptor's promise.
const LEADS: &[&str] = &[
    "replica 0 campaigns: it asks its own acceptor to promise ballot 0",
    "replica 0's acceptor promises ballot 0 to its own proposer; it reports that it has accepted nothing",
    "replica 0 receives its own acceptor's promise of ballot 0; from now on it leads ballot 0",
];

/// It proposes a line, which replica 2 accepts as well. Replica 1 campaigns, has the promise of
/// replica 2 and lacks the value. Replica 0 leads once more, and another line is chosen.
const HALF_AN_ELECTION: &[&str] = &[
    r#"a client sends "A" to replica 0, which proposes it in slot 0 at ballot 0"#,
    r#"replica 0's acceptor accepts "A" in slot 0 at ballot 0"#,
    r#"replica 2's acceptor accepts "A" in slot 0 at ballot 0"#,
    "replica 1 campaigns: it asks its own acceptor to promise ballot 1",
    "replica 1's acceptor promises ballot 1 to its own proposer; it reports that it has accepted nothing",
    "replica 1 receives its own acceptor's promise of ballot 1; it asks replicas 0 and 2 to promise ballot 1",
    "replica 2's acceptor promises ballot 1 to replica 1; it reports that it has accepted a value in slot 0 at ballot 0",
    "replica 1 receives replica 2's promise of ballot 1; it asks replica 2 for a value in slot 0 at ballot 0",
    "replica 0 campaigns: it asks its own acceptor to promise ballot 3",
    r#"replica 0's acceptor promises ballot 3 to its own proposer; it reports that it has accepted "A" in slot 0 at ballot 0"#,
    "replica 0 receives its own acceptor's promise of ballot 3; it asks replicas 1 and 2 to promise ballot 3",
    "replica 2's acceptor promises ballot 3 to replica 0; it reports that it has accepted a value in slot 0 at ballot 0",
    r#"replica 0 receives replica 2's promise of ballot 3; from now on it leads ballot 3; it proposes "A" in slot 0 at ballot 3"#,
    r#"replica 1's acceptor accepts "A" in slot 0 at ballot 3"#,
    r#"a client sends "B" to replica 0, which proposes it in slot 1 at ballot 3"#,
    r#"replica 0's acceptor accepts "B" in slot 1 at ballot 3"#,
    r#"replica 2's acceptor accepts "B" in slot 1 at ballot 3"#,
];

/// It proposes a line, and replica 1 leads as well.
const TWO_LEADERS: &[&str] = &[
    r#"a client sends "A" to replica 0, which proposes it in slot 0 at ballot 0"#,
    r#"replica 0's learner hears that its proposer proposes "A" in slot 0 at ballot 0"#,
    r#"replica 2's acceptor accepts "A" in slot 0 at ballot 0"#,
    "replica 1 campaigns: it asks its own acceptor to promise ballot 1",
    "replica 1's acceptor promises ballot 1 to its own proposer; it reports that it has accepted nothing",
    "replica 1 receives its own acceptor's promise of ballot 1; it asks replicas 0 and 2 to promise ballot 1",
    "replica 0's acceptor promises ballot 1 to replica 1; it reports that it has accepted nothing",
    "replica 1 receives replica 0's promise of ballot 1; from now on it leads ballot 1",
];

/// It has a line decided and applied.
const ONE_APPLIED: &[&str] = &[
    r#"a client sends "A" to replica 0, which proposes it in slot 0 at ballot 0"#,
    r#"replica 0's acceptor accepts "A" in slot 0 at ballot 0"#,
    r#"replica 2's acceptor accepts "A" in slot 0 at ballot 0"#,
    r#"replica 0's learner hears that its proposer proposes "A" in slot 0 at ballot 0"#,
    "replica 0's learner counts its own acceptor's acceptance of slot 0 at ballot 0",
    r#"replica 0's learner counts replica 2's acceptance of slot 0 at ballot 0; it applies "A" in slot 0; it tells the client that its line is in slot 0"#,
    "replica 0's proposer hears from its learner that every slot below 1 is applied and that slot 0 is decided at ballot 0",
];

/// It dies, and begins anew.
const ANEW: &[&str] =
    &["replica 0 dies", "replica 0 starts again; its disk holds the promise of ballot 0"];

/// And a second one: its acceptor may forget the first.
const TWO_APPLIED: &[&str] = &[
    r#"a client sends "B" to replica 0, which proposes it in slot 1 at ballot 0"#,
    r#"replica 0's acceptor accepts "B" in slot 1 at ballot 0; it hears that slot 0 is decided at ballot 0"#,
    r#"replica 2's acceptor accepts "B" in slot 1 at ballot 0; it hears that slot 0 is decided at ballot 0"#,
    r#"replica 0's learner hears that its proposer proposes "B" in slot 1 at ballot 0"#,
    "replica 0's learner counts its own acceptor's acceptance of slot 1 at ballot 0",
    r#"replica 0's learner counts replica 2's acceptance of slot 1 at ballot 0; it applies "B" in slot 1; it tells the client that its line is in slot 1"#,
];

/// Replica 1 leads as well, with the promise of replica 0's acceptor.
const ANOTHER_LEADS: &[&str] = &[
    "replica 1 campaigns: it asks its own acceptor to promise ballot 1",
    "replica 1's acceptor promises ballot 1 to its own proposer; it reports that it has accepted nothing",
    "replica 1 receives its own acceptor's promise of ballot 1; it asks replicas 0 and 2 to promise ballot 1",
    "replica 0's acceptor promises ballot 1 to replica 1; it reports that it has accepted values in slots 0 up to 2 at ballot 0",
    "replica 1 receives replica 0's promise of ballot 1; it asks replica 0 for values in slots 0 up to 2 at ballot 0",
    r#"replica 0's acceptor sends replica 1 "A" in slot 0 at ballot 0 and "B" in slot 1 at ballot 0"#,
    r#"replica 1 receives "A" in slot 0 at ballot 0 and "B" in slot 1 at ballot 0 from replica 0; from now on it leads ballot 1; it proposes "A" in slot 0 and "B" in slot 1 at ballot 1"#,
];

/// May be forgotten once a second checkpoint is made.
const FORGETTING: Bounds = Bounds {
    opening: &[LEADS, ONE_APPLIED, TWO_APPLIED],
    slots: 2,
    trims: true,
    learners: &[0],
    offers: &[(0, "A"), (0, "B"), (1, "C")],
    ..HEARD
};

/// A patched build must fail here: `make bugs`. What is in bugs/ under each of these names
/// breaks a law within these bounds.
#[test]
#[ignore = "goes through millions of states; BUG=name chooses one of the bounds"]
fn no_law_is_broken_where_a_planted_bug_would_break_it() {
    let only = std::env::var("BUG").ok();
    let chosen = |name: &str| only.as_ref().is_none_or(|only| only == name);
    let mut broken = Vec::new();
    for (name, bounds) in LOOKED_FOR.iter().filter(|(name, _)| chosen(name)) {
        match search(name, bounds, Law::OUTCOME) {
            Ok(told) => println!("{told}"),
            Err(told) => broken.push(told),
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
