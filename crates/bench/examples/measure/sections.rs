//! The sections of docs/measurements.md: how much is measured, and in which order.

use crate::measured::Measured;
use crate::run::Runner;
use crate::{conditions, outages, speed};

/// A layout of the threads of a replica, and of its floor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    /// The option for it, with a space before.
    pub(crate) option: &'static str,
}

/// The default, and the other.
pub(crate) const LAYOUTS: [Layout; 2] =
    [Layout { name: "per-role", option: "" }, Layout { name: "one", option: " --threads one" }];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    /// The same for losses.
    pub(crate) loss_rounds: usize,
    /// Options of each run: how long it warms up, and how long it counts.
    pub(crate) span: &'static str,
    /// The same for each point of the curve.
    pub(crate) curve_span: &'static str,
    /// The same for few lines a second.
    pub(crate) slow_span: &'static str,
    /// Lines in flight from one socket; and on as many sockets.
    pub(crate) in_flight: &'static [u64],
    pub(crate) sockets: &'static [u64],
    pub(crate) view_changes: usize,
    /// Lines that a replica misses; that are on disk at a restart.
    pub(crate) absent: u64,
    pub(crate) restart: u64,
    /// Seconds of load before a second measurement of the same cluster size.
    pub(crate) long_warm: &'static str,
    pub(crate) long_rounds: usize,
    /// What the files of such a run take at most, in MiB.
    pub(crate) long_mib: usize,
}

const WHOLE: Scale = Scale {
    rounds: 3,
    loss_rounds: 2,
    span: "--warm 0.5 --secs 2",
    curve_span: "--warm 0.3 --secs 1",
    slow_span: "--warm 2 --secs 8",
    in_flight: &[1, 16, 64, 256, 4_096],
    sockets: &[64, 256],
    view_changes: 6,
    absent: 1_000_000,
    restart: 1_000_000,
    long_warm: "--warm 12 --secs 2",
    long_rounds: 2,
    long_mib: 8 << 10,
};

const QUICK: Scale = Scale {
    rounds: 1,
    loss_rounds: 1,
    span: "--warm 0.1 --secs 0.2",
    curve_span: "--warm 0.1 --secs 0.2",
    slow_span: "--warm 0.5 --secs 1",
    in_flight: &[1, 64],
    sockets: &[16],
    view_changes: 1,
    absent: 20_000,
    restart: 20_000,
    long_warm: "--warm 1 --secs 0.2",
    long_rounds: 1,
    long_mib: 64,
};

/// Measures all of it, and draws the plot.
pub(crate) fn measure(runner: &mut Runner, quick: bool, plot: &str) -> Result<Measured, String> {
    let scale = if quick { QUICK } else { WHOLE };
    let mut measured = Measured::default();
    speed::throughput(runner, scale, &mut measured)?;
    speed::curve(runner, scale, plot, &mut measured)?;
    speed::sockets(runner, scale, &mut measured)?;
    speed::long_lines(runner, scale, &mut measured)?;
    conditions::losses(runner, scale, &mut measured)?;
    conditions::replicas(runner, scale, &mut measured)?;
    conditions::few_lines(runner, scale, &mut measured)?;
    conditions::long_logs(runner, scale, &mut measured)?;
    outages::view_change(runner, scale, &mut measured)?;
    outages::absence(runner, scale, &mut measured)?;
    outages::restart(runner, scale, &mut measured)?;
    // It takes five minutes, and a quick run has two.
    if !quick {
        outages::bad_networks(runner, &mut measured)?;
    }
    outages::scenarios(runner, quick, &mut measured)?;
    assert!(measured.figures.len() <= 10, "README has room for ten figures");
    Ok(measured)
}
