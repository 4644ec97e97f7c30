//! Sends every line of stdin to the chat log.

use argh::{ArgsInfo, FromArgs};
use command_line::ending::{Ending, end_on_panic, fail};
use command_line::{
    Bounded, EXIT_FAILED, LogLevel, Percent, init_logging, parse_args, usage_error,
};
use log::LevelFilter;
use multipaxos::admin::{Task, told};
use multipaxos::config::{ClusterFile, F_MAX, cause};
use multipaxos::message::MemberChange;
use multipaxos::net::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN};
use multipaxos::runtime::admin::{self, Ended};
use multipaxos::runtime::ask::{self, Asked};
use multipaxos::runtime::client::{ClientOptions, run};
use multipaxos::runtime::follow::{self, Format, Wanted};
use multipaxos::runtime::names::{NoAddresses, first_addresses};
use multipaxos::runtime::process::entropy;
use multipaxos::runtime::trust::Trust;
use multipaxos::runtime::{requests, snapshot, terminal, trace};
use multipaxos::survey::{Health, table};
use multipaxos::types::{Address, ClientId, NUMBER_MAX, Slot};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::exit;
use std::time::Duration;

/// How many requests may be under way at once, unless the user says otherwise.
const IN_FLIGHT: usize = 16;

/// And if he does.
const IN_FLIGHT_MAX: u64 = 1_024;

/// The exit code of --status if too few replicas answer.
const EXIT_NO_QUORUM: i32 = 2;

