//! The sections of docs/measurements.md: each runs its commands and writes its tables.

use crate::run::{BIN, Runner, Sample, Series, ratio, spread};
use crate::table::{Table, count, rate, three_digits, time, two_decimals, wrapped};
use std::fmt::Write as _;
use std::path::Path;

/// Where files lie in memory, for what would measure the disk's cache otherwise.
const TMPFS: &str = "/dev/shm";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Scale {
    rounds: usize,
    /// Options of each run: how long it warms up, and how long it counts.
    span: &'static str,
    /// The same for few lines a second.
    slow_span: &'static str,
    /// Lines in flight from one socket; and on as many sockets.
    in_flight: &'static [u64],
    sockets: &'static [u64],
    view_changes: usize,
    /// Lines that a replica misses; that are on disk at a restart.
    absent: u64,
    restart: u64,
    /// Seconds of load before a second measurement of the same cluster size.
    long_warm: &'static str,
}

const WHOLE: Scale = Scale {
    rounds: 3,
    span: "--warm 0.5 --secs 2",
    slow_span: "--warm 2 --secs 8",
    in_flight: &[1, 16, 64, 256, 4_096],
    sockets: &[16, 64, 256],
    view_changes: 10,
    absent: 1_000_000,
    restart: 1_000_000,
    long_warm: "--warm 12 --secs 2",
};

const QUICK: Scale = Scale {
    rounds: 1,
    span: "--warm 0.1 --secs 0.2",
    slow_span: "--warm 0.5 --secs 1",
    in_flight: &[1, 64],
    sockets: &[16],
    view_changes: 1,
    absent: 20_000,
    restart: 20_000,
    long_warm: "--warm 1 --secs 0.2",
};

/// A row of README's table.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: String,
    pub(crate) command: String,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// At most ten.
    pub(crate) figures: Vec<Figure>,
    /// The sections of the document, as text.
    pub(crate) sections: String,
}

impl Measured {
    fn figure(&mut self, what: impl Into<String>, value: String, command: impl Into<String>) {
        self.figures.push(Figure { what: what.into(), value, command: command.into() });
    }

    /// A section: its title, what it says, the command, the table.
    fn section(&mut self, title: &str, prose: &str, command: &str, table: &str) {
        let _ = write!(self.sections, "\n## {title}\n\n");
        for part in [wrapped(prose), indented(command), table.trim().to_owned()] {
            if !part.trim().is_empty() {
                let _ = write!(self.sections, "{part}\n\n");
            }
        }
        self.sections.truncate(self.sections.trim_end().len());
        self.sections.push('\n');
    }
}

/// As Markdown shows it word for word.
fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { String::new() } else { format!("    {line}") };
    let lines: Vec<String> = text.trim_end().lines().map(line).collect();
    lines.join("\n")
}

fn lines_per_s(sample: &Sample) -> f64 {
    sample.lines_per_s
}

/// Measures all of it, and draws the plot.
pub(crate) fn measure(runner: &mut Runner, quick: bool, plot: &str) -> Result<Measured, String> {
    let scale = if quick { QUICK } else { WHOLE };
    let mut measured = Measured::default();
    throughput(runner, scale, &mut measured)?;
    curve(runner, scale, plot, &mut measured)?;
    sockets(runner, scale, &mut measured)?;
    long_lines(runner, scale, &mut measured)?;
    losses(runner, scale, &mut measured)?;
    replicas(runner, scale, &mut measured)?;
    few_lines(runner, scale, &mut measured)?;
    long_logs(runner, scale, &mut measured)?;
    view_change(runner, scale, &mut measured)?;
    absence(runner, scale, &mut measured)?;
    restart(runner, scale, &mut measured)?;
    scenarios(runner, quick, &mut measured)?;
    assert!(measured.figures.len() <= 10, "README has room for ten figures");
    Ok(measured)
}

