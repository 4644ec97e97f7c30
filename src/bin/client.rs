//! Sends every line of stdin to the chat log.

use argh::{ArgsInfo, FromArgs};
use command_line::ending::{Ending, end_on_panic, fail};
use command_line::{Bounded, LogLevel, Percent, init_logging, parse_args, usage_error};
use log::LevelFilter;
use multipaxos::config::{ClusterFile, F_MAX};
use multipaxos::net::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::client::{ClientOptions, run};
use multipaxos::runtime::names::{NoAddresses, first_addresses};
use multipaxos::runtime::process::entropy;
use multipaxos::types::ClientId;
use std::path::PathBuf;
use std::process::exit;
use std::time::Duration;

/// Sends every line of stdin to the chat log, one at a time. For each line that is complete
/// it prints the client's id, the number of the line among this client's, from 0, and the
/// slot. End of input or a line SHUTDOWN ends it.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "To the three replicas of configs/three.txt:\n  \
        {command_name} --config_path configs/three.txt",
    example = "Two lines of client 5; give up if one takes longer than ten seconds:\n  \
        printf 'hello\\nworld\\n' | {command_name} --client_id 5 --timeout 10",
    error_code(0, "every line is complete"),
    error_code(1, "a line was refused, or nobody knows whether it is complete"),
    error_code(64, "bad usage or configuration")
)]
struct Options {
    /// how many replicas may fail; the configuration must list 2f+1 (default: counted from
    /// the configuration)
    #[argh(option, arg_name = "N")]
    f: Option<Bounded<0, { F_MAX as u64 }>>,
    /// the configuration: one "ip port" pair a line; the line's number, from 0, is the
    /// replica's id (default configs/config.txt)
    #[argh(option, arg_name = "FILE", default = "PathBuf::from(\"configs/config.txt\")")]
    config_path: PathBuf,
    /// the id of this client in the chat log; a client that comes back with its id goes on
    /// numbering where it stopped, and a line that it left in flight may come later (default:
    /// drawn at random)
    #[argh(option, arg_name = "N")]
    client_id: Option<Bounded<0, { u64::MAX }>>,
    /// how long a line may take before the client gives up (default: it never does)
    #[argh(option, arg_name = "SECONDS")]
    timeout: Option<Bounded<1, 31_536_000>>,
    /// percent of its datagrams that this process drops instead of sending them, 0 to 100
    /// (default 0)
    #[argh(option, arg_name = "PERCENT", default = "Percent::NONE")]
    msg_loss: Percent,
    /// seeds the losses and the timeouts (default 591)
    #[argh(option, arg_name = "N", default = "Bounded(591)")]
    rand_seed: Bounded<0, { u64::MAX }>,
    /// the longest datagram to send; a path that carries less is found out (default 1400)
    #[argh(option, arg_name = "BYTES", default = "Bounded(DATAGRAM_BYTES_DEFAULT as u64)")]
    datagram_max: Bounded<{ DATAGRAM_BYTES_MIN as u64 }, { DATAGRAM_BYTES_MAX as u64 }>,
    /// send and receive one datagram a system call, where the kernel or the network card says
    /// that it has sent several and has not
    #[argh(switch)]
    no_offload: bool,
    /// what goes to stderr: off, error, warn, info, debug or trace (default warn)
    #[argh(option, arg_name = "LEVEL", default = "LogLevel(LevelFilter::Warn)")]
    log_level: LogLevel,
    /// end when the parent process does
    #[argh(switch, hidden_help)]
    die_with_parent: bool,
}

fn main() {
    let options: Options = parse_args("client", &[]);
    init_logging(options.log_level.0);
    end_on_panic();
    let f = options.f.map(|f| f.0 as usize);
    let file = ClusterFile::read(&options.config_path, f, None);
    let file = file.unwrap_or_else(|error| usage_error(error));
    let ending = Ending::watch(options.die_with_parent).unwrap_or_else(|error| fail(error));
    let timeout = options.timeout.map(|seconds| Duration::from_secs(seconds.0));
    let config = match first_addresses(&file, &ending, timeout) {
        Ok(config) => config,
        Err(NoAddresses::Ends) => exit(0),
        Err(NoAddresses::Config(error)) => usage_error(error),
        Err(NoAddresses::TimedOut) => {
            let file = options.config_path.display();
            fail(format!("no name of {file} was resolved in time"))
        }
        Err(NoAddresses::Other(error)) => fail(error),
    };
    let id = match options.client_id {
        Some(id) => id.0,
        None => entropy().unwrap_or_else(|error| fail(error)),
    };
    let ran = run(ClientOptions {
        id: ClientId(id),
        config,
        names: Some(file),
        loss: options.msg_loss.probability(),
        seed: options.rand_seed.0,
        datagram_bytes: options.datagram_max.0 as usize,
        offload: !options.no_offload,
        timeout_us: options.timeout.map(|seconds| seconds.0 * 1_000_000),
        die_with_parent: options.die_with_parent,
    });
    match ran {
        Ok(code) => exit(code),
        Err(error) => fail(error),
    }
}
