//! One replica of the cluster, standalone.

use argh::FromArgs;
use log::LevelFilter;
use multipaxos::config::{
    Bounded, Config, F_MAX, LogLevel, Percent, cause, init_logging, parse_args, usage_error,
};
use multipaxos::net::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::durable::StartError;
use multipaxos::runtime::process::{end_on_panic, fail};
use multipaxos::runtime::replica::{ReplicaOptions, run};
use multipaxos::storage::Durability;
use multipaxos::types::{REPLICAS_MAX, ReplicaId, Slot};
use std::path::PathBuf;
use std::process::exit;
use std::str::FromStr;

/// Run one replica: it warms up with the others, votes, and writes its chat log to
/// "learnerN.txt" in the log directory (N: its id). SIGINT and SIGTERM end it.
#[derive(FromArgs)]
struct Options {
    /// failures tolerated; the configuration file lists 2f+1 replicas (default 2)
    #[argh(option, default = "Bounded(2)")]
    f: Bounded<0, { F_MAX as u64 }>,
    /// the cluster, one "ip port" pair a line (default configs/config.txt)
    #[argh(option, default = "PathBuf::from(\"configs/config.txt\")")]
    config_path: PathBuf,
    /// where the chat log goes (default logs)
    #[argh(option, default = "PathBuf::from(\"logs\")")]
    log_dir: PathBuf,
    /// which line of the configuration this is, from 0
    #[argh(option)]
    replica_id: Bounded<0, { REPLICAS_MAX as u64 - 1 }>,
    /// the slot in which the initial primary never proposes
    #[argh(option)]
    skip_slot: Option<Bounded<0, { u64::MAX }>>,
    /// percent of datagrams dropped at the sender, 0 to 100 (default 0)
    #[argh(option, default = "Percent::NONE")]
    msg_loss: Percent,
    /// seeds losses and timeouts (default 591)
    #[argh(option, default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// where everything but the chat log is kept (default "replicaN" in the log
    /// directory)
    #[argh(option)]
    data_dir: Option<PathBuf>,
    /// what to wait for before anything is acknowledged: the disk (sync), the
    /// operating system (os), or nothing, with acceptor state in memory (none)
    /// (default sync)
    #[argh(option, default = "Durability::Sync")]
    durability: Durability,
    /// the longest datagram, in bytes (default 1400)
    #[argh(option, default = "Bounded(DATAGRAM_BYTES_DEFAULT as u64)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// between two heartbeats (default 50)
    #[argh(option, default = "Bounded(50)")]
    heartbeat_ms: Bounded<1, 60_000>,
    /// how long a silent leader is waited for, drawn between two bounds (default
    /// 300-600)
    #[argh(option, default = "ElectionMs(300, 600)")]
    election_ms: ElectionMs,
    /// off, error, warn, info, debug or trace (default info)
    #[argh(option, default = "LogLevel(LevelFilter::Info)")]
    log_level: LogLevel,
    /// die after so many accepts have left (fault injection)
    #[argh(option, hidden_help)]
    crash_after_accepts: Option<Bounded<1, { u32::MAX as u64 }>>,
    /// end when the parent process does
    #[argh(switch, hidden_help)]
    die_with_parent: bool,
}

/// A span of milliseconds: `300-600`, or one number for the lower bound and twice it.
struct ElectionMs(u64, u64);

impl FromStr for ElectionMs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not a span like 300-600, in milliseconds from 1 to 600000".to_string();
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (min, max) = match text.split_once(['-', '–']) {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (number(text)?, number(text)?.saturating_mul(2)),
        };
        if min == 0 || min > max || max > 1_200_000 { Err(wrong()) } else { Ok(Self(min, max)) }
    }
}

fn main() {
    let options: Options = parse_args("replica", &["die_with_parent"]);
    init_logging(options.log_level.0);
    end_on_panic();
    let f = options.f.0 as usize;
    let config = Config::load(&options.config_path, f).unwrap_or_else(|error| usage_error(error));
    let id = options.replica_id.0 as u8;
    if usize::from(id) >= config.n() {
        let last = config.n() - 1;
        usage_error(format!("--replica_id {id}: with --f {f} the ids are 0 to {last}"));
    }
    let election = options.election_ms;
    if election.0 < 2 * options.heartbeat_ms.0 {
        let (election, heartbeat) = (election.0, options.heartbeat_ms.0);
        usage_error(format!(
            "--election_ms {election}: shorter than two heartbeats (--heartbeat_ms {heartbeat})"
        ));
    }
    let data_option = if options.data_dir.is_some() { "--data_dir" } else { "--log_dir" };
    let own = || options.log_dir.join(format!("replica{id}"));
    let data_dir = options.data_dir.unwrap_or_else(own);
    let data_dir_named = data_dir.display().to_string();
    let ran = run(ReplicaOptions {
        id: ReplicaId(id),
        config,
        log_dir: options.log_dir,
        data_dir,
        durability: options.durability,
        skip_slot: options.skip_slot.map(|slot| Slot(slot.0)),
        loss: options.msg_loss.probability(),
        seed: options.rand_seed.0,
        datagram_bytes: options.datagram_max.0 as usize,
        heartbeat_us: options.heartbeat_ms.0 * 1_000,
        election_us: (election.0 * 1_000, election.1 * 1_000),
        crash_after_accepts: options.crash_after_accepts.map(|accepts| accepts.0 as u32),
        die_with_parent: options.die_with_parent,
    });
    match ran {
        Ok(()) => exit(0),
        Err(StartError::LogDir(error)) => usage_error(format!("--log_dir {}", cause(&error))),
        Err(StartError::DataDir(error)) => usage_error(format!("{data_option} {}", cause(&error))),
        Err(StartError::Foreign(refused)) => {
            usage_error(format!("--data_dir {data_dir_named}: {refused}"))
        }
        Err(StartError::Unusable(error)) => fail(error),
        Err(StartError::Other(error)) => fail(error),
    }
}
