//! The sections of steady load on three replicas: throughput, latency, CPU time. Each runs its
//! commands and writes its tables.
//!
//! The programs that are compared take turns, in rounds ([`Runner::rounds`]).

use crate::measured::{Measured, indented};
use crate::run::{Runner, Sample, Series, ratio, spread};
use crate::sections::Scale;
use crate::table::{Table, count, rate, time, two_decimals};
use std::fmt::Write as _;

pub(crate) fn lines_per_s(sample: &Sample) -> f64 {
    sample.lines_per_s
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

pub(crate) fn throughput(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
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

pub(crate) fn curve(
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

pub(crate) fn sockets(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
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

pub(crate) fn long_lines(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Spread;

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