/// `bench` and its two floors in turn, with the same options.
fn beside_floors(
    runner: &mut Runner,
    scale: Scale,
    bench: &str,
    floor: &str,
) -> Result<[Series; 3], String> {
    let commands = [
        format!("bench {bench} {}", scale.span),
        format!("floor {floor} {}", scale.span),
        format!("floor {floor} --duties {}", scale.span),
    ];
    let series = runner.rounds(scale.rounds, &commands)?;
    Ok(<[Series; 3]>::try_from(series).expect("one a command"))
}

fn floor_row(name: String, [ours, floor, duties]: &[Series; 3]) -> [String; 6] {
    [
        name,
        spread(ours, lines_per_s).shown(rate),
        spread(floor, lines_per_s).shown(rate),
        spread(duties, lines_per_s).shown(rate),
        ratio(ours, floor, lines_per_s).shown(two_decimals),
        ratio(ours, duties, lines_per_s).shown(two_decimals),
    ]
}

const FLOOR_HEADER: [&str; 5] =
    ["lines a second", "floor", "floor with duties", "of the floor", "of that with duties"];

fn throughput(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let header = [
        "N",
        "lines a second",
        "p50",
        "p99",
        "p99.9",
        "CPU of the replicas",
        "of the client",
        "switches",
    ];
    let floor_header = [&["N"][..], &FLOOR_HEADER].concat();
    let mut floors = String::new();
    for (durability, name) in [("none", "in memory"), ("sync", "synced")] {
        let (mut table, mut beside) = (Table::new(&header), Table::new(&floor_header));
        for n in scale.in_flight {
            let options = format!("--outstanding {n} --durability {durability}");
            let series = beside_floors(runner, scale, &options, &options)?;
            let ours = &series[0];
            let speed = spread(ours, lines_per_s);
            let half = spread(ours, |sample| sample.p50_us);
            table.row(&[
                count(*n),
                speed.shown(rate),
                half.shown(time),
                spread(ours, |sample| sample.p99_us).shown(time),
                spread(ours, |sample| sample.p999_us).shown(time),
                format!("{} µs", two_decimals(spread(ours, |sample| sample.cpu_us).middle)),
                format!("{} µs", two_decimals(spread(ours, |sample| sample.client_cpu_us).middle)),
                two_decimals(spread(ours, |sample| sample.switches).middle),
            ]);
            beside.row(&floor_row(count(*n), &series));
            let command = match durability {
                "sync" => format!("bench --outstanding {n}"),
                _ => format!("bench --outstanding {n} --durability none"),
            };
            match n {
                1 => measured.figure(
                    format!("a line alone, {name}, p50"),
                    time(half.middle),
                    command,
                ),
                4_096 => measured.figure(
                    format!("{} lines in flight, {name}", count(*n)),
                    format!("{} lines/s", rate(speed.middle)),
                    command,
                ),
                _ => {}
            }
        }
        let title = format!("Throughput and latency, {name}");
        let command = format!("bench --outstanding N --durability {durability} {}", scale.span);
        let prose = "One client with N lines in flight, each of a session of its own, on one \
                     socket. CPU time and switches between threads are for a line, those of all \
                     three replicas together.";
        measured.section(&title, prose, &command, &table.text());
        let command = format!("floor --outstanding N --durability {durability} {}", scale.span);
        let _ = write!(
            floors,
            "\n### {}\n\n{}\n\n{}",
            if durability == "none" { "In memory" } else { "Synced" },
            indented(&command),
            beside.text()
        );
    }
    measured.section(
        "Beside the floor",
        "The *floor* (`crates/bench/examples/floor`) is this architecture without the protocol: \
         the same processes, threads, waits, datagrams, copies and files, and nothing decided, \
         checked or remembered. With `--duties` it also does what every line needs whatever the \
         protocol, in the shortest form: checks, sessions, words, hashes, checkpoints. What is \
         missing to 1 of the second is what can still be saved; what is missing to 1 of the \
         first is what the protocol and its duties cost.",
        "",
        &floors,
    );
    Ok(())
}

