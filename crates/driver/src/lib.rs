//! The scenarios: real processes on this host, a fault, and the verdict.
//!
//! [`TABLE`] lists all eight: the number of clients, the number of their messages, and the
//! fault. [`run_all`] and [`run_one`] start 2f+1 replicas and the clients as processes, from
//! the same programs that a user starts. They make the fault happen, and compare the chat
//! logs on disk with what the clients were told. The driver sees of a replica only what
//! everybody can see: its exit, its stderr, its chat log.
//!
//! - `run`: one run, phase by phase
//! - `process`: children and signals
//! - `clients`: threads that feed clients, and what clients were told
//! - `folder`: files and ports before a run
//! - [`verdict`]: the rules, without I/O
//! - [`compare`]: the verdict on a run made by hand
//!
//! Each scenario prints one row to stdout. Below the row of a failed scenario the driver
//! prints why it failed, and the command that repeats it. After a failed scenario the driver
//! goes on with the next one. After a signal, or when stdout is closed, it ends every child
//! and stops.
//!
//! Each process gets a seed of its own, derived from the driver's seed, the scenario and the
//! process's name. The seed does not repeat the host's threads and network.

mod clients;
pub mod compare;
pub mod folder;
pub mod process;
mod run;
pub mod verdict;

pub use process::Interrupts;

use command_line::progress::Progress;
use command_line::{EXIT_FAILED, EXIT_USAGE, Percent, one_line, say};
use folder::{Folder, PortFault, check_ports};
use multipaxos::config::{Config, cause};
use run::{Failure, Outcome};
use seeds::derive_seed;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Why the driver cannot start all replicas here, if an address belongs to another host.
pub fn foreign_address(config: &Config, config_path: &Path) -> Option<String> {
    match check_ports(config, config_path) {
        Err(PortFault::Foreign(what)) => Some(what),
        Ok(()) | Err(PortFault::Taken(_)) => None,
    }
}

/// The fault of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// The driver kills this many replicas, from 0 on, after warm-up and before any client
    /// starts. So they die before anything is proposed.
    KillFirst(usize),
    /// Replica 0 aborts after its first Accept, before it can learn the outcome.
    AbortBehindAccept,
}

impl Fault {
    /// The number of replicas that die of the fault.
    pub fn deaths(self) -> usize {
        match self {
            Fault::None => 0,
            Fault::KillFirst(count) => count,
            Fault::AbortBehindAccept => 1,
        }
    }
}

/// One scenario. Options may change its size, but not its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// The name as users write it, in upper case and with spaces.
    pub name: &'static str,
    /// The number of clients that send at the same time.
    pub clients: usize,
    /// The number of messages that each client sends, one after the other.
    pub messages: u64,
    /// The longest pause between two messages of a client, in milliseconds.
    pub pause_ms: u64,
    /// The fault.
    pub fault: Fault,
}

const fn row(
    name: &'static str,
    clients: usize,
    messages: u64,
    pause_ms: u64,
    fault: Fault,
) -> Scenario {
    Scenario { name, clients, messages, pause_ms, fault }
}

/// The eight scenarios, in the order in which they run.
pub const TABLE: [Scenario; 8] = [
    row("SINGLE CLIENT SINGLE REQ", 1, 1, 0, Fault::None),
    row("SINGLE CLIENT MULTIPLE REQ", 1, 4, 0, Fault::None),
    row("MULTIPLE CLIENT SINGLE REQ", 5, 1, 0, Fault::None),
    row("MULTIPLE CLIENT MULTIPLE REQ", 3, 4, 0, Fault::None),
    row("PROPOSER 0 FAIL BEFORE PROPOSAL", 3, 1, 0, Fault::KillFirst(1)),
    row("PROPOSER 0 AND 1 FAIL BEFORE PROPOSAL", 3, 1, 0, Fault::KillFirst(2)),
    row("PROPOSER 0 FAIL AFTER PROPOSAL", 5, 4, 0, Fault::AbortBehindAccept),
    row("STRESS TEST 0", 5, 100, 100, Fault::None),
];

