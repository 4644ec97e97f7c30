//! The scheduler itself.

#![cfg(test)]

use super::links::{AtomicBool, bounded};
use super::order::Order;
use super::seeds::run;
use super::*;
use crate::threads;
use std::time::Duration;

const EXPLORATION: Exploration = Exploration { name: "threads::explore", steps_max: 1_000 };

/// Reads the flag, then writes it. Two threads meet here unless they take turns.
fn adds(flag: Arc<AtomicBool>, lost: Arc<AtomicBool>) {
    if flag.load(Ordering::SeqCst) {
        lost.store(true, Ordering::SeqCst);
    }
    flag.store(true, Ordering::SeqCst);
    flag.store(false, Ordering::SeqCst);
}

fn two_that_meet() {
    let (flag, met) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (said, heard) = bounded(2);
    for _ in 0..2 {
        let (flag, met, said) = (Arc::clone(&flag), Arc::clone(&met), said.clone());
        threads::spawn("one of two", move || {
            adds(flag, met);
            said.send(()).unwrap();
        })
        .unwrap();
    }
    drop(said);
    while heard.recv().is_ok() {}
    require(!met.load(Ordering::SeqCst), || "they met".into());
}

#[test]
fn a_meeting_takes_one_preemption() {
    assert_eq!(run_all(EXPLORATION, 0, 1_000, || two_that_meet).1, Ok(()));
    let (_, found) = run_all(EXPLORATION, 1, 1_000, || two_that_meet);
    assert!(found.unwrap_err().starts_with("they met"));
    let seeds =
        (0..1_000).filter(|seed| run_seed(EXPLORATION, *seed, two_that_meet).is_err()).count();
    assert!((20..900).contains(&seeds), "{seeds}");
}

#[test]
fn waiting_for_each_other_is_a_deadlock_and_waiting_for_time_is_not() {
    let body = || {
        let (to_other, from_one) = bounded::<()>(1);
        let (to_one, from_other) = bounded::<()>(1);
        threads::spawn("other", move || {
            let _ = from_one.recv();
            drop(to_one);
        })
        .unwrap();
        let _ = from_other.recv_timeout(Duration::from_secs(5));
        require((5_000_000..5_000_100).contains(&now_us()), || "it is not time".into());
        let _ = from_other.recv();
        drop(to_other);
    };
    let order = || Order::Any { stays: 0 };
    let (found, _) = run(EXPLORATION, order(), fastrand::Rng::with_seed(1), body);
    assert!(found.unwrap_err().starts_with("deadlock:\n  exploration  recv"));
}

#[test]
fn a_thread_that_turns_for_ever_is_noticed() {
    let body = || {
        loop {
            threads::yield_now();
        }
    };
    assert!(run_seed(EXPLORATION, 1, body).unwrap_err().starts_with("it does not end"));
}

#[test]
fn a_process_ends_with_its_main_thread_and_with_its_first_failure() {
    let body = || {
        let lives = process("lives", || {
            let (held, never) = bounded::<()>(1);
            threads::spawn("waits", move || assert!(never.recv().is_err())).unwrap();
            pause(1_000);
            drop(held.clone());
            7
        });
        let fails = process("fails", || {
            threads::spawn("unlucky", || threads::fails("no luck")).unwrap();
            pause(1_000_000);
        });
        require(lives.ends_within(1_000_000) == Some(End::Returned(7)), || "7".into());
        require(fails.ends() == End::Failed("no luck".into()), || "no luck".into());
    };
    for seed in 0..200 {
        run_seed(EXPLORATION, seed, body).unwrap();
    }
}
