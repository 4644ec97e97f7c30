//! Who goes next, and when time passes.

#![cfg(feature = "scheduler")]

use super::{EXPLORATION, State};

/// How the next thread is chosen.
pub(super) enum Order {
    /// Any; whoever goes stays with a chance of `stays` in 256.
    Any { stays: u8 },
    /// By priority, the highest first; changed at these steps, the next one last.
    Priorities { of: Vec<u64>, changes: Vec<u64>, lowest: u64 },
    /// As in the list: which of how many. What is behind its end is the first each time,
    /// and is added.
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
    /// Those whose time has come wait no more: of the exploration itself, or of the others.
    fn ring_timers(&mut self, of_trial: bool) -> bool {
        let now_us = self.now_us;
        let mut rung = false;
        for task in self.tasks.iter_mut().filter(|task| (task.process == EXPLORATION) == of_trial) {
            if task.waits.as_ref().is_some_and(|w| w.until.is_some_and(|until| until <= now_us)) {
                (task.waits, rung) = (None, true);
            }
        }
        rung
    }

    /// On to the next deadline, if there is one.
    fn leap(&mut self, of_trial: bool) -> bool {
        let tasks = self.tasks.iter().filter(|task| of_trial || task.process != EXPLORATION);
        let Some(next) = tasks.filter_map(|task| task.waits.as_ref()?.until).min() else {
            return false;
        };
        self.now_us = self.now_us.max(next);
        self.ring_timers(false);
        true
    }

    /// Who goes next; nobody if nobody ever can. `going` goes, and yields if it `yields`.
    pub(super) fn choose(&mut self, going: usize, yields: bool) -> Option<usize> {
        self.ring_timers(false);
        if self.hurry > 0 && self.rng.u16(..) < self.hurry {
            self.leap(false);
        }
        let mut ready = Vec::new();
        loop {
            // Whoever goes is the first, so that the first choice is no preemption.
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
                    assert_eq!(of as usize, ready.len(), "the same choices lead to the same place");
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
