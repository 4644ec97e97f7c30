//! What is measured, and not only checked: how long a cluster is silent when its leader dies,
//! what its clients get of a path, and how soon a replica catches up.
//!
//! A figure is a row that runs several times, one at a time. Its median and its worst run
//! become a line of a Markdown table, beside a goal. A figure decides nothing; a broken
//! guarantee does.

use crate::load::Clients;
use crate::quota;
use crate::relay::Path;
use crate::row::{Act, Row, Seen, Today, percentile, shown};
use crate::rows::{KIB, KIB_ON_THE_WIRE, TABLE, possible};
use crate::run::{Plan, lock};
use crate::tools::Tools;
use crate::trial;
use crate::world::{Bucket, World};
use std::thread;
use std::time::Duration;

/// The lines in flight when a leader dies: each is of a client of its own.
const WAITING: usize = 1_000;

/// The path over which a replica catches up with a gigabyte.
const FAR: Bucket = Bucket { kbit: 100_000, queue_ms: 50 };
const MISSED_BYTES: u64 = 1_000_000_000;
const ALONE: Duration = Duration::from_secs(15);

/// One figure.
#[derive(Debug)]
struct Figure {
    what: &'static str,
    goal: &'static str,
    row: Row,
    times: u64,
    of: Measure,
}

/// What of a row's run is the figure.
#[derive(Debug, Clone, Copy)]
enum Measure {
    /// The longest time without a completed line.
    Silence,
    /// Complete lines, in percent of so many.
    Lines(u64),
    /// Bytes sent by replicas, in percent of the lines' own.
    Sent,
    /// Bytes a second fetched, in percent of so many.
    Fetched(u64),
    /// Of what others' lines took at p99 before, in percent.
    P99,
}

impl Measure {
    /// The figure, if the run has it: milliseconds or percent.
    fn value(self, seen: &Seen) -> Option<f64> {
        let percent = |part: f64, whole: f64| (whole > 0.0).then(|| part * 100.0 / whole);
        let p99 = |times: &[Duration]| percentile(times, 99).map(|time| time.as_secs_f64());
        match self {
            Measure::Silence => seen.silence.map(|time| time.as_secs_f64() * 1e3),
            Measure::Lines(possible) => percent(seen.lines.1 as f64, possible as f64),
            Measure::Sent => percent(seen.sent.0 as f64, seen.useful_bytes as f64),
            Measure::Fetched(path) => percent(seen.fetched?.0 as f64, path as f64),
            Measure::P99 => percent(p99(&seen.latencies)?, p99(&seen.latencies_alone)?),
        }
    }

    /// Whether less is worse.
    fn rises(self) -> bool {
        matches!(self, Measure::Lines(_) | Measure::Fetched(_))
    }

    fn shown(self, value: f64) -> String {
        match self {
            Measure::Silence => shown(Duration::from_secs_f64(value / 1e3)),
            _ => format!("{value:.0} %"),
        }
    }
}

fn row_of(name: &str) -> Row {
    *TABLE.iter().find(|row| row.name == name).expect("a row of the table")
}

fn leader_dies(what: &'static str, goal: &'static str, name: &'static str) -> Figure {
    let clients = Clients::without_end(WAITING, 1_200);
    let act = Act::KillLeader { clients, watch: Duration::from_secs(8) };
    Figure { what, goal, row: Row { act, ..row_of(name) }, times: 10, of: Measure::Silence }
}

fn figures() -> Vec<Figure> {
    let narrow = row_of("goodput-10-mbit-50-ms-64-of-1-kib");
    let wide = row_of("goodput-100-mbit-20-ms-256-of-1-kib");
    let fetches = Row {
        name: "catch-up-of-a-gigabyte",
        world: World { bucket: Some(FAR), path: Some(Path::constant(25)), ..World::HOSTS },
        act: Act::CatchUp {
            writers: Clients::without_end(16, 30_000),
            missing_bytes: MISSED_BYTES,
            meanwhile: Clients {
                every: Duration::from_millis(100),
                ..Clients::without_end(8, KIB)
            },
            alone: ALONE,
            limit: Duration::from_secs(200),
        },
        must: &[],
        may_be_refused: false,
        alone: true,
        quick: false,
        today: Today::Holds,
    };
    let goodput = |what, row, kbit, of_lines: bool| Figure {
        what,
        goal: if of_lines { "80 %" } else { "150 %" },
        row,
        times: 3,
        of: if of_lines { Measure::Lines(possible(kbit, KIB_ON_THE_WIRE)) } else { Measure::Sent },
    };
    let fetched = |what, goal, of| Figure { what, goal, row: fetches, times: 1, of };
    vec![
        leader_dies("the leader dies, on one host: silence", "1.0 s", "leader-dies-near"),
        leader_dies(
            "the leader dies, 30 % of the datagrams lost: silence",
            "1.5 s",
            "leader-dies-30-percent-lost",
        ),
        leader_dies(
            "the leader dies, 50 ms round trip: silence",
            "1.5 s",
            "leader-dies-25-ms-one-way",
        ),
        leader_dies(
            "the leader dies, 200 ms round trip: silence",
            "2.5 s",
            "leader-dies-100-ms-one-way",
        ),
        goodput(
            "10 Mbit/s, 50 ms, 64 clients: lines, of what the path carries",
            narrow,
            10_000,
            true,
        ),
        goodput("the same: bytes sent, of the lines' own", narrow, 10_000, false),
        goodput(
            "100 Mbit/s, 20 ms, 256 clients: lines, of what the path carries",
            wide,
            100_000,
            true,
        ),
        goodput("the same: bytes sent, of the lines' own", wide, 100_000, false),
        fetched(
            "a replica fetches 1 GB, 100 Mbit/s, 50 ms: bytes a second, of the path",
            "60 %",
            Measure::Fetched(FAR.bytes_per_s()),
        ),
        fetched("the same: p99 of others' lines meanwhile, of that before", "150 %", Measure::P99),
    ]
}