impl Scenario {
    /// The scenario with this name. Upper and lower case are the same, and so are spaces,
    /// dashes and underscores.
    pub fn find(name: &str) -> Option<&'static Scenario> {
        let upper = name.to_uppercase().replace(['-', '_'], " ");
        let words: Vec<&str> = upper.split_whitespace().collect();
        TABLE.iter().find(|scenario| scenario.name == words.join(" "))
    }

    /// The name in lower case with dashes: for its folder, and as an option's value.
    pub fn dir(&self) -> String {
        self.name.to_lowercase().replace(' ', "-")
    }
}

/// The driver's options, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name with which the driver was called, for the command that repeats a run.
    pub called: String,
    /// The configuration of the cluster.
    pub config: Config,
    /// The file of the configuration. The children read it too.
    pub config_path: PathBuf,
    /// The folder that contains each scenario's folder.
    pub log_dir: PathBuf,
    /// The slot that the initial primary skips.
    pub skip_slot: Option<u64>,
    /// The percentage of datagrams that each sender drops.
    pub msg_loss: Percent,
    /// The seed from which all other seeds are derived.
    pub rand_seed: u64,
    /// Replaces the scenario's number of clients.
    pub clients: Option<usize>,
    /// Replaces the scenario's number of messages for each client.
    pub messages: Option<u64>,
    /// Replaces the scenario's longest pause, in milliseconds.
    pub pause_ms: Option<u64>,
    /// The longest time that a scenario may take from its start to its verdict.
    pub deadline: Duration,
    /// Whether all processes are told to send and receive one datagram a system call.
    pub no_offload: bool,
    /// The file with the cluster's key, if it has one.
    pub key_file: Option<PathBuf>,
    /// Whether the processes may take addresses that others reach although there is no key.
    pub insecure: bool,
    /// Whether all processes write traces into the scenario's folder.
    pub trace: bool,
    /// The file for a page that shows the scenario, if there is to be one.
    pub report: Option<PathBuf>,
    /// Whether the results are objects, a line each, in place of a table.
    pub json: bool,
    /// Options passed to the replicas unchanged: names without dashes, and values.
    pub replica_options: Vec<(String, String)>,
}

impl Plan {
    fn clients_of(&self, scenario: &Scenario) -> usize {
        self.clients.unwrap_or(scenario.clients)
    }

    fn messages_of(&self, scenario: &Scenario) -> u64 {
        self.messages.unwrap_or(scenario.messages)
    }

    fn pause_ms_of(&self, scenario: &Scenario) -> u64 {
        self.pause_ms.unwrap_or(scenario.pause_ms)
    }

    /// The options that replicas and clients share.
    fn common_args(&self, scenario: &Scenario, folder: &Folder, process: &str) -> Vec<String> {
        let seed = derive_seed(self.rand_seed, &format!("{}/{process}", scenario.dir()));
        let pairs = [
            ("--f", self.config.f.to_string()),
            ("--config_path", self.config_path.display().to_string()),
            ("--msg_loss", self.msg_loss.to_string()),
            ("--rand_seed", seed.to_string()),
        ];
        let mut args: Vec<String> =
            pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        args.push("--die_with_parent".into());
        if self.no_offload {
            args.push("--no_offload".into());
        }
        if let Some(file) = &self.key_file {
            args.extend(["--key_file".into(), file.display().to_string()]);
        }
        if self.insecure {
            args.push("--insecure".into());
        }
        if self.trace {
            let file = folder.path(&format!("{}.trace", process.replace(' ', "")));
            args.extend(["--trace".into(), file.display().to_string()]);
        }
        args
    }

    /// Draws the traces of a scenario as a page. The program that does so is beside the driver,
    /// which itself knows nothing of the protocol. Returns what is wrong.
    fn draw(&self, page: &Path, folder: &Folder) -> Result<(), String> {
        let mut command = Command::new(self.binary("trace")?);
        command.arg("report").arg("--page").arg(page).arg(folder.as_arg()).stdin(Stdio::null());
        let ran = command.output().map_err(|e| format!("cannot run trace: {}", cause(&e)))?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        if ran.status.success() { Ok(()) } else { Err(format!("trace: {}", said.trim_end())) }
    }

    /// A program in the same folder as the driver.
    fn binary(&self, name: &str) -> Result<PathBuf, String> {
        let own = std::env::current_exe()
            .map_err(|e| format!("cannot find the folder of the driver: {}", cause(&e)))?;
        let path = own.with_file_name(name);
        if path.is_file() {
            return Ok(path);
        }
        Err(format!("{} is missing: `make build` puts it beside the driver", path.display()))
    }

