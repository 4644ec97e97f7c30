//! The sections of steady load on three replicas: throughput, latency, CPU time. Each runs its
//! commands and writes its tables.
//!
//! The programs that are compared take turns, in rounds ([`Runner::rounds`]).

use crate::measured::{Measured, indented};
use crate::run::{Runner, Sample, Series, ratio, spread};
use crate::sections::{LAYOUTS, Layout, Scale};
use crate::table::{Table, count, rate, time, two_decimals};
use std::fmt::Write as _;

pub(crate) fn lines_per_s(sample: &Sample) -> f64 {
    sample.lines_per_s
}

pub(crate) fn p50_us(sample: &Sample) -> f64 {
    sample.p50_us
}

/// The runs of `bench` and of its floors with one layout of threads.
struct Beside {
    ours: Series,
    /// Without the duties, where it was measured.
    floor: Option<Series>,
    duties: Series,
}

/// `bench` and its floors in turn, with the same options, and with both layouts of threads in
/// each round. `bare` says whether the floor without duties is measured as well.
fn beside_floors(
    runner: &mut Runner,
    scale: Scale,
    bench: &str,
    floor: &str,
    bare: bool,
) -> Result<[Beside; 2], String> {
    let commands = LAYOUTS.map(|Layout { option, .. }| {
        let ours = format!("bench {bench}{option} {}", scale.span);
        let duties = format!("floor {floor} --duties{option} {}", scale.span);
        let without = bare.then(|| format!("floor {floor}{option} {}", scale.span));
        [Some(ours), Some(duties), without]
    });
    let commands: Vec<String> = commands.into_iter().flatten().flatten().collect();
    let mut series = runner.rounds(scale.rounds, &commands)?.into_iter();
    let mut next = || series.next().expect("one a command");
    Ok(LAYOUTS.map(|_| {
        let (ours, duties) = (next(), next());
        Beside { ours, duties, floor: bare.then(&mut next) }
    }))
}

/// The cells of a row behind its name.
fn floor_row(layout: Layout, runs: &Beside) -> Vec<String> {
    let Beside { ours, floor, duties } = runs;
    let mut row = vec![layout.name.to_owned(), spread(ours, lines_per_s).shown(rate)];
    let floors = floor.iter().chain([duties]);
    row.extend(floors.clone().map(|floor| spread(floor, lines_per_s).shown(rate)));
    row.extend(floors.map(|floor| ratio(ours, floor, lines_per_s).shown(two_decimals)));
    row
}

const FLOOR_HEADER: [&str; 6] = [
    "threads",
    "lines a second",
    "floor",
    "floor with duties",
    "of the floor",
    "of that with duties",
];

/// The same where the floor without duties is not measured.
const DUTIES_HEADER: [&str; 4] = ["threads", "lines a second", "floor with duties", "of that"];

const SPEED_HEADER: [&str; 10] = [
    "N",
    "threads",
    "lines a second",
    "of per-role",
    "p50",
    "p99",
    "p99.9",
    "CPU of the replicas",
    "of the client",
    "switches",
];

fn speed_row(n: u64, layout: Layout, ours: &Series, default: &Series) -> [String; 10] {
    let middle = |of: fn(&Sample) -> f64| two_decimals(spread(ours, of).middle);
    let is_default = layout.option.is_empty();
    let beside = ratio(ours, default, lines_per_s).shown(two_decimals);
    [
        count(n),
        layout.name.to_owned(),
        spread(ours, lines_per_s).shown(rate),
        if is_default { "1".to_owned() } else { beside },
        spread(ours, p50_us).shown(time),
        spread(ours, |sample| sample.p99_us).shown(time),
        spread(ours, |sample| sample.p999_us).shown(time),
        format!("{} µs", middle(|sample| sample.cpu_us)),
        format!("{} µs", middle(|sample| sample.client_cpu_us)),
        middle(|sample| sample.switches),
    ]
}