/// Measures all figures and returns a Markdown table; a guarantee that was broken is an error.
pub fn measure(plan: &Plan) -> Result<String, String> {
    std::fs::create_dir_all(&plan.log_dir)
        .map_err(|error| format!("cannot make {}: {error}", plan.log_dir.display()))?;
    let _lock = lock(plan)?;
    quota::sweep();
    let tools = Tools::find();
    let mut text = String::from("| what | goal | median | worst | runs |\n|---|---|---|---|---|\n");
    let mut ran: Vec<(&str, Vec<Seen>)> = Vec::new();
    for figure in figures() {
        let Figure { what, goal, row, times, of } = figure;
        if let Some(missing) = tools.missing(&row.world) {
            return Err(format!("{}: {missing}", row.name));
        }
        if ran.last().is_none_or(|(name, _)| *name != row.name) {
            let runs: Result<Vec<Seen>, String> =
                (0..times).map(|time| once(&row, plan, time)).collect();
            ran.push((row.name, runs?));
        }
        let Some((_, runs)) = ran.last() else { continue };
        let (median, worst) = median_and_worst(runs, of);
        text += &format!("| {what} | {goal} | {median} | {worst} | {} |\n", runs.len());
    }
    Ok(text)
}

fn once(row: &Row, plan: &Plan, time: u64) -> Result<Seen, String> {
    let folder = plan.log_dir.join("figure");
    let _ = std::fs::remove_dir_all(&folder);
    let seed = plan.seed + time;
    // The row moves its thread to other networks.
    let seen =
        thread::scope(|scope| scope.spawn(|| trial::run(row, &plan.bin, &folder, seed)).join());
    let seen = seen.unwrap_or_else(|_| Err("the harness panicked".into()))?;
    command_line::say(format!("{:36} {seen}", row.name));
    match &seen.unsafe_because {
        Some(why) => Err(format!("{}: UNSAFE: {why}; files: {}", row.name, folder.display())),
        None => Ok(seen),
    }
}

/// A run that has no figure is the worst.
fn median_and_worst(runs: &[Seen], of: Measure) -> (String, String) {
    let bad = if of.rises() { f64::NEG_INFINITY } else { f64::INFINITY };
    let mut values: Vec<f64> = runs.iter().map(|seen| of.value(seen).unwrap_or(bad)).collect();
    values.sort_by(f64::total_cmp);
    if of.rises() {
        values.reverse();
    }
    let shown = |value: Option<&f64>| match value {
        Some(value) if value.is_finite() => of.shown(*value),
        _ => "none".to_owned(),
    };
    (shown(values.get(values.len() / 2)), shown(values.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(ms: u64) -> Seen {
        Seen { silence: Some(Duration::from_millis(ms)), ..Seen::default() }
    }

    #[test]
    fn the_worst_of_a_figure_is_what_is_farthest_from_its_goal() {
        let silences = [silent(400), silent(900), silent(600)];
        let shown = median_and_worst(&silences, Measure::Silence);
        assert_eq!(shown, ("600 ms".to_owned(), "900 ms".to_owned()));
        let lines = [90, 70, 80].map(|lines| Seen { lines: (100, lines), ..Seen::default() });
        let shown = median_and_worst(&lines, Measure::Lines(100));
        assert_eq!(shown, ("80 %".to_owned(), "70 %".to_owned()));
    }

    #[test]
    fn a_run_without_the_figure_is_the_worst() {
        let runs = [silent(400), Seen::default(), silent(500)];
        assert_eq!(
            median_and_worst(&runs, Measure::Silence),
            ("500 ms".to_owned(), "none".to_owned())
        );
    }

    #[test]
    fn figures_of_one_row_stand_together_so_that_it_runs_once() {
        let mut names: Vec<&str> = figures().iter().map(|figure| figure.row.name).collect();
        names.dedup();
        let together = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), together);
    }
}
