//! The line-oriented client: every line of stdin goes into the chat log.

use argh::FromArgs;
use log::LevelFilter;
use multipaxos::config::{
    Bounded, Config, F_MAX, LogLevel, Percent, init_logging, parse_args, usage_error,
};
use multipaxos::net::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::client::{ClientOptions, run};
use multipaxos::runtime::process::{end_on_panic, entropy, fail};
use multipaxos::types::ClientId;
use std::path::PathBuf;
use std::process::exit;

/// Send every line of stdin to the chat log, one at a time. For each one that is
/// complete, a line on stdout: client id, its number among the client's lines, slot.
/// End of input or a line SHUTDOWN ends it.
#[derive(FromArgs)]
struct Options {
    /// failures tolerated; the configuration file lists 2f+1 replicas (default 2)
    #[argh(option, default = "Bounded(2)")]
    f: Bounded<0, { F_MAX as u64 }>,
    /// the cluster, one "ip port" pair a line (default configs/config.txt)
    #[argh(option, default = "PathBuf::from(\"configs/config.txt\")")]
    config_path: PathBuf,
    /// percent of datagrams dropped at the sender, 0 to 100 (default 0)
    #[argh(option, default = "Percent::NONE")]
    msg_loss: Percent,
    /// seeds losses and timeouts (default 591)
    #[argh(option, default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// who this is in the log (default: drawn at random)
    #[argh(option)]
    client_id: Option<Bounded<0, { u64::MAX }>>,
    /// seconds that a line may take before it is given up (default: keep trying)
    #[argh(option)]
    timeout: Option<Bounded<1, 31_536_000>>,
    /// the longest datagram, in bytes (default 1400)
    #[argh(option, default = "Bounded(DATAGRAM_BYTES_DEFAULT as u64)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// off, error, warn, info, debug or trace (default warn)
    #[argh(option, default = "LogLevel(LevelFilter::Warn)")]
    log_level: LogLevel,
    /// end when the parent process does
    #[argh(switch, hidden_help)]
    die_with_parent: bool,
}

fn main() {
    let options: Options = parse_args("client", &["die_with_parent"]);
    init_logging(options.log_level.0);
    end_on_panic();
    let f = options.f.0 as usize;
    let config = Config::load(&options.config_path, f).unwrap_or_else(|error| usage_error(error));
    let id = match options.client_id {
        Some(id) => id.0,
        None => entropy().unwrap_or_else(|error| fail(error)),
    };
    let ran = run(ClientOptions {
        id: ClientId(id),
        config,
        loss: options.msg_loss.probability(),
        seed: options.rand_seed.0,
        datagram_bytes: options.datagram_max.0 as usize,
        timeout_us: options.timeout.map(|seconds| seconds.0 * 1_000_000),
        die_with_parent: options.die_with_parent,
    });
    match ran {
        Ok(code) => exit(code),
        Err(error) => fail(error),
    }
}