pub(crate) fn throughput(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut floors = String::new();
    for (durability, name) in [("none", "in memory"), ("sync", "synced")] {
        let mut table = Table::new(&SPEED_HEADER);
        let mut beside = Table::new(&[&["N"][..], &FLOOR_HEADER].concat());
        for n in scale.in_flight {
            let options = format!("--outstanding {n} --durability {durability}");
            let runs = beside_floors(runner, scale, &options, &options, true)?;
            for (layout, of) in LAYOUTS.into_iter().zip(&runs) {
                table.row(&speed_row(*n, layout, &of.ours, &runs[0].ours));
                beside.row(&[vec![count(*n)], floor_row(layout, of)].concat());
            }
            let command = match durability {
                "sync" => format!("bench --outstanding {n}"),
                _ => format!("bench --outstanding {n} --durability none"),
            };
            let both = |of: fn(&Sample) -> f64| [0, 1].map(|at| spread(&runs[at].ours, of).middle);
            match n {
                1 => measured.figure(
                    format!("a line alone, {name}, p50"),
                    both(p50_us).map(time),
                    command,
                ),
                4_096 => measured.figure(
                    format!("{} in flight, {name}, lines/s", count(*n)),
                    both(lines_per_s).map(rate),
                    command,
                ),
                _ => {}
            }
        }
        let title = format!("Throughput and latency, {name}");
        let command = format!(
            "bench --threads LAYOUT --outstanding N --durability {durability} {}",
            scale.span
        );
        let prose = "One client with N lines in flight, each of a session of its own, on one \
                     socket. CPU time and switches between threads are for a line, those of all \
                     three replicas together.";
        measured.section(&title, prose, &command, &table.text());
        let command = format!(
            "floor --threads LAYOUT --outstanding N --durability {durability} {}",
            scale.span
        );
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
         checked or remembered. Each layout of threads has its own. With `--duties` it also does what every line needs whatever the \
         protocol, in the shortest form: checks, sessions, words, hashes, checkpoints. What is \
         missing to 1 of the second is what can still be saved; what is missing to 1 of the \
         first is what the protocol and its duties cost.",
        "",
        &floors,
    );
    Ok(())
}

pub(crate) fn curve(
    runner: &mut Runner,
    scale: Scale,
    plot: &str,
    measured: &mut Measured,
) -> Result<(), String> {
    let command = format!("bench --plot {plot} {}", scale.curve_span);
    let table = runner.text(&command)?;
    let table: Vec<&str> = table.lines().filter(|line| *line != plot).collect();
    let picture = "![Latency against throughput, 1 to 1,024 lines in flight](bench.svg)";
    measured.section(
        "Latency against throughput",
        "From one line in flight to 1,024, a run each, `--threads per-role`.",
        &command,
        &format!("{picture}\n\n{}", indented(&table.join("\n"))),
    );
    Ok(())
}

pub(crate) fn sockets(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut table = Table::new(&[&["N"][..], &DUTIES_HEADER].concat());
    for n in scale.sockets {
        let bench = format!("--durability none --outstanding {n} --connections {n}");
        let floor = format!("--durability none --outstanding {n} --each");
        let runs = beside_floors(runner, scale, &bench, &floor, false)?;
        for (layout, of) in LAYOUTS.into_iter().zip(&runs) {
            table.row(&[vec![count(*n)], floor_row(layout, of)].concat());
        }
    }
    let command = format!(
        "bench --threads LAYOUT --durability none --outstanding N --connections N {}\n\
         floor --threads LAYOUT --durability none --outstanding N --each --duties {}",
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

pub(crate) fn long_lines(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut table = Table::new(&[&["clients"][..], &DUTIES_HEADER].concat());
    for (name, connections, each) in [("one", "", ""), ("256", " --connections 256", " --each")] {
        let options = "--durability none --outstanding 256 --size 1024";
        let (bench, floor) = (format!("{options}{connections}"), format!("{options}{each}"));
        let runs = beside_floors(runner, scale, &bench, &floor, false)?;
        for (layout, of) in LAYOUTS.into_iter().zip(&runs) {
            table.row(&[vec![name.to_owned()], floor_row(layout, of)].concat());
        }
    }
    let command = format!(
        "bench --threads LAYOUT --durability none --outstanding 256 --size 1024 {}",
        scale.span
    );
    let prose = "256 lines of 1,024 bytes in flight, in memory. With 256 clients the commands \
                 also have `--connections 256` and `--each`.";
    measured.section("Long lines", prose, &command, &table.text());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Spread;

    fn series() -> Series {
        let sample = r#"{"ops_per_s": 10, "p50_us": 0, "p99_us": 0, "p999_us": 0,
            "cpu_us_per_op": 0, "client_cpu_us_per_op": 0}"#;
        vec![serde_json::from_str(sample).expect("figures")]
    }

    #[test]
    fn a_floor_row_has_a_cell_for_each_column() {
        let runs = |floor| Beside { ours: series(), floor, duties: series() };
        let row = floor_row(LAYOUTS[1], &runs(Some(series())));
        assert_eq!((row.len(), row[0].as_str()), (FLOOR_HEADER.len(), "one"));
        assert_eq!(row[4], Spread::of([1.0]).shown(two_decimals));
        assert_eq!(floor_row(LAYOUTS[0], &runs(None)).len(), DUTIES_HEADER.len());
    }

    #[test]
    fn only_the_other_layout_is_compared_with_the_default() {
        let rows = LAYOUTS.map(|layout| speed_row(16, layout, &series(), &series()));
        assert_eq!(rows.map(|row| row[3].clone()), ["1", "1.00"]);
    }
}
