//! Long absence and restart: measures that nothing grows with time but the log.
//!
//! *Absence*: under steady load, one replica is killed, misses a number of lines, and is
//! started again. The bench samples the memory of the others and the size of their data
//! directories before, half-way and after. Only the log itself (chat log and journal) may
//! grow. Then the bench measures how long the replica's log takes to reach the others', and
//! how throughput and latency suffer meanwhile.
//!
//! *Restart*: after some lines, and again after many, the bench kills all replicas and starts
//! a quorum of them again. It measures the time until they are up, and until the first line
//! completes. Neither may depend on the length of the log.

use super::cluster::Cluster;
use super::load::{Load, Shape, Tally};
use super::{Plan, Watch, us};
use driver::Interrupts;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

/// A replica has caught up when its log is as long as the leader's was this long ago.
const LAG: Duration = Duration::from_millis(100);

/// The longest time to catch up under load. After it the load stops.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time between two looks at a restarted replica's stderr. It is short, because the bench
/// measures when the message comes.
const SHARP_LOOK: Duration = Duration::from_micros(200);

/// The longest time that a restart may take.
const RESTART_MAX: Duration = Duration::from_secs(30);

fn start(shape: &Shape, cluster: &Cluster) -> Result<Load, String> {
    Load::start(shape, &cluster.addresses).map_err(|e| format!("cannot start the load: {e}"))
}

/// Adds a row with the throughput and latency of one phase.
fn foreground(text: &mut String, phase: &str, elapsed: Duration, tally: &Tally) {
    let latency = &tally.latency;
    let _ = writeln!(
        text,
        "{phase:<24} {:>9.1} {:>10} {:>10.0} {:>9.1} {:>9.1} {:>10.1}",
        elapsed.as_secs_f64(),
        latency.total,
        latency.total as f64 / elapsed.as_secs_f64(),
        us(latency.quantile(0.5)),
        us(latency.quantile(0.99)),
        us(latency.max),
    );
}