/// Sends every line of stdin to the chat log, one at a time. For each line that is complete
/// it prints the client's id, the number of the line among this client's, from 0, and the
/// slot. End of input or a line SHUTDOWN ends it. Or it shows what is in the log, or how the
/// replicas are.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "To the three replicas of configs/three.txt:\n  \
        {command_name} --config_path configs/three.txt",
    example = "Two lines of client 5; give up if one takes longer than ten seconds:\n  \
        printf 'hello\\nworld\\n' | {command_name} --client_id 5 --timeout 10",
    example = "For a program, with many lines in flight:\n  \
        {command_name} --config_path configs/three.txt --json",
    example = "How each replica is:\n  \
        {command_name} --config_path configs/three.txt --status",
    example = "Put a replica's fresh directory in the place of the one that it lost:\n  \
        {command_name} --config_path configs/three.txt --admin replace 2",
    example = "Every line that is complete by now:\n  \
        {command_name} --config_path configs/three.txt --read",
    example = "The chat log from slot 100 on, as it grows, for a program:\n  \
        {command_name} --config_path configs/three.txt --follow --from 100 --format json",
    error_code(0, "every line is complete; --status: all is well"),
    error_code(1, "a line, or --admin: not done; --status: a fault; --read, --follow: silence"),
    error_code(2, "--status, --admin: too few replicas answer to decide anything"),
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
    /// the client's key, made by replica --make_client_key, or the cluster's; without one
    /// everybody can answer, so all addresses must be loopback addresses (default: none)
    #[argh(option, arg_name = "FILE")]
    key_file: Option<PathBuf>,
    /// take addresses that others reach although there is no key
    #[argh(switch)]
    insecure: bool,
    /// the id of this client in the chat log; a client that comes back with its id goes on
    /// numbering where it stopped, and a line that it left in flight may come later (default:
    /// drawn at random)
    #[argh(option, arg_name = "N")]
    client_id: Option<Bounded<0, { u64::MAX }>>,
    /// send no lines, and show how each replica is: whether it answers, leads, and has the same
    /// log as the others
    #[argh(switch)]
    status: bool,
    /// for programs: each line of stdin is a JSON object with an id and a line to write, and
    /// stdout has one answer a line, with the id, in any order; with --status: one JSON object
    /// instead of a table
    #[argh(switch)]
    json: bool,
    /// with --json: how many requests may be under way at once (default 16)
    #[argh(option, arg_name = "N")]
    in_flight: Option<Bounded<1, IN_FLIGHT_MAX>>,
    /// send no lines, and print the chat log: every line that is there, and then each as it is
    /// committed, whichever replicas run
    #[argh(switch)]
    follow: bool,
    /// send no lines, and print the lines of the chat log that one replica knows to be committed
    /// by now; the newest may be missing: --read prints them all
    #[argh(switch)]
    history: bool,
    /// send no lines, and print the chat log with every line that is complete before this begins;
    /// it needs a quorum; with --follow: say when all these are printed, and go on
    #[argh(switch)]
    read: bool,
    /// send no lines, and show or change who the members are: members, add ID, replace ID, remove ID
    /// or move ID ADDRESS:PORT; with the cluster's key, if there is one (default: none)
    #[argh(option, arg_name = "TASK")]
    admin: Option<String>,
    /// what follows --admin
    #[argh(positional, arg_name = "ID")]
    words: Vec<String>,
    /// with --admin: change the members although too few of the new ones are heard to decide
    /// anything
    #[argh(switch)]
    force: bool,
    /// send no lines, and put a whole copy of the chat log there, durably, in the place of what is
    /// there; a new cluster can begin with it (replica --begin_from)
    /// (default: none)
    #[argh(option, arg_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// with --follow, --history or --read: the slot whose line comes first (default 0)
    #[argh(option, arg_name = "SLOT")]
    from: Option<Bounded<0, NUMBER_MAX>>,
    /// with --follow, --history or --read: text, lines as they stand in the chat log; json, an
    /// object a line (default text)
    #[argh(option, arg_name = "FORMAT")]
    format: Option<Format>,
    /// how long a line may take before the client gives up (default: it never does); with
    /// --status: how long a replica may take to answer (default 1); with --follow, --history or
    /// --read: how long all replicas may be silent (default: for ever)
    #[argh(option, arg_name = "SECONDS")]
    timeout: Option<Bounded<1, 31_536_000>>,
    /// write down there what the client gets and does, for the program trace; a full file goes to
    /// FILE.1 (default: none)
    #[argh(option, arg_name = "FILE")]
    trace: Option<PathBuf>,
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
    check_combination(&options);
    let task = task_of(&options);
    if let Some(file) = &options.trace
        && let Err(error) = trace::look(file)
    {
        usage_error(format!("--trace {}: {}", file.display(), cause(&error)));
    }
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
    let trust = Trust::of_options(options.key_file.as_deref(), options.insecure);
    let trust = trust.unwrap_or_else(|refused| usage_error(refused));
    let keys = match task {
        Some(_) => trust.operator_keys(&config),
        None => trust.client_keys(&config),
    };
    let keys = keys.unwrap_or_else(|refused| usage_error(refused));
    let id = match options.client_id {
        Some(id) => id.0,
        None => entropy().unwrap_or_else(|error| fail(error)),
    };
    let ran_with = ClientOptions {
        id: ClientId(id),
        config,
        names: Some(file),
        keys,
        loss: options.msg_loss.probability(),
        seed: options.rand_seed.0,
        datagram_bytes: options.datagram_max.0 as usize,
        offload: !options.no_offload,
        timeout_us: options.timeout.map(|seconds| seconds.0 * 1_000_000),
        trace: options.trace,
        die_with_parent: options.die_with_parent,
    };
    let from = Slot(options.from.map_or(0, |from| from.0));
    let (ends, reads) = (!options.follow, options.read);
    let format = options.format.unwrap_or_default();
    let in_flight = options.in_flight.map_or(IN_FLIGHT, |count| count.0 as usize);
    if let Some(Task::Change { change: MemberChange::Move(_, Address(to)), .. }) = task
        && to.is_ipv6() != ran_with.config.is_ipv6()
    {
        let family = if to.is_ipv6() { "IPv4" } else { "IPv6" };
        usage_error(format!("--admin move: {to}: all replicas of this cluster use {family}"));
    }
    let ran = if let Some(task) = task {
        administer(&ran_with, &ending, task)
    } else if options.status {
        status(&ran_with, &ending, options.json)
    } else if let Some(file) = &options.snapshot {
        snapshot::run(&ran_with, &ending, file)
    } else if options.follow || options.history || options.read {
        follow::run(&ran_with, &ending, Wanted { from, ends, reads, format })
    } else if options.json {
        requests::run(ran_with, &ending, in_flight)
    } else if terminal::is_there() {
        terminal::run(ran_with, &ending)
    } else {
        run(ran_with)
    };
    match ran {
        Ok(code) => exit(code),
        Err(error) => fail(error),
    }
}

