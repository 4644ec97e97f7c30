//! The options of a run, and its report.

use crate::checker::Violation;
use crate::cost::Cost;
use crate::environment::Place;
use crate::faults::{Partition, Switches};
use crate::kinds::Kinds;
use crate::reach::Reach;
use history::History;
use multipaxos::types::ReplicaId;

/// A power cut of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    /// The replica.
    pub replica: ReplicaId,
    /// The call of its disk during which the power is cut, as [`SimDisk::calls`](durable::sim_disk::SimDisk::calls) counts.
    pub call: u64,
}

/// The kind of a run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of replicas. `None`: 3, 5 or 7, drawn from the seed.
    pub replicas: Option<usize>,
    /// Where the cluster runs. `None`: in the gentle world.
    pub place: Option<Place>,
    /// The faults that may happen.
    pub switches: Switches,
    /// How long the first phase lasts, in virtual microseconds.
    pub safety_us: u64,
    /// One partition for the whole first phase, and no other fault.
    pub partition: Option<Partition>,
    /// The percentage of runs with the real storage code on simulated disks.
    pub sectors_percent: u8,
    /// The percentage of runs with real datagrams.
    pub wire_percent: u8,
    /// The power cut of one replica. A run with a power cut uses the real storage code.
    pub power_cut: Option<PowerCut>,
    /// Print every event.
    pub trace: bool,
    /// Record the history of the run.
    pub record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            replicas: None,
            place: None,
            switches: Switches::ALL,
            safety_us: 8_000_000,
            partition: None,
            sectors_percent: 15,
            wire_percent: 10,
            power_cut: None,
            trace: false,
            record: false,
        }
    }
}

impl Options {
    /// The same options with the real storage code, and with this power cut as the only crash
    /// and the only disk fault. There are no strangers: they would touch the disks otherwise in
    /// the run that counts the calls than in those that are cut.
    #[must_use]
    pub fn with_power_cut(self, power_cut: Option<PowerCut>) -> Self {
        let switches = Switches { crashes: false, disk: false, strangers: false, ..self.switches };
        Options { switches, sectors_percent: 100, power_cut, ..self }
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Where it took place. `None`: in the gentle world.
    pub place: Option<Place>,
    /// The number of replicas.
    pub n: usize,
    /// The number of events.
    pub events: u64,
    /// The virtual time that passed, in microseconds.
    pub virtual_us: u64,
    /// The number of completed lines.
    pub lines: u64,
    /// How often another replica became leader.
    pub leader_changes: u64,
    /// The highest ballot promised at the end.
    pub ballot: u64,
    /// The broken invariant, if there is one.
    pub violation: Option<Violation>,
    /// A hash over every event.
    pub hash: u64,
    /// The situations that the run met.
    pub reach: Reach,
    /// The calls of each replica's disk until the faults stopped, with the real storage code.
    pub disk_calls: Vec<u64>,
    /// Under a fixed partition: the longest time in which no line was completed.
    pub gap_us: u64,
    /// Under a fixed partition: how far ballots rose while it lasted.
    pub ballot_rise: u64,
    /// What the run has cost, with real datagrams.
    pub cost: Cost,
    /// What was sent for each byte that had to be sent, with real datagrams.
    pub bytes_factor: f64,
    /// What was sent, by kind, in an environment.
    pub kinds: Kinds,
    /// The history of the run, if it was to be recorded, and whether more happened than it holds.
    pub recorded: Option<(History, bool)>,
}

impl Report {
    /// The power cuts that cover every call of every disk, in the order of replicas and calls.
    pub fn power_cuts(&self) -> impl Iterator<Item = PowerCut> {
        self.disk_calls.iter().zip(0..).flat_map(|(calls, replica)| {
            (0..*calls).map(move |call| PowerCut { replica: ReplicaId(replica), call })
        })
    }
}
