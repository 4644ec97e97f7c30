//! Running schedules: one, many, or all of them.

#![cfg(feature = "scheduler")]

use super::order::Order;
use super::{Exploration, State, Went, World};
use seeds::stream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Runs the schedule of a seed. An error says what went wrong, and shows the last steps.
pub fn run_seed(
    exploration: Exploration,
    seed: u64,
    body: impl FnOnce() + Send + 'static,
) -> Result<Went, String> {
    let mut rng = stream(seed, exploration.name);
    let order = if rng.bool() {
        Order::Any { stays: [0, 128, 224, 250][rng.usize(..4)] }
    } else {
        let spread = 1 << rng.u32(4..13);
        let changes = (0..rng.usize(..6)).map(|_| rng.u64(..spread)).collect();
        Order::Priorities { of: Vec::new(), changes, lowest: 1 << 32 }
    };
    let (result, _) = run(exploration, order, rng, body);
    result
}

/// Runs all schedules with at most this many preemptions, but no more than `most`. Returns how
/// many there were, and the failure of the first that failed.
pub fn run_all<B: FnOnce() + Send + 'static>(
    exploration: Exploration,
    preemptions: u32,
    most: usize,
    body: impl Fn() -> B,
) -> (usize, Result<(), String>) {
    let mut list = Vec::new();
    for done in 1.. {
        let order = Order::Listed { list, at: 0, preemptions };
        let (result, order) = run(exploration, order, fastrand::Rng::with_seed(0), body());
        let Order::Listed { list: mut next, .. } = order else { unreachable!() };
        if let Err(why) = result {
            let taken: Vec<String> = next.iter().map(|(which, _)| which.to_string()).collect();
            return (done, Err(format!("{why}\nchoices: {}", taken.join("."))));
        }
        while next.last().is_some_and(|(which, of)| which + 1 == *of) {
            next.pop();
        }
        let Some(last) = next.last_mut() else { return (done, Ok(())) };
        last.0 += 1;
        if done == most {
            return (done, Ok(()));
        }
        list = next;
    }
    unreachable!("it ends above")
}

/// How many schedules a test tries: the number in `SCHEDULES`, or else `usual`.
pub fn count(usual: u64) -> u64 {
    number("SCHEDULES").unwrap_or(usual)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Tries this many schedules, from seed 0 or `SCHEDULES_FROM` on, or the one that `SCHEDULE`
/// names. Together they must reach each `wanted` state, so that an exploration that reaches
/// nothing is noticed.
///
/// # Panics
///
/// If a schedule fails. The message has the command that repeats it.
pub fn try_seeds<B: FnOnce() + Send + 'static>(
    exploration: Exploration,
    schedules: u64,
    wanted: &[&'static str],
    body: impl Fn() -> B,
) {
    let (began, mut steps) = (Instant::now(), 0);
    let mut met: BTreeMap<_, u64> = wanted.iter().map(|what| (*what, 0)).collect();
    let first = number("SCHEDULES_FROM").unwrap_or(0);
    let seeds = number("SCHEDULE").map_or(first..first + schedules, |seed| seed..seed + 1);
    let tried = seeds.end - seeds.start;
    for seed in seeds {
        match run_seed(exploration, seed, body()) {
            Ok(went) => {
                steps += went.steps;
                went.met.into_iter().for_each(|what| *met.entry(what).or_default() += 1);
            }
            Err(why) => panic!(
                "{}: schedule {seed}: {why}\nagain: SCHEDULE={seed} cargo test --lib {}",
                exploration.name, exploration.name
            ),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{}: {tried} schedules, {steps} steps, {:.0} schedules/s, met {met:?}",
        exploration.name,
        tried as f64 / seconds
    );
    assert!(
        tried == 1 || met.values().all(|times| *times > 0),
        "a wanted state was never reached: {met:?}"
    );
}

/// Runs one schedule in this order.
pub(super) fn run(
    exploration: Exploration,
    order: Order,
    mut rng: fastrand::Rng,
    body: impl FnOnce() + Send + 'static,
) -> (Result<Went, String>, Order) {
    let listed = matches!(order, Order::Listed { .. });
    let state = State {
        exploration,
        tasks: Vec::new(),
        processes: Vec::new(),
        handles: Vec::new(),
        order,
        pace_us: if listed { 1 } else { 1 + rng.u64(..20) },
        hurry: if listed || rng.bool() { 0 } else { 1 << rng.u32(5..12) },
        room: if listed { 4 } else { 1 << rng.u32(..7) },
        rng,
        steps: 0,
        now_us: 0,
        hash: 0xcbf2_9ce4_8422_2325,
        trail: Vec::new(),
        met: BTreeSet::new(),
        fault: None,
    };
    let world = Arc::new(World { state: Mutex::new(state), turn: AtomicUsize::new(0) });
    world.begin_process("exploration", body);
    loop {
        let Some(handle) = world.state().handles.pop() else { break };
        handle.join().expect("a thread of an exploration ends well, whatever happens in it");
    }
    let mut state = world.state();
    let result = match state.fault.take() {
        Some(fault) => Err(state.report(&fault)),
        None => {
            let met = std::mem::take(&mut state.met);
            Ok(Went { steps: state.steps, hash: state.hash, met })
        }
    };
    (result, std::mem::replace(&mut state.order, Order::Any { stays: 0 }))
}