fn curve(
    runner: &mut Runner,
    scale: Scale,
    plot: &str,
    measured: &mut Measured,
) -> Result<(), String> {
    let command = format!("bench --plot {plot} {}", scale.span);
    let table = runner.text(&command)?;
    let table: Vec<&str> = table.lines().filter(|line| *line != plot).collect();
    let picture = "![Latency against throughput, 1 to 1,024 lines in flight](bench.svg)";
    measured.section(
        "Latency against throughput",
        "From one line in flight to 1,024, a run each.",
        &command,
        &format!("{picture}\n\n{}", indented(&table.join("\n"))),
    );
    Ok(())
}

fn sockets(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let mut table = Table::new(&[&["N"][..], &FLOOR_HEADER].concat());
    for n in scale.sockets {
        let bench = format!("--durability none --outstanding {n} --connections {n}");
        let floor = format!("--durability none --outstanding {n} --each");
        let series = beside_floors(runner, scale, &bench, &floor)?;
        table.row(&floor_row(count(*n), &series));
    }
    let command = format!(
        "bench --durability none --outstanding N --connections N {}\nfloor --durability none --outstanding N --each {}",
        scale.span, scale.span
    );
    measured.section(
        "A socket for each line in flight",
        "As of N clients: each line and each answer is a datagram of its own. In memory.",
        &command,
        &table.text(),
    );
    Ok(())
}

fn long_lines(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let mut table = Table::new(&[&["clients"][..], &FLOOR_HEADER].concat());
    for (name, connections, each) in [("one", "", ""), ("256", "--connections 256", "--each")] {
        let options = "--durability none --outstanding 256 --size 1024";
        let (bench, floor) = (format!("{options} {connections}"), format!("{options} {each}"));
        let series = beside_floors(runner, scale, &bench, &floor)?;
        table.row(&floor_row(name.to_owned(), &series));
    }
    let command = format!("bench --durability none --outstanding 256 --size 1024 {}", scale.span);
    let prose = "256 lines of 1,024 bytes in flight, in memory. With 256 clients the commands \
                 also have `--connections 256` and `--each`.";
    measured.section("Long lines", prose, &command, &table.text());
    Ok(())
}

fn losses(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let percents = [0, 1, 10];
    let mut table = Table::new(&["", "N", "nothing lost", "1 % lost", "10 % lost"]);
    for (durability, name) in [("none", "in memory"), ("sync", "synced")] {
        for n in [64, 256] {
            let command = |percent: &u32| {
                let options = format!("--outstanding {n} --durability {durability}");
                format!("bench {options} --msg_loss {percent} {}", scale.span)
            };
            let commands: Vec<String> = percents.iter().map(command).collect();
            let series = runner.rounds(scale.rounds, &commands)?;
            let kept = |lossy: usize| ratio(&series[lossy], &series[0], lines_per_s);
            table.row(&[
                name.to_owned(),
                count(n),
                spread(&series[0], lines_per_s).shown(rate),
                kept(1).shown(two_decimals),
                kept(2).shown(two_decimals),
            ]);
        }
    }
    let command = format!("bench --outstanding N --durability D --msg_loss P {}", scale.span);
    let prose = "Each datagram is lost with this chance, whoever sends it. Lines a second, and \
                 what is left of them.";
    measured.section("Lost datagrams", prose, &command, &table.text());
    Ok(())
}

fn replicas(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let mut table = Table::new(&["replicas", "N", "lines a second", "CPU of one replica a line"]);
    for n in [64, 256] {
        let command = |f: u32| {
            format!("bench --unpinned --durability none --f {f} --outstanding {n} {}", scale.span)
        };
        let commands: Vec<String> = (1..=3).map(command).collect();
        for (series, f) in runner.rounds(scale.rounds, &commands)?.iter().zip(1u32..) {
            let replicas = 2 * f + 1;
            let cpu = spread(series, |sample| sample.cpu_us).middle / f64::from(replicas);
            table.row(&[
                replicas.to_string(),
                count(n),
                spread(series, lines_per_s).shown(rate),
                format!("{} µs", two_decimals(cpu)),
            ]);
        }
    }
    let command =
        format!("bench --unpinned --durability none --f F --outstanding N {}", scale.span);
    measured.section(
        "More replicas",
        "2F+1 replicas, all on these cores.",
        &command,
        &table.text(),
    );
    Ok(())
}

