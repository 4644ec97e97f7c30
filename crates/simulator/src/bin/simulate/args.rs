//! The command line of `simulate`, and the command that repeats a run.

use argh::{ArgsInfo, FromArgs};
use command_line::Bounded;
use command_line::help::Group;
use multipaxos::types::ReplicaId;
use simulator::{Partition, Place, PowerCut};
use std::path::PathBuf;
use std::str::FromStr;

/// Simulates a whole cluster: the real roles in one thread, on virtual time, with faults and
/// all else that is random drawn from a seed. After every event it checks the invariants. A
/// seed always gives the same run, and prints the same line.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "Ten thousand seeds, with every fault there is:\n  \
        {command_name} --seeds 10000",
    example = "The events of a single seed:\n  \
        {command_name} --seed 7 --trace",
    example = "The same to look at, in a browser:\n  \
        {command_name} --seed 7 --report run.html",
    example = "Five replicas under one kind of partition:\n  \
        {command_name} --seeds 1000 --replicas 5 --partition quorum_loss",
    example = "A hundred seeds where packets take 100 to 350 ms:\n  \
        {command_name} --world globe --seeds 100",
    example = "The power cut at every call of every disk, for ten seeds:\n  \
        {command_name} --power_cuts --seeds 10",
    error_code(0, "every run is good"),
    error_code(1, "a run failed; the command that repeats it is printed below it"),
    error_code(64, "bad usage")
)]
pub(crate) struct Args {
    /// the seed of the run, or the first seed of several (default 1)
    #[argh(option, arg_name = "N", default = "Bounded(1)")]
    pub(crate) seed: Bounded<0, { u64::MAX }>,
    /// run this many seeds, from --seed on, and print a summary (default: run --seed alone)
    #[argh(option, arg_name = "N")]
    pub(crate) seeds: Option<Bounded<1, { u64::MAX }>>,
    /// how many threads run seeds at once (default: one for each core)
    #[argh(option, arg_name = "N")]
    pub(crate) jobs: Option<Bounded<1, 1024>>,
    /// print every event of the run, in the words of the scripts of play
    #[argh(switch)]
    pub(crate) trace: bool,
    /// write a page for a browser that shows the run of one seed: its messages, ballots,
    /// slots and chat logs (default: none)
    #[argh(option, arg_name = "PAGE")]
    pub(crate) report: Option<PathBuf>,
    /// print the result as one object for programs
    #[argh(switch)]
    pub(crate) json: bool,
    /// with --seeds: also fail if the runs together never met one of the situations that the
    /// summary counts
    #[argh(switch)]
    pub(crate) require_reach: bool,
    /// how many replicas (default: 3, 5 or 7, drawn from the seed)
    #[argh(option, arg_name = "N")]
    pub(crate) replicas: Option<Bounded<1, 63>>,
    /// where the cluster runs: gentle, lan, wan, globe, satellite, dsl, modem, wifi, jitter,
    /// tunnel, sdcard, slow_disk, nas, quota, crowd, city, or any for a mixture (default: gentle)
    #[argh(option, arg_name = "PLACE", default = "PlaceName(None)")]
    pub(crate) world: PlaceName,
    /// the longest time with faults, in virtual seconds; afterwards every line must complete
    /// (default 8)
    #[argh(option, arg_name = "SECONDS", default = "Bounded(8)")]
    pub(crate) secs: Bounded<1, 100_000>,
    /// percent of runs in which replicas write through the real storage code to simulated
    /// disks; the others only note what is durable (default 15)
    #[argh(option, arg_name = "PERCENT", default = "Bounded(15)")]
    pub(crate) sectors: Bounded<0, 100>,
    /// percent of runs in which messages travel as real datagrams, encoded and cut into
    /// fragments (default 10)
    #[argh(option, arg_name = "PERCENT", default = "Bounded(10)")]
    pub(crate) wire: Bounded<0, 100>,
    /// no datagrams lost, repeated or late
    #[argh(switch)]
    pub(crate) no_network: bool,
    /// no links cut between replicas
    #[argh(switch)]
    pub(crate) no_partitions: bool,
    /// no replicas that crash and restart
    #[argh(switch)]
    pub(crate) no_crashes: bool,
    /// no replicas that sleep or are slow, and no clocks that drift
    #[argh(switch)]
    pub(crate) no_pauses: bool,
    /// no disk whose sync fails
    #[argh(switch)]
    pub(crate) no_disk: bool,
    /// no clients that die and return under the same id
    #[argh(switch)]
    pub(crate) no_clients: bool,
    /// no slot that the initial primary skips
    #[argh(switch)]
    pub(crate) no_skip_slot: bool,
    /// no inbox that is full and drops messages
    #[argh(switch)]
    pub(crate) no_inboxes: bool,
    /// no process or datagram that is not of the cluster
    #[argh(switch)]
    pub(crate) no_strangers: bool,
    /// a single partition and no other fault: split, isolate, one_way, flap, quorum_loss,
    /// constrained or chained (default: faults of all kinds, drawn from the seed)
    #[argh(option, arg_name = "KIND")]
    pub(crate) partition: Option<PartitionName>,
    /// repeat the run of each seed once for every call that its disks take, and cut the power
    /// of one replica at that call; no other crash or disk fault happens
    #[argh(switch)]
    pub(crate) power_cuts: bool,
    /// do only one of the runs of --power_cuts: the power of this replica is cut at this call
    /// of its disk, as in 0:17 (default: all of them)
    #[argh(option, arg_name = "REPLICA:CALL")]
    pub(crate) power_cut: Option<Cut>,
}

