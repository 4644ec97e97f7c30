//! The commands, as a reader would type them, and the figures that they print.

use crate::table::Spread;
use command_line::say;
use multipaxos::config::cause;
use serde::Deserialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Where a reader's programs are, as scripts are told.
pub(crate) const BIN: &str = "target/release";

/// How often a command is run before its failure counts.
const RUNS_MAX: u32 = 4;

/// The figures of one run of `bench` or of its floor.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sample {
    #[serde(rename = "ops_per_s")]
    pub(crate) lines_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// CPU time of all replicas, and of the client, for a line.
    #[serde(rename = "cpu_us_per_op")]
    pub(crate) cpu_us: f64,
    #[serde(rename = "client_cpu_us_per_op")]
    pub(crate) client_cpu_us: f64,
    /// Switches between threads, which only `bench` counts.
    #[serde(rename = "switches_per_op", default)]
    pub(crate) switches: f64,
    /// The largest replica, which only `bench` looks at.
    #[serde(default)]
    pub(crate) rss_kib: f64,
}

impl Sample {
    /// The row that the floor prints: figures by the words of its header.
    fn of_floor(text: &str) -> Option<Sample> {
        let row = text.lines().nth(1)?;
        let cells: Vec<f64> =
            row.split_whitespace().map(|cell| cell.parse().unwrap_or(f64::NAN)).collect();
        let [_, _, lines_per_s, p50_us, p99_us, p999_us, _, cpu_us, client_cpu_us] = cells[..]
        else {
            return None;
        };
        let (switches, rss_kib) = (f64::NAN, f64::NAN);
        Some(Sample {
            lines_per_s,
            p50_us,
            p99_us,
            p999_us,
            cpu_us,
            client_cpu_us,
            switches,
            rss_kib,
        })
    }
}

/// The runs of one command, a round each.
pub(crate) type Series = Vec<Sample>;

/// One figure of a series.
pub(crate) fn spread(series: &[Sample], of: fn(&Sample) -> f64) -> Spread {
    Spread::of(series.iter().map(of))
}

/// The ratio of a figure of two series, taken round by round.
pub(crate) fn ratio(ours: &[Sample], theirs: &[Sample], of: fn(&Sample) -> f64) -> Spread {
    Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| of(ours) / of(theirs)))
}

/// Runs commands, one after the other, and says which.
#[derive(Debug)]
pub(crate) struct Runner {
    bin: PathBuf,
    hosts: PathBuf,
    began: Instant,
}

impl Runner {
    /// With the folder of the programs, and the program `hosts`, which users do not have.
    pub(crate) fn new(bin: &Path, hosts: &Path) -> Runner {
        Runner { bin: bin.to_owned(), hosts: hosts.to_owned(), began: Instant::now() }
    }

    /// Each command in turn, as often as there are rounds.
    pub(crate) fn rounds(
        &mut self,
        rounds: usize,
        commands: &[String],
    ) -> Result<Vec<Series>, String> {
        let mut all = vec![Series::new(); commands.len()];
        for _ in 0..rounds {
            for (series, command) in all.iter_mut().zip(commands) {
                series.push(self.sample(command)?);
            }
        }
        Ok(all)
    }

    /// One run of `bench` or of the floor.
    pub(crate) fn sample(&mut self, command: &str) -> Result<Sample, String> {
        if command.starts_with("floor ") {
            let text = self.text(command)?;
            return Sample::of_floor(&text)
                .ok_or(format!("{command}: what it printed has no figures"));
        }
        let text = self.text(&format!("{command} --json"))?;
        serde_json::from_str(&text).map_err(|e| format!("{command}: what it printed: {e}"))
    }

    /// Runs a command and returns its output. If the command fails, it is run again, up to
    /// [`RUNS_MAX`] times in all: the floor, for one, gives up when a datagram is lost.
    pub(crate) fn text(&mut self, command: &str) -> Result<String, String> {
        say(format!("{:>5.0} s  {command}", self.began.elapsed().as_secs_f64()));
        for _ in 1..RUNS_MAX {
            match self.once(command) {
                Err(what) => say(format!("measure: {what}; once more")),
                ran => return ran,
            }
        }
        self.once(command)
    }

    fn once(&self, command: &str) -> Result<String, String> {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or("");
        let path = match program {
            "floor" => self.bin.join("examples/floor"),
            "hosts" => self.hosts.clone(),
            script if script.starts_with("scripts/") => script.into(),
            program => self.bin.join(program),
        };
        // Readers have their programs there.
        let bin = self.bin.as_os_str();
        let words = words.map(|word| if word == BIN { bin } else { OsStr::new(word) });
        let output = Command::new(&path)
            .args(words)
            .output()
            .map_err(|e| format!("{command}: cannot start {}: {}", path.display(), cause(&e)))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let last = stderr.lines().last().unwrap_or("nothing on stderr");
            return Err(format!("{command}: {}: {last}", output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_read_by_its_columns_and_a_bench_by_its_names() {
        let text = "     N  durab.      ops/s     p50 µs     p99 µs   p99.9 µs     max µs  CPU µs/op  client\n\
                    \x20   64  none       732000       80.1      200.2      300.3      400.4       0.75    0.41\n";
        let floor = Sample::of_floor(text).expect("figures");
        assert_eq!((floor.lines_per_s, floor.p999_us, floor.cpu_us), (732_000.0, 300.3, 0.75));
        assert!(Sample::of_floor("nothing\n").is_none());
        let text = r#"{"ops_per_s": 5.5, "p50_us": 1.0, "p99_us": 2.0, "p999_us": 3.0, "max_us": 4.0,
            "cpu_us_per_op": 0.5, "client_cpu_us_per_op": 0.25, "switches_per_op": 7.5, "rss_kib": 4096}"#;
        let bench: Sample = serde_json::from_str(text).expect("figures");
        assert_eq!((bench.lines_per_s, bench.switches, bench.rss_kib), (5.5, 7.5, 4096.0));
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        let sample = |lines_per_s| {
            let text = format!(
                r#"{{"ops_per_s": {lines_per_s}, "p50_us": 0, "p99_us": 0, "p999_us": 0,
                "cpu_us_per_op": 0, "client_cpu_us_per_op": 0}}"#
            );
            serde_json::from_str::<Sample>(&text).expect("figures")
        };
        // A host that is twice as slow in the second round.
        let (ours, theirs) = ([sample(8.0), sample(4.0)], [sample(10.0), sample(5.0)]);
        let ratio = ratio(&ours, &theirs, |sample| sample.lines_per_s);
        assert_eq!((ratio.least, ratio.most), (0.8, 0.8));
    }

    #[test]
    fn a_command_that_fails_twice_is_named_with_its_last_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Runner::new(folder.path(), folder.path())
            .text("bench --outstanding 1")
            .expect_err("no such program");
        assert!(error.contains("bench --outstanding 1: cannot start"), "{error}");
    }
}