fn few_lines(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let mut table =
        Table::new(&["lines a second", "cores of three replicas", "p50", "p99", "resident"]);
    let rates = [1, 10, 100, 1_000];
    let command =
        |rate: &u32| format!("bench --unpinned --outstanding 16 --rate {rate} {}", scale.slow_span);
    let commands: Vec<String> = rates.iter().map(command).collect();
    for (series, rate) in runner.rounds(1, &commands)?.iter().zip(rates) {
        let cores = spread(series, |sample| sample.cpu_us * sample.lines_per_s / 1e6);
        table.row(&[
            count(rate.into()),
            format!("{:.3}", cores.middle),
            spread(series, |sample| sample.p50_us).shown(time),
            spread(series, |sample| sample.p99_us).shown(time),
            format!("{} MiB", three_digits(spread(series, |s| s.rss_kib / 1024.0).middle)),
        ]);
        if rate == 1_000 {
            measured.figure(
                "three replicas at 1,000 lines/s",
                format!("{} cores", two_decimals(cores.middle)),
                "bench --unpinned --outstanding 16 --rate 1000",
            );
        }
    }
    let command = format!("bench --unpinned --outstanding 16 --rate R {}", scale.slow_span);
    let prose = "Synced, lines due at fixed times, of which latency counts; one a second is all \
                 but idle. Memory is that of the largest replica.";
    measured.section("Few lines", prose, &command, &table.text());
    Ok(())
}

fn long_logs(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let title = "Long logs";
    let folder = format!("{TMPFS}/multipaxos-measure-{}", std::process::id());
    let options =
        format!("bench --unpinned --durability none --outstanding 256 --log_dir {folder}");
    let spans = [scale.span, scale.long_warm];
    let prose = "256 lines in flight, in memory, the files on tmpfs, so that the disk's cache has \
                 no part in it: at the start, and after some seconds under load.";
    if !Path::new(TMPFS).is_dir() {
        measured.section(title, &format!("Not measured: {TMPFS} is missing."), "", "");
        return Ok(());
    }
    let mut series = [Series::new(), Series::new()];
    for _ in 0..scale.rounds.min(2) {
        for (series, span) in series.iter_mut().zip(spans) {
            let sample = runner.sample(&format!("{options} {span}"));
            // Gigabytes of memory, which nobody needs any more.
            let _ = std::fs::remove_dir_all(&folder);
            series.push(sample?);
        }
    }
    let mut table = Table::new(&["", "lines a second", "of that at the start"]);
    for (series_of, span) in series.iter().zip(spans) {
        table.row(&[
            format!("`{span}`"),
            spread(series_of, lines_per_s).shown(rate),
            ratio(series_of, &series[0], lines_per_s).shown(two_decimals),
        ]);
    }
    let command =
        format!("bench --unpinned --durability none --outstanding 256 --log_dir {TMPFS}/…");
    measured.section(title, prose, &command, &table.text());
    Ok(())
}

fn view_change(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let runs = scale.view_changes;
    let command = format!("scripts/view_change.sh {BIN} {runs}");
    let text = runner.text(&command)?;
    let last = text.lines().last().unwrap_or("");
    let numbers = numbers(last);
    let [median, _, most] = numbers[..] else {
        return Err(format!("{command}: its last line is {last:?}"));
    };
    let value = format!("{} (at most {})", time(median * 1e3), time(most * 1e3));
    measured.section(
        "View change",
        &format!(
            "From `kill -9` of the primary to the next completed line of a client that sends \
             without pause, synced, in {runs} runs: {value}. An election timeout is drawn from 300 to 600 ms."
        ),
        &command,
        "",
    );
    measured.figure(
        "the leader is killed: time to the next line",
        value,
        format!("scripts/view_change.sh {BIN}"),
    );
    Ok(())
}

