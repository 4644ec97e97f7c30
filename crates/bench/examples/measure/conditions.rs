//! The sections of steady load under other conditions: lost datagrams, more replicas, few lines,
//! long logs. Each runs its commands and writes its tables.

use crate::measured::Measured;
use crate::run::{Runner, Sample, Series, ratio, spread};
use crate::sections::{LAYOUTS, Layout, Scale};
use crate::speed::{lines_per_s, p50_us};
use crate::table::{Table, count, rate, three_digits, time, two_decimals};
use std::io::Write as _;
use std::path::Path;

/// Where files lie in memory, for what would measure the disk's cache otherwise.
const TMPFS: &str = "/dev/shm";

pub(crate) fn losses(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let percents = [0, 1, 10];
    let header = ["", "threads", "nothing lost", "1 % lost", "10 % lost"];
    let mut table = Table::new(&header);
    for (durability, name) in [("none", "in memory"), ("sync", "synced")] {
        for Layout { name: threads, option } in LAYOUTS {
            let command = |percent: &u32| {
                let options = format!("--outstanding 256 --durability {durability}{option}");
                format!("bench {options} --msg_loss {percent} {}", scale.span)
            };
            let commands: Vec<String> = percents.iter().map(command).collect();
            let series = runner.rounds(scale.loss_rounds, &commands)?;
            let kept = |lossy: usize| ratio(&series[lossy], &series[0], lines_per_s);
            table.row(&[
                name.to_owned(),
                threads.to_owned(),
                spread(&series[0], lines_per_s).shown(rate),
                kept(1).shown(two_decimals),
                kept(2).shown(two_decimals),
            ]);
        }
    }
    let command = format!(
        "bench --threads LAYOUT --outstanding 256 --durability D --msg_loss P {}",
        scale.span
    );
    let prose = "256 lines in flight; each datagram is lost with this chance, whoever sends it. \
                 Lines a second, and what is left of them.";
    measured.section("Lost datagrams", prose, &command, &table.text());
    Ok(())
}

pub(crate) fn replicas(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let header =
        ["N", "threads", "replicas", "lines a second", "of three's", "CPU of one replica a line"];
    let mut table = Table::new(&header);
    for n in [64, 256] {
        let command = |(layout, f): (Layout, u32)| {
            let options = format!("--unpinned --durability none --f {f} --outstanding {n}");
            format!("bench {options}{} {}", layout.option, scale.span)
        };
        let cases = || LAYOUTS.into_iter().flat_map(|layout| (1..=3u32).map(move |f| (layout, f)));
        let series = runner.rounds(scale.rounds, &cases().map(command).collect::<Vec<_>>())?;
        for (at, (layout, f)) in cases().enumerate() {
            let replicas = 2 * f + 1;
            let (of, three) = (&series[at], &series[at + 1 - f as usize]);
            let cpu = spread(of, |sample| sample.cpu_us).middle / f64::from(replicas);
            let kept = ratio(of, three, lines_per_s).shown(two_decimals);
            table.row(&[
                count(n),
                layout.name.to_owned(),
                replicas.to_string(),
                spread(of, lines_per_s).shown(rate),
                if f == 1 { "1".to_owned() } else { kept },
                format!("{} µs", two_decimals(cpu)),
            ]);
        }
    }
    let command = format!(
        "bench --threads LAYOUT --unpinned --durability none --f F --outstanding N {}",
        scale.span
    );
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
    let header = ["lines a second", "threads", "cores of three replicas", "p50", "p99", "resident"];
    let mut table = Table::new(&header);
    let rates = [1, 10, 100, 1_000];
    let cores = |sample: &Sample| sample.cpu_us * sample.lines_per_s / 1e6;
    for number in rates {
        let command = |Layout { option, .. }| {
            let span = scale.slow_span;
            format!("bench --unpinned --outstanding 16 --rate {number}{option} {span}")
        };
        let both = runner.rounds(1, &LAYOUTS.map(command))?;
        for (layout, series) in LAYOUTS.into_iter().zip(&both) {
            table.row(&[
                count(number),
                layout.name.to_owned(),
                format!("{:.3}", spread(series, cores).middle),
                spread(series, p50_us).shown(time),
                spread(series, |sample| sample.p99_us).shown(time),
                format!("{} MiB", three_digits(spread(series, |s| s.rss_kib / 1024.0).middle)),
            ]);
        }
        if number == 1_000 {
            let values = [0, 1].map(|at| spread(&both[at], cores).middle);
            measured.figure(
                "three replicas at 1,000 lines/s, cores",
                values.map(two_decimals),
                "bench --unpinned --outstanding 16 --rate 1000",
            );
        }
    }
    let span = scale.slow_span;
    let command = format!("bench --threads LAYOUT --unpinned --outstanding 16 --rate R {span}");
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
                 no part in it: at the start, and after some seconds under load. All memory that \
                 the files take was used before: to be given it for the first time takes a guest \
                 longer than all work of a line.";
    if !Path::new(TMPFS).is_dir() {
        measured.section(title, &format!("Not measured: {TMPFS} is missing."), "", "");
        return Ok(());
    }
    use_memory(Path::new(TMPFS), scale.long_mib);
    let mut table = Table::new(&["threads", "", "lines a second", "of that at the start"]);
    for Layout { name, option } in LAYOUTS {
        let mut series = [Series::new(), Series::new()];
        for _ in 0..scale.long_rounds {
            for (series, span) in series.iter_mut().zip(spans) {
                let sample = runner.sample(&format!("{options}{option} {span}"));
                // Gigabytes of memory, which nobody needs any more.
                let _ = std::fs::remove_dir_all(&folder);
                series.push(sample?);
            }
        }
        for (series_of, span) in series.iter().zip(spans) {
            table.row(&[
                name.to_owned(),
                format!("`{span}`"),
                spread(series_of, lines_per_s).shown(rate),
                ratio(series_of, &series[0], lines_per_s).shown(two_decimals),
            ]);
        }
    }
    let command = format!(
        "bench --threads LAYOUT --unpinned --durability none --outstanding 256 --log_dir {TMPFS}/…"
    );
    measured.section(title, prose, &command, &table.text());
    Ok(())
}

/// Uses as much memory of this file system as long runs need, so that the host has given it to this
/// guest. Where there is less, it uses what is there.
fn use_memory(folder: &Path, mib: usize) {
    let Ok(mut file) = tempfile::tempfile_in(folder) else { return };
    let block = vec![1; 1 << 20];
    let _ = (0..mib).try_for_each(|_| file.write_all(&block));
}
