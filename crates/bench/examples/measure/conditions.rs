//! The sections of steady load under other conditions: lost datagrams, more replicas, few lines,
//! long logs. Each runs its commands and writes its tables.

use crate::measured::Measured;
use crate::run::{Runner, Series, ratio, spread};
use crate::sections::Scale;
use crate::speed::lines_per_s;
use crate::table::{Table, count, rate, three_digits, time, two_decimals};
use std::path::Path;

/// Where files lie in memory, for what would measure the disk's cache otherwise.
const TMPFS: &str = "/dev/shm";

pub(crate) fn losses(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
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

pub(crate) fn replicas(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
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

pub(crate) fn few_lines(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
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

pub(crate) fn long_logs(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
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