fn sample(text: &mut String, when: &str, cluster: &Cluster, others: usize) {
    for id in 0..others {
        let (segments, rest) = cluster.disk_kib(id);
        let _ = writeln!(
            text,
            "{when:<24} replica {id}: RSS {:>7.1} MiB   acceptor {:>8.1} MiB   journal and rest \
             {:>8.1} MiB   chat log {:>8.1} MiB",
            mib(cluster.usage(id).rss_kib),
            mib(segments),
            mib(rest),
            mib(cluster.log_bytes(id) / 1024),
        );
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

pub(super) fn absent(plan: &Plan, lines: u64, interrupts: &Interrupts) -> Result<String, String> {
    let mut cluster = plan.cluster(interrupts)?;
    let others = cluster.n() - 1;
    let away = others;
    let load = start(&plan.shape(), &cluster)?;
    let mut text = String::new();
    let mut sizes = String::new();
    let _ = writeln!(
        text,
        "{:<24} {:>9} {:>10} {:>10} {:>9} {:>9} {:>10}",
        "phase", "seconds", "lines", "ops/s", "p50 µs", "p99 µs", "max µs"
    );
    let mut watch = Watch { cluster: &mut cluster, load: &load };
    watch.pass(plan.warm_s)?;
    let _ = load.take();
    let began = Instant::now();
    watch.pass(plan.secs)?;
    foreground(&mut text, "all there", began.elapsed(), &load.take());
    watch.cluster.kill(away);
    let began = Instant::now();
    // The kill itself changes the memory of the others for a moment.
    watch.pass_lines(lines / 20)?;
    sample(&mut sizes, "just gone", watch.cluster, others);
    watch.pass_lines(lines / 2 - lines / 20)?;
    sample(&mut sizes, "away, half-way", watch.cluster, others);
    watch.pass_lines(lines - lines / 2)?;
    sample(&mut sizes, "away, at the end", watch.cluster, others);
    foreground(&mut text, "one away", began.elapsed(), &load.take());
    let missed = load.completed();
    watch.cluster.spawn(away)?;
    let began = Instant::now();
    let mut leads = vec![(began, watch.cluster.log_bytes(0))];
    let mut caught_up = false;
    watch.until(|watch| {
        let now = Instant::now();
        leads.push((now, watch.cluster.log_bytes(0)));
        let old = leads.iter().rposition(|(at, _)| now - *at >= LAG);
        if let Some(old) = old {
            caught_up = watch.cluster.log_bytes(away) >= leads[old].1;
            leads.drain(..old);
        }
        caught_up || now - began > PATIENCE
    })?;
    let took = began.elapsed();
    foreground(&mut text, "it catches up", took, &load.take());
    sample(&mut sizes, "caught up", watch.cluster, others + 1);
    let mut verdict = String::new();
    if caught_up {
        let seconds = took.as_secs_f64();
        let _ = write!(
            verdict,
            "caught up with {lines} lines under load in {seconds:.1} s ({:.0} lines/s)",
            load.completed().saturating_sub(missed - lines) as f64 / seconds
        );
        let began = Instant::now();
        watch.pass(plan.secs)?;
        foreground(&mut text, "all there again", began.elapsed(), &load.take());
    } else {
        let seconds = PATIENCE.as_secs();
        let (has, leads) = (watch.cluster.log_bytes(away), watch.cluster.log_bytes(0));
        let _ = write!(verdict, "NOT caught up in {seconds} s under load: {has} of {leads} bytes");
    }
    watch.drain()?;
    let told = load.told();
    drop(load);
    let settled = cluster.settle()?;
    let _ = write!(verdict, "; equal {:.1} s after the load ended", settled.as_secs_f64());
    let log = cluster.end_and_judge(plan.size, &told)?;
    let _ = write!(
        text,
        "\n{sizes}\n{verdict}\nlogs clean: {} lines, {} NOPs, {} bytes",
        log.lines, log.noops, log.bytes
    );
    Ok(text)
}

pub(super) fn restart(plan: &Plan, interrupts: &Interrupts) -> Result<String, String> {
    let total = plan.lines.unwrap_or(1_000_000);
    let stages = [(total / 100).max(1), total - (total / 100).max(1)];
    let mut cluster = plan.cluster(interrupts)?;
    let (n, quorum) = (cluster.n(), plan.f + 1);
    let mut told = Vec::new();
    let mut text = format!(
        "{:>12} {:>14} {:>12} {:>16} {:>14}",
        "lines", "log MiB", "killed", "all up ms", "first line ms"
    );
    for lines in stages.into_iter().filter(|lines| *lines > 0) {
        // Each stage has clients of its own, because the lines of each client id begin at 0.
        let shape = Shape { first_client: told.len() as u64, ..plan.shape() };
        let load = start(&Shape { lines: Some(lines), ..shape.clone() }, &cluster)?;
        let mut watch = Watch { cluster: &mut cluster, load: &load };
        watch.pass_lines(lines)?;
        watch.drain()?;
        told.extend(load.told());
        drop(load);
        (0..n).for_each(|id| cluster.kill(id));
        let log_mib = mib(cluster.log_bytes(0) / 1024);
        let began = Instant::now();
        (0..quorum).try_for_each(|id| cluster.spawn(id))?;
        while !(0..quorum).all(|id| cluster.is_warm(id)) {
            cluster.look()?;
            if began.elapsed() > RESTART_MAX {
                return Err("the replicas do not come back".into());
            }
            // No event says that several stderrs have a line. This pause bounds the error of `up`.
            thread::sleep(SHARP_LOOK);
        }
        let up = began.elapsed();
        let first_client = told.len() as u64;
        let one =
            Shape { sessions: 1, connections: 1, first_client, lines: Some(1), ..plan.shape() };
        let load = start(&one, &cluster)?;
        while load.completed() == 0 {
            Watch { cluster: &mut cluster, load: &load }.look()?;
            if began.elapsed() > RESTART_MAX {
                return Err("no line completes after the restart".into());
            }
            // The load counts without waking anybody. This pause bounds the error of `first`.
            thread::sleep(SHARP_LOOK);
        }
        let first = began.elapsed();
        Watch { cluster: &mut cluster, load: &load }.drain()?;
        told.extend(load.told());
        drop(load);
        let _ = write!(
            text,
            "\n{:>12} {log_mib:>14.1} {:>12} {:>16.1} {:>14.1}",
            told.iter().map(|told| told.lines).sum::<u64>() - 1,
            format!("{n}, {quorum} back"),
            up.as_secs_f64() * 1e3,
            first.as_secs_f64() * 1e3,
        );
        // Start the other replicas: the next stage begins with all.
        (quorum..n).try_for_each(|id| cluster.spawn(id))?;
    }
    cluster.settle()?;
    let log = cluster.end_and_judge(plan.size, &told)?;
    let _ = write!(text, "\nlogs clean: {} lines, {} NOPs", log.lines, log.noops);
    Ok(text)
}
