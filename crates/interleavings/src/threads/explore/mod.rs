//! Explorations: the threads of a few processes, one step at a time, in an order that a
//! seed decides.
//!
//! The threads of an exploration are real ones, but only one of them runs at a time. A step
//! is an action that another thread could notice: a thread looks at a channel, sends, drops
//! an end of it, reads or sets a flag, sleeps, wakes the loop, has sent datagrams. Before
//! each step the thread asks the scheduler which of the threads that can go on runs next. A
//! thread that waits can go on only when its channel has been touched or its time has come.
//!
//! Time is a number. It passes a little with each step. When all threads wait, it leaps to
//! the next deadline. In some schedules it leaps sooner; then a timer is early, or a thread
//! is as slow as on a host that has no core for it.
//!
//! A schedule fails if no thread can go on and none waits for a time (a deadlock), if it
//! takes more steps than the exploration allows (threads keep each other busy), or if the
//! exploration itself reports a fault. The failure shows what each thread waits for.
//!
//! Orders are drawn in three ways: any thread at each step, with a drawn preference to go on
//! with the same one; by priorities that change at a few places (Burckhardt et al., *A
//! Randomized Scheduler with Probabilistic Guarantees of Finding Bugs*, ASPLOS '10); or all
//! of them, one after the other, with a bound on preemptions (Musuvathi and Qadeer,
//! *Iterative Context Bounding*, PLDI '07). The capacity of channels is drawn too, so that
//! threads meet full ones.
//!
//! **Why not `loom` or `shuttle`.** In both (0.7.3; 0.9.9) a wait with a timeout never times
//! out, and these threads depend on timeouts. Both know the channels of `std` but not those
//! of crossbeam, and no epoll. They bring 20 and 35 crates. `loom` alone explores memory
//! orders weaker than sequential consistency; all flags here are `SeqCst`.
//!
//! Sockets are real ones. Their part of a run is repeatable because the kernel delivers a
//! datagram on loopback within the call that sends it.
//!
//! **Does not see** two threads at once inside a channel, a flag or mio: these count as
//! correct. An action that is not a step (a counter, the number of queued bytes) happens
//! together with the step before it. It does not see that [`super::now`] differs between
//! cores, or what a real process leaves running while it exits.

#![cfg(feature = "scheduler")]

use here::Here;
pub(crate) use here::here;
use order::Order;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

mod here;
mod inside;
pub(crate) mod links;
mod order;
mod seeds;
mod tests;

pub use inside::{
    End, Running, draw, hurries, is_fair, met, never, now_us, pause, process, require, settle,
};
pub use seeds::{count, run_all, run_seed, try_seeds};

/// The number of the thing that a thread waits for when it waits for datagrams.
const DATAGRAMS: u64 = 0;

/// The number of steps that a failed schedule shows.
const SHOWN_STEPS: usize = 60;

/// The process of the exploration itself. Its timers ring last, when no other thread can go
/// on. So if it waits in vain, the other threads had all the time that they needed.
const EXPLORATION: usize = 0;

/// The turn when the exploration is over: every thread ends.
const OVER: usize = usize::MAX;

/// The name and the bound of an exploration.
#[derive(Debug, Clone, Copy)]
pub struct Exploration {
    /// The test, for the command that repeats it.
    pub name: &'static str,
    /// The most steps of one schedule.
    pub steps_max: u64,
}

/// The result of a schedule that went well.
#[derive(Debug, Clone, Default)]
pub struct Went {
    /// How many steps it took.
    pub steps: u64,
    /// A hash of all steps in their order, with the threads that took them.
    pub hash: u64,
    /// The states that it reached, of those that the exploration wants.
    met: BTreeSet<&'static str>,
}

struct Waits {
    what: &'static str,
    on: Option<u64>,
    until: Option<u64>,
    /// Whether it waits for a moment when no other thread can go on.
    idle: bool,
}

struct Task {
    name: String,
    process: usize,
    thread: Option<Thread>,
    waits: Option<Waits>,
    done: bool,
}

struct Process {
    main: usize,
    /// When it failed or its main thread ended.
    ended_us: Option<u64>,
    failed: Option<String>,
}