pub(crate) const GROUPS: &[Group] = &[
    ("Runs", "seed"),
    ("The cluster", "replicas"),
    ("Faults that can be left out", "no_network"),
    ("Instead of these faults", "partition"),
];

pub(crate) struct PartitionName(pub(crate) Partition);

impl FromStr for PartitionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(PartitionName(match text.to_ascii_lowercase().replace('-', "_").as_str() {
            "split" => Partition::Split,
            "isolate" => Partition::Isolate,
            "one_way" => Partition::OneWay,
            "flap" => Partition::Flap,
            "quorum_loss" => Partition::Hub,
            "constrained" => Partition::Constrained,
            "chained" => Partition::Chained,
            _ => {
                return Err(
                    "not one of split, isolate, one_way, flap, quorum_loss, constrained, chained"
                        .into(),
                );
            }
        }))
    }
}

pub(crate) struct PlaceName(pub(crate) Option<Place>);

impl FromStr for PlaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase().replace('-', "_");
        if name == "gentle" {
            return Ok(PlaceName(None));
        }
        match Place::ALL.iter().find(|place| place.name() == name) {
            Some(place) => Ok(PlaceName(Some(*place))),
            None => {
                let names: Vec<&str> = Place::ALL.iter().map(|place| place.name()).collect();
                Err(format!("not one of gentle, {}", names.join(", ")))
            }
        }
    }
}

pub(crate) struct Cut(pub(crate) PowerCut);

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| {
            let (replica, call) = text.split_once(':')?;
            let replica = ReplicaId(replica.parse().ok()?);
            Some(Cut(PowerCut { replica, call: call.parse().ok()? }))
        };
        read(text).ok_or_else(|| "not a replica and a call of its disk, like 0:17".into())
    }
}

/// The command that repeats a failing seed.
pub(crate) fn command(args: &Args, seed: u64) -> String {
    format!("simulate --seed {seed}{}", shape(args))
}

/// The options that change what a seed does.
pub(crate) fn shape(args: &Args) -> String {
    let mut command = String::new();
    if let Some(replicas) = args.replicas {
        command.push_str(&format!(" --replicas {}", replicas.0));
    }
    if let Some(place) = args.world.0 {
        command.push_str(&format!(" --world {place}"));
    }
    if args.secs.0 != 8 {
        command.push_str(&format!(" --secs {}", args.secs.0));
    }
    if args.sectors.0 != 15 {
        command.push_str(&format!(" --sectors {}", args.sectors.0));
    }
    if args.wire.0 != 10 {
        command.push_str(&format!(" --wire {}", args.wire.0));
    }
    for (name, on) in [
        ("no_network", args.no_network),
        ("no_partitions", args.no_partitions),
        ("no_crashes", args.no_crashes),
        ("no_pauses", args.no_pauses),
        ("no_disk", args.no_disk),
        ("no_clients", args.no_clients),
        ("no_skip_slot", args.no_skip_slot),
        ("no_inboxes", args.no_inboxes),
        ("no_strangers", args.no_strangers),
    ] {
        if on {
            command.push_str(&format!(" --{name}"));
        }
    }
    if let Some(PartitionName(partition)) = &args.partition {
        let name = simulator::reach::Situation::partition(*partition).name();
        command.push_str(&format!(" --partition {}", name.trim_start_matches("partition_")));
    }
    command
}
