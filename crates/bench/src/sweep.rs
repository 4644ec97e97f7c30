//! Many measurements for a plot: of one session, two, four and so on, in memory and synced. Each
//! has a cluster of its own, and its logs are judged.

use super::Plan;
use super::plot::{self, Curve, Point};
use super::steady::{HEADER, measure, row};
use command_line::say;
use driver::Interrupts;
use multipaxos::config::cause;
use multipaxos::storage::Durability;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

/// The largest number of sessions. The numbers double from 1.
const SESSIONS_MAX: usize = 1_024;

/// The curves of the plot.
const DURABILITIES: [(Durability, &str); 2] =
    [(Durability::None, "in memory"), (Durability::Sync, "synced")];

/// Measures, and writes the picture to `file`.
pub(super) fn run(plan: &Plan, file: &Path, interrupts: &Interrupts) -> Result<String, String> {
    // Check this now: the measurements take minutes.
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    if parent.is_some_and(|parent| !parent.is_dir()) || file.is_dir() {
        return Err(format!("cannot write {}: not a file in a folder", file.display()));
    }
    let mut table = HEADER.to_owned();
    let mut curves = Vec::new();
    for (durability, name) in DURABILITIES {
        let mut points = Vec::new();
        for sessions in (0..).map(|doubled| 1 << doubled).take_while(|n| *n <= SESSIONS_MAX) {
            let plan = Plan { outstanding: sessions, durability, ..plan.clone() };
            let figures = measure(&plan, interrupts)?;
            table.push('\n');
            table.push_str(&row(&plan, &figures));
            points.push(Point {
                sessions,
                lines_per_s: figures.ops_per_s(),
                p50_us: figures.quantile_us(0.5),
                p99_us: figures.quantile_us(0.99),
            });
        }
        say(format!("bench: {name}: measured"));
        curves.push(Curve { name: name.to_owned(), points });
    }
    let (n, size) = (2 * plan.f + 1, plan.size);
    let title = format!("Latency against throughput: {n} replicas, lines of {size} bytes");
    let cores = available_parallelism().map_or(1, usize::from);
    let subtitle = format!(
        "The number at a point: lines in flight from one client. Replicas and client \
         share the {cores} cores of one host."
    );
    fs::write(file, plot::svg(&title, &subtitle, &curves))
        .map_err(|e| format!("cannot write {}: {}", file.display(), cause(&e)))?;
    Ok(format!("{table}\n{}", file.display()))
}
