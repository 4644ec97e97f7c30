//! The functions for a test inside an exploration: draws, the time, processes, faults.

#![cfg(feature = "scheduler")]

use super::here::{Here, here, leave};
use super::order::Order;
use std::sync::{Arc, Mutex};

fn placed() -> Here {
    here().expect("a thread of an exploration")
}

/// A number from the exploration's seed.
pub fn draw(below: u64) -> u64 {
    placed().world.state().rng.u64(..below)
}

/// The time since the schedule began.
pub fn now_us() -> u64 {
    placed().world.state().now_us
}

/// Whether timers may be early in this schedule.
pub fn hurries() -> bool {
    placed().world.state().hurry > 0
}

/// Whether a message that is sent often enough arrives: timers are not early, and the order of
/// the threads does not keep an inbox full. (With room for one batch, and threads that always
/// go in the same order, a message may find the same inbox full each time it is sent.)
pub fn is_fair() -> bool {
    let here = placed();
    let state = here.world.state();
    state.hurry == 0 && (state.room >= 16 || matches!(state.order, Order::Any { .. }))
}

/// Waits until this much time has passed.
pub fn pause(us: u64) {
    let here = placed();
    let until = here.world.state().now_us + us;
    while here.world.state().now_us < until {
        here.block("pause", None, Some(until), false);
    }
}

/// Waits for ever.
pub fn never() -> ! {
    loop {
        placed().block("for ever", None, None, false);
    }
}

/// Waits until no other thread can go on before time passes.
pub fn settle() {
    placed().block("settle", None, None, true);
}

/// Fails the schedule unless `holds`.
pub fn require(holds: bool, otherwise: impl FnOnce() -> String) {
    if !holds {
        let here = placed();
        here.world.fault(&mut here.world.state(), otherwise());
        leave();
    }
}

/// Notes that the schedule has reached this state.
pub fn met(what: &'static str) {
    placed().world.state().met.insert(what);
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<T> {
    /// Its main thread returned this.
    Returned(T),
    /// One of its threads failed, with this text.
    Failed(String),
}

/// A process of the exploration.
pub struct Running<T> {
    process: usize,
    came_back: Arc<Mutex<Option<T>>>,
}

/// Starts a process: `main` and all threads that it starts end with it.
pub fn process<T: Send + 'static>(
    name: &str,
    main: impl FnOnce() -> T + Send + 'static,
) -> Running<T> {
    let came_back = Arc::new(Mutex::new(None));
    let result = Arc::clone(&came_back);
    let run = move || {
        let returned = main();
        *result.lock().expect("no thread panics here") = Some(returned);
    };
    let process = placed().world.begin_process(name, run);
    Running { process, came_back }
}

impl<T> Running<T> {
    /// Kills the process at this moment.
    pub fn kill(&self) {
        placed().world.state().end_process(self.process, Some("killed".into()));
    }

    /// When it ended.
    pub fn ended_us(&self) -> Option<u64> {
        placed().world.state().processes[self.process].ended_us
    }

    /// Waits for its end, and says how it ended. If it never ends, that is a deadlock.
    pub fn ends(&self) -> End<T> {
        self.wait(None).expect("the wait has no limit")
    }

    /// How it ended; none if it has not ended within `most_us`.
    pub fn ends_within(&self, most_us: u64) -> Option<End<T>> {
        self.wait(Some(now_us() + most_us))
    }

    fn wait(&self, until: Option<u64>) -> Option<End<T>> {
        let here = placed();
        loop {
            {
                let state = here.world.state();
                let process = &state.processes[self.process];
                if process.ended_us.is_some() {
                    return Some(match &process.failed {
                        Some(why) => End::Failed(why.clone()),
                        None => {
                            let mut returned =
                                self.came_back.lock().expect("no thread panics here");
                            End::Returned(returned.take().expect("the result is taken once"))
                        }
                    });
                }
                if until.is_some_and(|until| state.now_us >= until) {
                    return None;
                }
            }
            here.block("end of a process", None, until, false);
        }
    }
}
