//! A thread of an exploration: its life, its steps, its waits.
//!
//! Outside of an exploration [`here`] is `None`, and nothing schedules the thread.

#![cfg(feature = "scheduler")]

use super::{DATAGRAMS, OVER, Waits, World};
use mio::{Events, Poll, Waker};
use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// The place of a thread in an exploration.
#[derive(Clone)]
pub(crate) struct Here {
    pub(super) world: Arc<World>,
    pub(super) task: usize,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// A thread's end without an error, when its process has ended.
struct Ended;

/// This thread's place in an exploration, if it is part of one.
pub(crate) fn here() -> Option<Here> {
    // The steps of a thread that panics are no longer scheduled.
    if thread::panicking() {
        return None;
    }
    HERE.with_borrow(Clone::clone)
}

pub(super) fn leave() -> ! {
    resume_unwind(Box::new(Ended))
}

fn began() -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

impl Here {
    /// A thread's whole life.
    pub(super) fn live(self, run: impl FnOnce()) {
        HERE.set(Some(self.clone()));
        let came_to_an_end = catch_unwind(AssertUnwindSafe(|| {
            self.wait_for_turn();
            run();
        }));
        HERE.set(None);
        let mut state = self.world.state();
        if let Err(payload) = came_to_an_end
            && !payload.is::<Ended>()
        {
            let name = state.tasks[self.task].name.clone();
            self.world.fault(&mut state, format!("{name} panicked: {}", said(&*payload)));
        }
        state.tasks[self.task].done = true;
        let process = state.tasks[self.task].process;
        if state.processes[process].main == self.task {
            state.end_process(process, None);
        }
        self.world.pass_on(&mut state, self.task, false);
    }

    fn wait_for_turn(&self) {
        loop {
            match self.world.turn.load(Ordering::SeqCst) {
                turn if turn == self.task => break,
                OVER => leave(),
                _ => thread::park(),
            }
        }
        let ended = {
            let state = self.world.state();
            state.processes[state.tasks[self.task].process].ended_us.is_some()
        };
        if ended {
            leave();
        }
    }

    /// Before a step: lets the scheduler decide which thread takes the next one.
    fn step(&self, what: &'static str, yields: bool) {
        let mut state = self.world.state();
        state.note(self.task, what);
        self.world.pass_on(&mut state, self.task, yields);
        drop(state);
        self.wait_for_turn();
    }

    /// Before an action that other threads can notice.
    pub(crate) fn point(&self, what: &'static str) {
        self.step(what, false);
    }

    pub(crate) fn yields(&self) {
        self.step("yields", true);
    }

    /// Waits until another thread touches `on`, or until the time `until`.
    pub(super) fn block(
        &self,
        what: &'static str,
        on: Option<u64>,
        until: Option<u64>,
        idle: bool,
    ) {
        let mut state = self.world.state();
        state.tasks[self.task].waits = Some(Waits { what, on, until, idle });
        self.world.pass_on(&mut state, self.task, false);
        drop(state);
        self.wait_for_turn();
    }

    /// Lets every thread that waits for `on` check again.
    pub(super) fn touch(&self, on: u64) {
        for task in &mut self.world.state().tasks {
            if task.waits.as_ref().is_some_and(|waits| waits.on == Some(on)) {
                task.waits = None;
            }
        }
    }

    pub(crate) fn now(&self) -> Instant {
        began() + Duration::from_micros(self.world.state().now_us)
    }

    /// The time after `most`, rounded up: like the kernel, it never wakes a thread too early.
    pub(super) fn late(&self, most: Duration) -> u64 {
        self.world.state().now_us + (most.as_nanos().div_ceil(1_000) as u64)
    }

    pub(crate) fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) {
        let process = {
            let state = self.world.state();
            state.tasks[self.task].process
        };
        self.world.begin(name, process, run);
        self.point("starts a thread");
    }

    pub(crate) fn sleep(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        most: Option<Duration>,
    ) -> io::Result<()> {
        self.point("sleeps");
        let until = most.map(|most| self.late(most));
        loop {
            poll.poll(events, Some(Duration::ZERO))?;
            if !events.is_empty() || until.is_some_and(|until| self.world.state().now_us >= until) {
                return Ok(());
            }
            self.block("epoll", Some(DATAGRAMS), until, false);
        }
    }

    pub(crate) fn wake(&self, waker: &Waker) -> io::Result<()> {
        self.point("wakes the loop");
        waker.wake()?;
        self.touch(DATAGRAMS);
        Ok(())
    }

    pub(crate) fn has_sent(&self) {
        self.touch(DATAGRAMS);
        self.point("has sent");
    }

    pub(crate) fn fails(&self, why: &str) -> ! {
        let mut state = self.world.state();
        let process = state.tasks[self.task].process;
        state.end_process(process, Some(why.to_owned()));
        drop(state);
        leave()
    }

    pub(super) fn room(&self) -> usize {
        self.world.state().room
    }
}

fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