/// Refuses options that contradict each other.
fn check_combination(options: &Options) {
    let Options {
        status,
        json,
        in_flight,
        follow,
        history,
        read,
        snapshot,
        admin,
        client_id,
        from,
        format,
        trace,
        ..
    } = options;
    let reads = *follow || *history || *read;
    if admin.is_some()
        && (*status
            || *json
            || reads
            || snapshot.is_some()
            || client_id.is_some()
            || trace.is_some())
    {
        usage_error(
            "--admin: not with --status, --json, --follow, --history, --read, --snapshot, --client_id or --trace",
        );
    }
    if snapshot.is_some()
        && (*status || *json || reads || client_id.is_some() || from.is_some() || trace.is_some())
    {
        usage_error(
            "--snapshot: not with --status, --json, --follow, --history, --read, --from, --client_id or --trace",
        );
    }
    if *json && reads {
        usage_error("--json: not with --follow, --history or --read: there it is --format json");
    }
    if in_flight.is_some() && (*status || !json) {
        usage_error("--in_flight: only with --json, and without --status");
    }
    if trace.is_some() && (*status || *json || reads) {
        usage_error("--trace: only where the client sends the lines of stdin");
    }
    if *status && reads {
        usage_error("--status: not together with --follow, --history or --read: choose one");
    }
    if *follow && *history {
        usage_error("--follow, --history: choose one; --follow prints both");
    }
    if *history && *read {
        usage_error("--history, --read: choose one; --read prints more");
    }
    if !reads && from.is_some() {
        usage_error("--from: only with --follow, --history or --read");
    }
    if !reads && format.is_some() {
        usage_error("--format: only with --follow, --history or --read");
    }
    if reads && client_id.is_some() {
        usage_error("--client_id: leave it out: --follow, --history and --read send no lines");
    }
}

/// What is to be done about the members, if anything.
fn task_of(options: &Options) -> Option<Task> {
    let Options { admin, words, force, .. } = options;
    let Some(admin) = admin else {
        if let Some(word) = words.first() {
            let said = format!("{word}: only --admin takes such words");
            usage_error(said);
        }
        if *force {
            usage_error("--force: only with --admin");
        }
        return None;
    };
    // As one word of the shell or as several.
    let first = admin.split_whitespace().map(str::to_owned);
    let words: Vec<String> = first.chain(words.iter().cloned()).collect();
    Some(Task::read(&words, *force).unwrap_or_else(|error| usage_error(error)))
}

/// Shows or changes the members. Returns the exit code.
fn administer(options: &ClientOptions, ending: &Ending, task: Task) -> io::Result<i32> {
    let outcome = match admin::run(options, ending, task)? {
        Ended::Interrupted => return Ok(EXIT_FAILED),
        Ended::TimedOut(waits_for) => {
            eprintln!("client: not done: {waits_for}");
            return Ok(EXIT_NO_QUORUM);
        }
        Ended::Done(outcome) => outcome,
    };
    let (is_done, text) = told(&outcome, &places(options));
    if !is_done {
        eprint!("client: {text}");
        return Ok(EXIT_FAILED);
    }
    // A reader that has closed stdout wants the exit code alone.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    Ok(0)
}

/// The addresses of the replicas, by id.
fn places(options: &ClientOptions) -> Vec<String> {
    options.config.replicas.iter().map(|replica| replica.address.to_string()).collect()
}

/// Shows how the cluster is. Returns the exit code.
fn status(options: &ClientOptions, ending: &Ending, as_json: bool) -> io::Result<i32> {
    let Some(Asked { report, places }) = ask::run(options, ending)? else { return Ok(EXIT_FAILED) };
    let shown =
        if as_json { table::json(&report, &places) } else { table::table(&report, &places) };
    // A reader that has closed stdout wants the exit code alone.
    let _ = io::stdout().write_all(shown.as_bytes()).and_then(|()| io::stdout().flush());
    Ok(match report.health {
        Health::Well => 0,
        Health::Degraded => EXIT_FAILED,
        Health::NoQuorum => EXIT_NO_QUORUM,
    })
}