    /// The command that repeats a run of this scenario.
    fn command(&self, scenario: &Scenario) -> String {
        let mut pairs = vec![
            ("test_type", scenario.name.to_owned()),
            ("f", self.config.f.to_string()),
            ("config_path", self.config_path.display().to_string()),
            ("log_dir", self.log_dir.display().to_string()),
            ("msg_loss", self.msg_loss.to_string()),
            ("rand_seed", self.rand_seed.to_string()),
            ("clients", self.clients_of(scenario).to_string()),
            ("messages", self.messages_of(scenario).to_string()),
            ("pause_ms", self.pause_ms_of(scenario).to_string()),
            ("deadline_s", self.deadline.as_secs().to_string()),
        ];
        pairs.extend(self.skip_slot.map(|slot| ("skip_slot", slot.to_string())));
        let passed = self.replica_options.iter();
        pairs.extend(passed.map(|(name, value)| (name.as_str(), value.clone())));
        let mut command = quoted(&self.called);
        for (name, value) in pairs {
            command += &format!(" --{name} {}", quoted(&value));
        }
        if self.no_offload {
            command += " --no_offload";
        }
        if let Some(file) = &self.key_file {
            command += &format!(" --key_file {}", quoted(&file.display().to_string()));
        }
        if self.insecure {
            command += " --insecure";
        }
        if self.trace {
            command += " --trace";
        }
        command
    }
}

/// Quotes a word for a shell, if necessary.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if word.chars().any(|c| "\"$`\\!".contains(c)) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    format!("\"{word}\"")
}

/// Runs one scenario and returns the exit code.
pub fn run_one(plan: &Plan, scenario: &'static Scenario, interrupts: &Interrupts) -> i32 {
    let (deaths, f) = (scenario.fault.deaths(), plan.config.f);
    if deaths > f {
        let (name, n) = (scenario.name, plan.config.n());
        let s = if n == 1 { "" } else { "s" };
        let file = plan.config_path.display();
        say(one_line(&format!(
            "--test_type \"{name}\": needs f = {deaths} or more, {file} lists {n} replica{s} (f = {f})"
        )));
        return EXIT_USAGE;
    }
    run_scenarios(plan, &[scenario], interrupts)
}

/// Runs all eight in turn and returns the exit code.
pub fn run_all(plan: &Plan, interrupts: &Interrupts) -> i32 {
    run_scenarios(plan, &TABLE.iter().collect::<Vec<_>>(), interrupts)
}

fn run_scenarios(plan: &Plan, scenarios: &[&Scenario], interrupts: &Interrupts) -> i32 {
    // Check first what would fail every scenario, so that the error is printed only once.
    let mut folders = Vec::new();
    for scenario in scenarios {
        match Folder::open(&plan.log_dir, &scenario.dir()) {
            Ok(folder) => folders.push(folder),
            Err(what) => {
                say(one_line(&what));
                return EXIT_USAGE;
            }
        }
    }
    match check_ports(&plan.config, &plan.config_path) {
        Ok(()) => {}
        Err(PortFault::Taken(what)) => {
            say(one_line(&what));
            return EXIT_FAILED;
        }
        Err(PortFault::Foreign(what)) => {
            say(one_line(&what));
            return EXIT_USAGE;
        }
    }
    let tool = || plan.report.as_ref().map_or(Ok(()), |_| plan.binary("trace").map(drop));
    let binaries = plan.binary("replica").and_then(|_| plan.binary("client")).and_then(|_| tool());
    if let Err(what) = binaries {
        say(one_line(&what));
        return EXIT_FAILED;
    }
    process::allow_many_files();
    match run_rows(plan, scenarios, &folders, interrupts) {
        Ok(code) => code,
        // Nobody reads the results any more. `run_rows` has ended every child.
        Err(_) => EXIT_FAILED,
    }
}

