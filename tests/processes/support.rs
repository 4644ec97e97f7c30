//! Real processes on free ports.

pub(crate) use crate::place::*;
use seeds::stream;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;
use std::{env, fs};

/// On which threads replica `id` of this test runs its roles: as THREADS says, or drawn from the
/// test's name and the id, so that most clusters are mixed.
fn layout(id: usize) -> String {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let drawn = stream(id as u64, &test).bool();
    env::var("THREADS").unwrap_or_else(|_| if drawn { "one" } else { "per-role" }.into())
}

impl Place {
    pub(crate) fn replica(&self, id: usize) -> Replica {
        self.replica_with(id, &[])
    }

    pub(crate) fn replica_with(&self, id: usize, options: &[&str]) -> Replica {
        self.replica_by(&[], id, options)
    }

    /// A replica that another program starts. That program gets the replica's command line.
    pub(crate) fn replica_by(&self, by: &[&str], id: usize, options: &[&str]) -> Replica {
        let mut replica = self.program(env!("CARGO_BIN_EXE_replica"));
        replica.arg("--log_dir").arg(self.logs()).args(["--replica_id", &id.to_string()]);
        replica.args(["--threads", &layout(id)]).args(options);
        let mut command = match by {
            [] => replica,
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(replica.get_program()).args(replica.get_args());
                command
            }
        };
        Replica { process: Process::spawn(&mut command), id }
    }

    /// All replicas, warmed up.
    pub(crate) fn cluster(&self) -> Vec<Replica> {
        self.cluster_with(&[])
    }

    /// All replicas, warmed up, with these options.
    pub(crate) fn cluster_with(&self, options: &[&str]) -> Vec<Replica> {
        let mut replicas: Vec<Replica> =
            (0..self.n()).map(|id| self.replica_with(id, options)).collect();
        for replica in &mut replicas {
            replica.process.wait_for("warm-up complete");
        }
        replicas
    }

    /// A replica that has run before.
    pub(crate) fn restarted(&self, id: usize, options: &[&str]) -> Replica {
        let mut replica = self.replica_with(id, options);
        replica.process.wait_for("warm-up complete");
        replica
    }

    pub(crate) fn client(&self, args: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_client"));
        command.args(["--timeout", "15"]).args(args);
        command
    }

    /// Runs a client on this input until it ends.
    pub(crate) fn say(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.client(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Guard(command.spawn().expect("the client starts"));
        let mut stdin = child.0.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let feeder = thread::spawn(move || stdin.write_all(&input));
        let out = drain(child.0.stdout.take().expect("a pipe"));
        let err = drain(child.0.stderr.take().expect("a pipe"));
        let (stdout, stderr) = (out.join().expect("read"), err.join().expect("read"));
        let status = child.0.wait().expect("it ends");
        // A client that gives up does not read all its input.
        let _ = feeder.join().expect("the feeder ends");
        Output { status, stdout, stderr }
    }

    pub(crate) fn log(&self, id: usize) -> String {
        fs::read_to_string(self.logs().join(format!("learner{id}.txt"))).unwrap_or_default()
    }

    /// Waits until the logs of these replicas have this many lines, and returns the logs.
    pub(crate) fn logs_of(&self, ids: &[usize], lines: usize) -> Vec<String> {
        until(&format!("{lines} lines in the logs of {ids:?}"), || {
            let logs: Vec<String> = ids.iter().map(|id| self.log(*id)).collect();
            logs.iter().all(|log| log.lines().count() >= lines).then_some(logs)
        })
    }
}

pub(crate) fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A child process. The test reads its stderr line by line.
pub(crate) struct Process {
    pub(crate) child: Guard,
    pub(crate) lines: Receiver<String>,
    pub(crate) said: Vec<String>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        Process::spawn_on(command, Stdio::null(), Stdio::null())
    }

    pub(crate) fn spawn_on(command: &mut Command, stdin: Stdio, stdout: Stdio) -> Process {
        let command = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = Guard(command.spawn().expect("the program starts"));
        let stderr = child.0.stderr.take().expect("a pipe");
        let (to, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
        });
        Process { child, lines, said: Vec::new() }
    }

    /// Reads stderr up to a line that contains these words.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.said.iter().any(|line| line.contains(words)) {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{words:?} was never said, but {:#?}", self.said)
                }
            }
        }
    }

    /// Waits until the process ends. Returns its status and everything that it said.
    #[track_caller]
    pub(crate) fn end(&mut self) -> (ExitStatus, Vec<String>) {
        let status = until("the process ends", || self.child.0.try_wait().expect("a child"));
        self.said.extend(self.lines.iter());
        (status, self.said.clone())
    }

    /// Sends a signal that ends it. Whoever runs the tests may ignore some, and then so do their
    /// children: these are sent a SIGTERM.
    pub(crate) fn signal(&self, signal: &str) {
        let number = match signal {
            "-HUP" => 1,
            "-INT" => 2,
            _ => 0,
        };
        let ignored = number > 0 && ignores(std::process::id(), number);
        signal_to(self.child.0.id(), if ignored { "-TERM" } else { signal });
    }
}

/// Whether a process ignores a signal.
pub(crate) fn ignores(pid: u32, signal: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
    mask >> (signal - 1) & 1 == 1
}

pub(crate) fn signal_to(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "kill {signal} {pid}");
}

pub(crate) struct Replica {
    pub(crate) process: Process,
    pub(crate) id: usize,
}

impl Replica {
    pub(crate) fn kill(mut self) {
        self.process.child.0.kill().expect("it is killed");
        self.process.child.0.wait().expect("it is gone");
    }
}

/// The completions on a client's stdout: client, number, slot.
pub(crate) fn completions(output: &Output) -> Vec<(u64, u64, u64)> {
    let number = |field: &str| field.parse::<u64>().expect("a number");
    let parse = |line: &str| {
        let fields: Vec<u64> = line.split(' ').map(number).collect();
        (fields[0], fields[1], fields[2])
    };
    text(&output.stdout).lines().map(parse).collect()
}
