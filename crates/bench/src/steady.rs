//! One measurement under steady load, and its output.

use super::cluster::Cluster;
use super::histogram::Histogram;
use super::load::Load;
use super::usage::Usage;
use super::{Plan, Watch, us};
use command_line::say;
use driver::Interrupts;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// The figures of one measurement.
pub(super) struct Figures {
    elapsed: Duration,
    lines: u64,
    retried: u64,
    latency: Histogram,
    cpu_us: u64,
    client_cpu_us: u64,
    switches: u64,
    threads: u64,
    rss_kib: u64,
    settle: Duration,
    log: super::lines::Summary,
}

pub(super) fn run(plan: &Plan, interrupts: &Interrupts) -> Result<String, String> {
    let figures = measure(plan, interrupts)?;
    if plan.json {
        return Ok(json(plan, &figures));
    }
    if figures.retried > 0 {
        say(format!("bench: {} lines were sent again", figures.retried));
    }
    Ok(format!("{HEADER}\n{}", row(plan, &figures)))
}

pub(super) fn measure(plan: &Plan, interrupts: &Interrupts) -> Result<Figures, String> {
    let mut cluster = plan.cluster(interrupts)?;
    let n = cluster.n();
    // If the user gives a number of lines, all of them count, from the first.
    let shape = super::load::Shape { lines: plan.lines, ..plan.shape() };
    let warm_s = if plan.lines.is_some() { 0.0 } else { plan.warm_s };
    let cannot = |e| format!("cannot start the load: {e}");
    let usages = |cluster: &Cluster| (0..n).map(|id| cluster.usage(id)).collect::<Vec<_>>();
    let own = || Usage::of(std::process::id());
    let (mut began, mut before, mut own_before) = (Instant::now(), usages(&cluster), own());
    let load = Load::start(&shape, &cluster.addresses).map_err(cannot)?;
    let mut watch = Watch { cluster: &mut cluster, load: &load };
    if warm_s > 0.0 {
        watch.pass(warm_s)?;
        let _ = load.take();
        (began, before, own_before) = (Instant::now(), usages(watch.cluster), own());
    }
    match plan.lines {
        Some(lines) => watch.pass_lines(lines)?,
        None => watch.pass(plan.secs)?,
    }
    let (elapsed, tally) = (began.elapsed(), load.take());
    let (after, own_after) = (usages(watch.cluster), own());
    watch.drain()?;
    let told = load.told();
    drop(load);
    let settle = cluster.settle()?;
    let log = cluster.end_and_judge(plan.size, &told)?;
    let grown = |of: fn(&Usage) -> u64| -> u64 {
        after.iter().zip(&before).map(|(after, before)| of(after) - of(before)).sum()
    };
    let most = |of: fn(&Usage) -> u64| after.iter().map(of).max().unwrap_or(0);
    if tally.latency.total == 0 {
        return Err("no line completed while it counted".into());
    }
    Ok(Figures {
        elapsed,
        lines: tally.latency.total,
        retried: tally.retried,
        latency: tally.latency,
        cpu_us: grown(|usage| usage.cpu_us),
        client_cpu_us: own_after.cpu_us - own_before.cpu_us,
        switches: grown(|usage| usage.switches),
        threads: most(|usage| usage.threads),
        rss_kib: most(|usage| usage.rss_kib),
        settle,
        log,
    })
}

impl Figures {
    pub(super) fn ops_per_s(&self) -> f64 {
        self.lines as f64 / self.elapsed.as_secs_f64()
    }

    fn per_op(&self, all: u64) -> f64 {
        all as f64 / self.lines as f64
    }

    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        us(self.latency.quantile(share))
    }
}

fn json(plan: &Plan, figures: &Figures) -> String {
    let mut text = String::from("{");
    let mut field = |name: &str, value: String| {
        let comma = if text.len() > 1 { ", " } else { "" };
        let _ = write!(text, "{comma}\"{name}\": {value}");
    };
    field("ops_per_s", format!("{:.1}", figures.ops_per_s()));
    for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
        field(name, format!("{:.1}", figures.quantile_us(share)));
    }
    field("max_us", format!("{:.1}", us(figures.latency.max)));
    field("cpu_us_per_op", format!("{:.3}", figures.per_op(figures.cpu_us)));
    field("client_cpu_us_per_op", format!("{:.3}", figures.per_op(figures.client_cpu_us)));
    field("switches_per_op", format!("{:.3}", figures.per_op(figures.switches)));
    field("threads_per_replica", figures.threads.to_string());
    field("rss_kib", figures.rss_kib.to_string());
    field("lines", figures.lines.to_string());
    field("elapsed_s", format!("{:.3}", figures.elapsed.as_secs_f64()));
    field("retried", figures.retried.to_string());
    field("log_lines", figures.log.lines.to_string());
    field("log_noops", figures.log.noops.to_string());
    field("log_bytes", figures.log.bytes.to_string());
    field("settle_ms", figures.settle.as_millis().to_string());
    field("f", plan.f.to_string());
    field("outstanding", plan.outstanding.to_string());
    field("connections", plan.connections.to_string());
    field("size", plan.size.to_string());
    field("warm", plan.warm_s.to_string());
    field("secs", plan.secs.to_string());
    field("durability", format!("\"{}\"", plan.durability));
    field("threads", format!("\"{}\"", plan.layout));
    field("msg_loss", plan.msg_loss.to_string());
    field("datagram_max", plan.datagram_max.to_string());
    field("offload", plan.offload.to_string());
    field("key", plan.key_file.is_some().to_string());
    field("trace", plan.trace.to_string());
    field("rand_seed", plan.rand_seed.to_string());
    field("unpinned", plan.unpinned.to_string());
    let optional = |number: Option<u64>| number.map_or("null".into(), |n| n.to_string());
    field("session_lines", optional(plan.session_lines));
    field("rate", optional(plan.rate));
    field("lines_asked", optional(plan.lines));
    text.push('}');
    text
}

/// The header of the columns of [`row`].
pub(super) const HEADER: &str = "     N  durab.      ops/s     p50 µs     p99 µs   p99.9 µs     \
                                 max µs  CPU µs/op  client   switches/op  RSS MiB";

pub(super) fn row(plan: &Plan, figures: &Figures) -> String {
    format!(
        "{:6}  {:6} {:10.0} {:10.1} {:10.1} {:10.1} {:10.1} {:10.2} {:7.2} {:13.2} {:8.1}",
        plan.outstanding,
        plan.durability.to_string(),
        figures.ops_per_s(),
        figures.quantile_us(0.5),
        figures.quantile_us(0.99),
        figures.quantile_us(0.999),
        us(figures.latency.max),
        figures.per_op(figures.cpu_us),
        figures.per_op(figures.client_cpu_us),
        figures.per_op(figures.switches),
        figures.rss_kib as f64 / 1024.0,
    )
}
