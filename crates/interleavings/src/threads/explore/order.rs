//! Decides which thread goes next, and when time passes.

#![cfg(feature = "scheduler")]

use super::{EXPLORATION, State};

/// How the next thread is chosen.
pub(super) enum Order {
    /// Any thread. The current one goes on with a chance of `stays` in 256.
    Any { stays: u8 },
    /// The thread with the highest priority. At the steps in `changes` the current thread gets
    /// the lowest one.
    Priorities { of: Vec<u64>, changes: Vec<u64>, lowest: u64 },
    /// As in the list: each entry says which thread of how many. Behind its end the first
    /// thread goes each time, and an entry for it is added.
    Listed { list: Vec<(u8, u8)>, at: usize, preemptions: u32 },
}

impl Order {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Order::Any { .. } => "any thread is next",
            Order::Priorities { .. } => "the first by priority is next",
            Order::Listed { .. } => "as listed",
        }
    }
}

impl State {
    /// Ends the waits whose time has come, either of the exploration's own threads or of all
    /// others. Returns whether there were any.
    fn ring_timers(&mut self, of_exploration: bool) -> bool {
        let now_us = self.now_us;
        let mut rung = false;
        for task in
            self.tasks.iter_mut().filter(|task| (task.process == EXPLORATION) == of_exploration)
        {
            if task.waits.as_ref().is_some_and(|w| w.until.is_some_and(|until| until <= now_us)) {
                (task.waits, rung) = (None, true);
            }
        }
        rung
    }

    /// Lets time pass until the next deadline, if there is one.
    fn leap(&mut self, of_exploration: bool) -> bool {
        let tasks = self.tasks.iter().filter(|task| of_exploration || task.process != EXPLORATION);
        let Some(next) = tasks.filter_map(|task| task.waits.as_ref()?.until).min() else {
            return false;
        };
        self.now_us = self.now_us.max(next);
        self.ring_timers(false);
        true
    }

    /// The thread that goes next; none if no thread can ever go on. `going` is the thread that
    /// has gone until now.
    pub(super) fn choose(&mut self, going: usize, yields: bool) -> Option<usize> {
        self.ring_timers(false);
        if self.hurry > 0 && self.rng.u16(..) < self.hurry {
            self.leap(false);
        }
        let mut ready = Vec::new();
        loop {
            // The current thread is the first, so that the first choice is no preemption.
            let others = (0..self.tasks.len()).filter(|at| *at != going);
            for at in std::iter::once(going).chain(others) {
                if !self.tasks[at].done && self.tasks[at].waits.is_none() {
                    ready.push(at);
                }
            }
            if !ready.is_empty() {
                break;
            }
            let settled = self.tasks.iter_mut().find(|t| t.waits.as_ref().is_some_and(|w| w.idle));
            if let Some(task) = settled {
                task.waits = None;
            } else if !self.ring_timers(true) && !self.leap(true) {
                return None;
            }
        }
        let stays = ready[0] == going;
        if stays && yields && ready.len() > 1 {
            ready.rotate_left(1);
        }
        Some(match &mut self.order {
            Order::Any { stays: chance } => {
                if stays && !yields && self.rng.u8(..) < *chance {
                    going
                } else {
                    ready[self.rng.usize(..ready.len())]
                }
            }
            Order::Priorities { of, changes, lowest } => {
                while of.len() < self.tasks.len() {
                    of.push((1 << 33) + self.rng.u64(..1 << 32));
                }
                if yields || changes.contains(&self.steps) {
                    *lowest -= 1;
                    of[going] = *lowest;
                }
                ready.into_iter().max_by_key(|at| of[*at]).unwrap_or(going)
            }
            Order::Listed { list, at, preemptions } => {
                let free = !stays || yields;
                if ready.len() > 1 && (free || *preemptions > 0) {
                    if *at == list.len() {
                        list.push((0, ready.len() as u8));
                    }
                    let (which, of) = list[*at];
                    assert_eq!(of as usize, ready.len(), "the same choices lead to the same state");
                    *at += 1;
                    if !free && which > 0 {
                        *preemptions -= 1;
                    }
                    ready[which as usize]
                } else {
                    ready[0]
                }
            }
        })
    }
}
