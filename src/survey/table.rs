//! A report as a table for people, and as JSON for programs.

use super::Row;
use super::report::{Report, warming_up};
use crate::message::{Conduct, Status};
use crate::types::{REPLICAS_MAX, ReplicaId, replicas};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What stands where nothing is known.
const UNKNOWN: &str = "-";

const HEADER: [&str; 15] = [
    "replica", "address", "does", "leader", "ballot", "applied", "decided", "lag", "log",
    "answers", "sync", "disk", "memory", "up", "dropped",
];

/// The columns in which numbers stand, which end in line.
const NUMBERS: std::ops::Range<usize> = 3..14;

/// The report for people: a row a replica, and what is wrong below. `places` are the replicas'
/// addresses.
pub fn table(report: &Report, places: &[String]) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(replicas(report.rows.len()).map(|id| cells(report, id, &places[id.index()])));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADER.len()).filter_map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match NUMBERS.contains(&column) {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{}", verdict(report));
    for fault in &report.faults {
        let _ = writeln!(text, "  {fault}");
    }
    text
}

/// One line that says how the cluster is.
fn verdict(report: &Report) -> String {
    let answer = report.rows.iter().filter(|row| row.status.is_some()).count();
    let leads = match (report.leads(), report.leader) {
        (Some(id), Some(ballot)) => format!("replica {id} leads with ballot {ballot}"),
        _ => "nobody leads".to_owned(),
    };
    let compared = report.rows.iter().filter(|row| row.hash.is_some()).count();
    let logs = match compared {
        0 | 1 => String::new(),
        logs => format!(", {logs} logs compared below slot {}", report.below),
    };
    let (name, n) = (report.health.name().replace('_', " "), report.rows.len());
    let members: Vec<String> = report.members.iter().map(|id| id.to_string()).collect();
    let members = match report.configuration {
        0 => String::new(),
        number => format!(" in configuration {number}, of replicas {}", members.join(", ")),
    };
    format!("{name}: {answer} of {n} replicas answer, {leads}{members}{logs}")
}

fn conduct(of: Conduct) -> &'static str {
    match of {
        Conduct::Leads => "leads",
        Conduct::Campaigns => "campaigns",
        Conduct::Follows => "follows",
        Conduct::Observes => "observes",
        Conduct::WarmsUp(_) => "warms_up",
    }
}

fn cells(report: &Report, id: ReplicaId, place: &str) -> [String; HEADER.len()] {
    let Row { status, usage, round_trip_us, elsewhere, .. } = &report.rows[id.index()];
    let unknown = || UNKNOWN.to_owned();
    let mut cells = HEADER.map(|_| unknown());
    (cells[0], cells[1]) = (id.to_string(), place.to_owned());
    cells[2] = if *elsewhere { "another cluster" } else { "no answer" }.to_owned();
    if let Some(status) = status {
        let leadership = status.leadership;
        if let Conduct::WarmsUp(waits_for) = leadership.conduct {
            cells[2] = warming_up(waits_for);
        } else {
            log_cells(&mut cells, report, id, status);
        }
    }
    if let Some(us) = round_trip_us {
        cells[9] = format!("{:.2} ms", *us as f64 / 1_000.0);
    }
    if let Some(usage) = usage {
        (cells[11], cells[12]) = (bytes(usage.disk_bytes), bytes(usage.memory_bytes));
        cells[13] = duration(usage.up_s);
        let dropped: Vec<_> = usage
            .dropped
            .iter()
            .map(|(name, times)| format!("{} {times}", name.strip_prefix("drop_").unwrap_or(name)))
            .collect();
        cells[14] = if dropped.is_empty() { unknown() } else { dropped.join(", ") };
    }
    cells
}

/// What a replica that has started says of the log.
fn log_cells(cells: &mut [String; HEADER.len()], report: &Report, id: ReplicaId, status: &Status) {
    let Row { hash, .. } = &report.rows[id.index()];
    let unknown = || UNKNOWN.to_owned();
    let leadership = status.leadership;
    cells[2] = conduct(leadership.conduct).to_owned();
    cells[3] = leadership
        .leader
        .and_then(|ballot| report.owner(ballot))
        .map_or_else(unknown, |id| id.to_string());
    cells[4] = leadership.ballot.to_string();
    (cells[5], cells[6]) = (status.applied.to_string(), status.decided.to_string());
    cells[7] = report.lag(id).map_or_else(unknown, |slots| slots.to_string());
    // Enough to see with the eyes whether two are the same.
    cells[8] = hash.map_or_else(unknown, |hash| format!("{:08x}", hash >> 32));
    cells[10] = match leadership.sync_ms {
        0 => unknown(),
        ms => format!("{ms} ms"),
    };
}

fn bytes(of: u64) -> String {
    match of {
        0 => UNKNOWN.to_owned(),
        1..1_048_576 => format!("{} KiB", of / 1_024),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", of as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", of as f64 / 1_073_741_824.0),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The report for programs: one object. What is not known is null.
pub fn json(report: &Report, places: &[String]) -> String {
    let rows: Vec<Value> =
        replicas(report.rows.len()).map(|id| object(report, id, &places[id.index()])).collect();
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    let compared = report.rows.iter().any(|row| row.hash.is_some());
    let all = json!({
        "health": report.health.name(),
        "faults": faults,
        "leader": report.leads().map(|id| id.0),
        "ballot": report.leader.map(|ballot| ballot.0),
        "configuration": report.configuration,
        "members": report.members.iter().map(|id| id.0).collect::<Vec<_>>(),
        "compared_below": compared.then_some(report.below.0),
        "replicas": rows,
    });
    format!("{all}\n")
}

fn object(report: &Report, id: ReplicaId, place: &str) -> Value {
    let Row { status, usage, hash, round_trip_us, elsewhere, .. } = &report.rows[id.index()];
    let leadership = status.map(|status| status.leadership);
    let log = status.filter(Status::knows_log);
    let dropped = usage.as_ref().map(|usage| {
        let counts = usage.dropped.iter().map(|(name, times)| (name.clone(), json!(times)));
        Value::Object(counts.collect::<Map<_, _>>())
    });
    let usage = usage.as_ref();
    json!({
        "replica": id.0,
        "address": place,
        "answers": status.is_some(),
        "another_cluster": elsewhere,
        "does": leadership.map(|it| conduct(it.conduct)),
        "waits_for": leadership.and_then(|it| waits_for(it.conduct)),
        "leader": leadership.and_then(|it| report.owner(it.leader?)).map(|id| id.0),
        "ballot": log.map(|it| it.leadership.ballot.0),
        "applied": log.map(|it| it.applied.0),
        "decided": log.map(|it| it.decided.0),
        "lag": report.lag(id),
        "log_hash": hash.map(|hash| format!("{hash:016x}")),
        "round_trip_us": round_trip_us,
        "sync_ms": leadership.map(|it| it.sync_ms).filter(|ms| *ms > 0),
        "disk_bytes": usage.map(|it| it.disk_bytes),
        "memory_bytes": usage.map(|it| it.memory_bytes).filter(|bytes| *bytes > 0),
        "up_s": usage.map(|it| it.up_s),
        "dropped": dropped,
    })
}

/// The replicas for which one that warms up waits.
fn waits_for(of: Conduct) -> Option<Vec<u8>> {
    let Conduct::WarmsUp(waits_for) = of else { return None };
    Some(replicas(REPLICAS_MAX).filter(|id| waits_for.contains(*id)).map(|id| id.0).collect())
}
