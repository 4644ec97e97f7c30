//! That a power cut which strikes a whole simulated cluster shows what storage does wrong.
//! (The other planted bugs take two cuts, a failed sync or a flipped bit.)

use durable::plant::{self, Plant};
use multipaxos::types::ReplicaId;
use simulator::{Options, PowerCut, Report, run};

const SEED: u64 = 1;

fn run_with(power_cut: Option<PowerCut>) -> Report {
    run(SEED, Options::default().with_power_cut(power_cut))
}

/// At which call of its disk a power cut of replica 0 catches `bug`, and how.
fn caught(bug: Plant) -> Option<(u64, String)> {
    let whole = run_with(None);
    plant::set(Some(bug));
    let found = whole
        .power_cuts()
        .take_while(|cut| cut.replica == ReplicaId(0))
        .find_map(|cut| Some((cut.call, run_with(Some(cut)).violation?.what)));
    plant::set(None);
    found
}

#[test]
fn a_power_cut_at_some_call_shows_a_planted_bug() {
    for bug in [
        Plant::SyncSkipped,
        Plant::AcceptanceApart,
        Plant::DroppedTooEarly,
        Plant::CheckpointFirst,
        Plant::CheckpointInPlace,
    ] {
        let (call, how) = caught(bug).unwrap_or_else(|| panic!("nothing catches {bug:?}"));
        println!("{bug:?}: call {call}: {how}");
    }
}