struct State {
    exploration: Exploration,
    tasks: Vec<Task>,
    processes: Vec<Process>,
    handles: Vec<JoinHandle<()>>,
    order: Order,
    rng: fastrand::Rng,
    /// The time that a step takes.
    pace_us: u64,
    /// In how many of 65,536 steps time leaps.
    hurry: u16,
    /// The most that a channel holds.
    room: usize,
    steps: u64,
    now_us: u64,
    hash: u64,
    trail: Vec<(usize, &'static str)>,
    met: BTreeSet<&'static str>,
    fault: Option<String>,
}

pub(crate) struct World {
    state: Mutex<State>,
    turn: AtomicUsize,
}

impl State {
    fn report(&self, fault: &str) -> String {
        let State { order, room, pace_us, hurry, now_us, steps, .. } = self;
        let mut text = format!(
            "{fault}\nchannels hold {room}, a step takes {pace_us} µs, time leaps in {hurry} of \
             65,536; {}\nat {now_us} µs, after {steps} steps; the last:",
            order.name()
        );
        for (task, what) in &self.trail[self.trail.len().saturating_sub(SHOWN_STEPS)..] {
            let _ = write!(text, "\n  {:<12} {what}", self.tasks[*task].name);
        }
        text
    }

    /// The threads that have not ended, and what each waits for.
    fn unfinished(&self) -> String {
        let mut text = String::new();
        for task in self.tasks.iter().filter(|task| !task.done) {
            let doing = task.waits.as_ref().map_or("goes", |waits| waits.what);
            let _ = write!(text, "\n  {:<12} {doing}", task.name);
        }
        text
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schedule has failed: ends all threads.
    fn fault(&self, state: &mut State, why: String) {
        if state.fault.is_none() {
            state.fault = Some(why);
        }
        self.turn.store(OVER, Ordering::SeqCst);
        state.tasks.iter().filter_map(|task| task.thread.as_ref()).for_each(Thread::unpark);
    }

    /// Gives the turn to the next thread.
    fn pass_on(&self, state: &mut State, going: usize, yields: bool) {
        if state.fault.is_some() || state.tasks.iter().all(|task| task.done) {
            return;
        }
        if state.steps >= state.exploration.steps_max {
            let unfinished = state.unfinished();
            return self.fault(state, format!("it does not end:{unfinished}"));
        }
        let Some(next) = state.choose(going, yields) else {
            let unfinished = state.unfinished();
            return self.fault(state, format!("deadlock:{unfinished}"));
        };
        self.turn.store(next, Ordering::SeqCst);
        if next != going
            && let Some(thread) = &state.tasks[next].thread
        {
            thread.unpark();
        }
    }

    fn begin_process(self: &Arc<Self>, name: &str, main: impl FnOnce() + Send + 'static) -> usize {
        let mut state = self.state();
        let process = state.processes.len();
        let main_task = state.tasks.len();
        state.processes.push(Process { main: main_task, ended_us: None, failed: None });
        drop(state);
        self.begin(name, process, main);
        process
    }

    fn begin(self: &Arc<Self>, name: &str, process: usize, run: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        let task = state.tasks.len();
        let name = name.to_owned();
        state.tasks.push(Task {
            name: name.clone(),
            process,
            thread: None,
            waits: None,
            done: false,
        });
        let here = Here { world: Arc::clone(self), task };
        let thread = thread::Builder::new().name(name).spawn(move || here.live(run));
        let handle = thread.expect("the system has one more thread");
        state.tasks[task].thread = Some(handle.thread().clone());
        state.handles.push(handle);
    }
}

impl State {
    fn end_process(&mut self, number: usize, failed: Option<String>) {
        let process = &mut self.processes[number];
        if process.ended_us.is_some() {
            return;
        }
        (process.ended_us, process.failed) = (Some(self.now_us), failed);
        for task in &mut self.tasks {
            // Its threads end at their next step. Threads that wait for its end check again.
            let awaits = task.waits.as_ref().is_some_and(|w| w.what == "end of a process");
            if task.process == number || awaits {
                task.waits = None;
            }
        }
    }

    fn note(&mut self, task: usize, what: &'static str) {
        self.steps += 1;
        self.now_us += self.pace_us;
        self.trail.push((task, what));
        for byte in std::iter::once(task as u8).chain(what.bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A new number, for a channel.
fn number_of_a_link() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(DATAGRAMS + 1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