fn absence(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let lines = scale.absent;
    let options = "--outstanding 256 --durability os --unpinned";
    let command = format!("bench --absent {lines} {options} {}", scale.span);
    let text = runner.text(&command)?;
    if !text.lines().any(|line| line.starts_with("caught up")) {
        return Err(format!("{command}: the replica did not catch up"));
    }
    measured.section(
        "A replica that was away",
        "One of three is killed under load, misses lines, and comes back. The others must not \
         grow meanwhile but for the log itself.",
        &command,
        &indented(&text),
    );
    Ok(())
}

fn restart(runner: &mut Runner, scale: Scale, measured: &mut Measured) -> Result<(), String> {
    let lines = scale.restart;
    let command = format!("bench --restart --lines {lines} --outstanding 4096");
    let text = runner.text(&command)?;
    let rows: Vec<Vec<f64>> = text.lines().skip(1).map(numbers).collect();
    let first_line_ms = match rows.iter().rfind(|row| row.len() == 6).map(Vec::as_slice) {
        Some([_, _, _, _, _, first_line_ms]) => *first_line_ms,
        _ => return Err(format!("{command}: it printed no row")),
    };
    measured.section(
        "Restart",
        "All three are killed, and two started again, when a hundredth of the lines is on disk \
         and when all are. The time must not depend on the length of the log.",
        &command,
        &indented(&text),
    );
    measured.figure(
        format!("all are killed, {} lines on disk: time to the next line", count(lines)),
        time(first_line_ms * 1e3),
        command,
    );
    Ok(())
}

fn scenarios(runner: &mut Runner, quick: bool, measured: &mut Measured) -> Result<(), String> {
    let mut table = Table::new(&["command", "all eight together"]);
    let commands = ["driver --pause_ms 20", "driver"];
    for command in &commands[..if quick { 1 } else { 2 }] {
        let text = runner.text(command)?;
        let elapsed = |line: &str| -> Option<f64> {
            line.strip_suffix(" s")?.split_whitespace().last()?.parse().ok()
        };
        let seconds: f64 = text.lines().filter_map(elapsed).sum();
        table.row(&[format!("`{command}`"), format!("{seconds:.1} s")]);
    }
    let prose = "The sum of the column \"elapsed\": five replicas, synced, the verdict included. \
                 Clients pause up to 20 ms, and up to 100 ms, between lines of the stress test.";
    measured.section("Scenarios", prose, "", &table.text());
    Ok(())
}

/// The numbers in a line, in their order.
fn numbers(line: &str) -> Vec<f64> {
    line.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Spread;

    #[test]
    fn numbers_are_found_in_what_programs_say() {
        assert_eq!(numbers("median 365 ms of 10 runs, at most 511 ms"), [365.0, 10.0, 511.0]);
        let line = "caught up with 1000000 lines under load in 1.3 s (774000 lines/s); equal 0.2 s";
        assert_eq!(numbers(line)[..3], [1_000_000.0, 1.3, 774_000.0]);
        assert_eq!(
            numbers("  10000   1.2   3, 2 back   380.5   410.2"),
            [1e4, 1.2, 3.0, 2.0, 380.5, 410.2]
        );
    }

    #[test]
    fn a_section_has_its_parts_apart_and_leaves_out_what_is_empty() {
        let mut measured = Measured::default();
        measured.section("A", "Prose.", "bench", "| x |\n|---|\n");
        measured.section("B", "Prose.", "", "");
        let expected = "\n## A\n\nProse.\n\n    bench\n\n| x |\n|---|\n\n## B\n\nProse.\n";
        assert_eq!(measured.sections, expected);
    }

    #[test]
    fn a_floor_row_has_a_cell_for_each_column() {
        let sample = r#"{"ops_per_s": 10, "p50_us": 0, "p99_us": 0, "p999_us": 0,
            "cpu_us_per_op": 0, "client_cpu_us_per_op": 0}"#;
        let series = || vec![serde_json::from_str(sample).expect("figures")];
        let row = floor_row("1".into(), &[series(), series(), series()]);
        assert_eq!(row.len(), FLOOR_HEADER.len() + 1);
        assert_eq!(row[4], Spread::of([1.0]).shown(two_decimals));
    }
}