fn run_rows(
    plan: &Plan,
    scenarios: &[&Scenario],
    folders: &[Folder],
    interrupts: &Interrupts,
) -> io::Result<i32> {
    let mut out = io::stdout();
    let mut progress = Progress::new();
    let json = plan.json;
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    if !json {
        writeln!(out, "{:width$}  verdict  killed  ballot      lines  NOPs   elapsed", "scenario")?;
    }
    for (scenario, folder) in scenarios.iter().zip(folders) {
        let (name, deaths) = (scenario.name, scenario.fault.deaths());
        if deaths > plan.config.f {
            skipped += 1;
            let why = format!("needs f = {deaths} or more");
            match json {
                true => {
                    writeln!(out, "{}", json!({"scenario": name, "verdict": "skip", "why": why}))?
                }
                false => writeln!(out, "{name:width$}  SKIP     {why}")?,
            }
            continue;
        }
        let mut outcome = run::run(plan, scenario, folder, interrupts, &mut progress);
        if let Some(page) = &plan.report
            && let Err(what) = plan.draw(page, folder)
            && outcome.result.is_ok()
        {
            outcome.result = Err(Failure::Broken(what));
        }
        progress.clear();
        if let Err(Failure::Interrupted(signal)) = outcome.result {
            say(format!(
                "{name}: interrupted by {signal}; all replicas and clients have been ended"
            ));
            return Ok(EXIT_FAILED);
        }
        match json {
            true => writeln!(out, "{}", object(plan, scenario, folder, &outcome))?,
            false => writeln!(out, "{name:width$}  {}", cells(&outcome))?,
        }
        match &outcome.result {
            Ok(_) => passed += 1,
            Err(_) if json => failed += 1,
            Err(failure) => {
                failed += 1;
                let text = format!(
                    "{name}: {failure}\nlogs: {}\nrepeat: {}",
                    folder.as_arg(),
                    plan.command(scenario)
                );
                writeln!(out, "{}", indented(&text))?;
            }
        }
    }
    if scenarios.len() > 1 && !json {
        let total = scenarios.len();
        writeln!(out, "{total} scenarios: {passed} passed, {failed} failed, {skipped} skipped")?;
    }
    out.flush()?;
    Ok(if failed > 0 { EXIT_FAILED } else { 0 })
}

/// The row for programs: one object.
fn object(plan: &Plan, scenario: &Scenario, folder: &Folder, outcome: &Outcome) -> Value {
    let failure = outcome.result.as_ref().err().map(ToString::to_string);
    json!({
        "scenario": scenario.name,
        "verdict": if failure.is_none() { "pass" } else { "fail" },
        "killed": outcome.killed,
        "ballot": outcome.ballot,
        "completed": outcome.completed,
        "lines": outcome.total,
        "noops": outcome.result.as_ref().ok().map(|summary| summary.noops),
        "elapsed_s": outcome.elapsed.as_secs_f64(),
        "why": failure,
        "logs": folder.as_arg(),
        "repeat": plan.command(scenario),
    })
}

/// The columns behind a scenario's name.
fn cells(outcome: &Outcome) -> String {
    let verdict = if outcome.result.is_ok() { "PASS" } else { "FAIL" };
    let killed: Vec<String> = outcome.killed.iter().map(usize::to_string).collect();
    let killed = if killed.is_empty() { "-".into() } else { killed.join(",") };
    let ballot = outcome.ballot.map_or("-".into(), |ballot| ballot.to_string());
    let lines = format!("{}/{}", outcome.completed, outcome.total);
    let noops = outcome.result.as_ref().map_or("-".into(), |summary| summary.noops.to_string());
    let elapsed = format!("{:.2} s", outcome.elapsed.as_secs_f64());
    format!("{verdict:7}  {killed:6}  {ballot:>6}  {lines:>9}  {noops:>4}  {elapsed:>8}")
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// Reads a chat log. `None`: there is no such file.
fn read_log(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {}", path.display(), cause(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_found_however_its_words_are_joined() {
        for name in ["stress test 0", "STRESS-TEST-0", "Stress_Test-0", "  stress  test 0 "] {
            assert_eq!(Scenario::find(name).map(|s| s.name), Some("STRESS TEST 0"), "{name}");
        }
        for name in ["", "stress test", "stresstest0", "stress test 00"] {
            assert_eq!(Scenario::find(name), None, "{name}");
        }
        for scenario in &TABLE {
            assert_eq!(Scenario::find(&scenario.dir()), Some(scenario));
        }
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("logs/a-b_c.txt"), "logs/a-b_c.txt");
        assert_eq!(quoted("STRESS TEST 0"), "\"STRESS TEST 0\"");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "\"\"");
    }
}
