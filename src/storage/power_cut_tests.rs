//! That a power cut which strikes a whole simulated cluster shows what storage does wrong.
//! (The other planted bugs take two cuts, a failed sync or a flipped bit.)

#![cfg(test)]

use super::plant::{self, Plant};
use crate::sim::{Options, PowerCut, Report, Switches, run};
use crate::types::ReplicaId;

const SEED: u64 = 1;

/// On real storage: nothing ends a replica or troubles its disk but this cut.
fn run_with(power_cut: Option<PowerCut>) -> Report {
    let switches = Switches { crashes: false, disk: false, ..Switches::ALL };
    run(SEED, Options { switches, sectors_percent: 100, power_cut, ..Options::default() })
}

/// At which call of its disk a power cut of replica 0 catches `bug`, and how.
fn caught(bug: Plant) -> Option<(u64, String)> {
    let calls = run_with(None).disk_calls[0];
    plant::set(Some(bug));
    let found = (0..calls).find_map(|call| {
        let report = run_with(Some(PowerCut { replica: ReplicaId(0), call }));
        Some((call, report.violation?.what))
    });
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
