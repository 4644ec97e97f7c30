//! The host and the build, as the head of the document names them.

use crate::table::three_digits;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The host, the build and the moment.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) commit: String,
    /// The load average of the last minute before anything was measured.
    pub(crate) load: f64,
    programs: String,
    virtual_machine: bool,
    memory_gib: f64,
    kernel: String,
    file_system: String,
    compiler: String,
    date: String,
    stolen: Stolen,
}

/// Time of the cores: all of it, and what other guests of the host had of it.
#[derive(Debug, Clone, Copy)]
struct Stolen {
    all: u64,
    stolen: u64,
}

impl Machine {
    /// # Errors
    ///
    /// If the programs are not built.
    pub(crate) fn look(bin: &Path) -> Result<Machine, String> {
        for program in ["bench", "driver", "replica", "client", "examples/floor"] {
            if !bin.join(program).is_file() {
                return Err(format!("{} is not built", bin.join(program).display()));
            }
        }
        let cpuinfo = proc_file("cpuinfo");
        let field = |name: &str| -> Option<&str> {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim())
        };
        let memory_kib = proc_file("meminfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok()
            })
            .unwrap_or(0.0);
        let changes = !output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = output("git", &["rev-parse", "--short", "HEAD"]);
        Ok(Machine {
            programs: bin.display().to_string(),
            processor: field("model name").unwrap_or("an unknown processor").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: field("flags")
                .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
            memory_gib: memory_kib / (1024.0 * 1024.0),
            kernel: format!("Linux {}", proc_file("sys/kernel/osrelease").trim()),
            file_system: file_system(&proc_file("self/mountinfo"), &here()),
            compiler: output("rustc", &["--version"]),
            commit: if changes { format!("{commit} with changes") } else { commit },
            date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            load: proc_file("loadavg")
                .split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0.0),
            stolen: Stolen::now(),
        })
    }

    /// For README: the machine's name, once.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "Build {} on {} cores of {}{}, {}, {}, {}.",
            self.commit,
            self.cores,
            self.processor,
            if self.virtual_machine { " (virtual)" } else { "" },
            // A builder's name behind the version, and the hour, are in the document.
            self.kernel.split('-').next().unwrap_or_default(),
            self.file_system,
            self.date.split(' ').next().unwrap_or_default(),
        )
    }

    /// The table of all of it. (Asked at the end: it says what other guests took meanwhile.)
    pub(crate) fn shown(&self) -> String {
        let rows = [
            (
                "build",
                format!("`{}`, {}, programs of `{}`", self.commit, self.compiler, self.programs),
            ),
            ("begun", self.date.clone()),
            (
                "machine",
                format!(
                    "{}, {} cores, {} GiB{}",
                    self.processor,
                    self.cores,
                    three_digits(self.memory_gib),
                    if self.virtual_machine { ", a virtual machine" } else { "" }
                ),
            ),
            ("kernel", self.kernel.clone()),
            ("files on", self.file_system.clone()),
            ("load average before", format!("{:.2}", self.load)),
            ("taken by other guests", format!("{:.1} % of the cores' time", self.stolen.percent())),
        ];
        let rows: Vec<String> =
            rows.iter().map(|(name, what)| format!("| {name} | {what} |\n")).collect();
        format!("| | |\n|---|---|\n{}", rows.concat())
    }
}

impl Stolen {
    fn now() -> Stolen {
        let stat = proc_file("stat");
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        Stolen { all: ticks.iter().sum(), stolen: ticks.get(7).copied().unwrap_or(0) }
    }

    /// Of all time since, in percent.
    fn percent(self) -> f64 {
        let now = Stolen::now();
        let all = now.all.saturating_sub(self.all).max(1);
        now.stolen.saturating_sub(self.stolen) as f64 / all as f64 * 100.0
    }
}

/// The file system of `path`: its mount is the last of those that hold it.
fn file_system(mounts: &str, path: &str) -> String {
    let mount = |line: &str| -> Option<(usize, String)> {
        let (place, kind) = line.split_once(" - ")?;
        let at = place.split(' ').nth(4)?;
        Path::new(path)
            .starts_with(at)
            .then(|| (at.len(), kind.split(' ').next().unwrap_or("").to_owned()))
    };
    let (_, kind) =
        mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).unwrap_or_default();
    kind
}

fn here() -> String {
    std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default()
}

fn proc_file(name: &str) -> String {
    fs::read_to_string(Path::new("/proc").join(name)).unwrap_or_default()
}

/// The output of a program on one line. It is empty if there is no such program.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      30 22 0:25 / /home/user rw shared:5 - xfs /dev/vdb rw\n\
                      31 22 0:26 / /homework rw - tmpfs tmpfs rw\n";
        assert_eq!(file_system(mounts, "/home/user/project"), "xfs");
        assert_eq!(file_system(mounts, "/home/another"), "ext4");
        assert_eq!(file_system("", "/"), "");
    }
}
