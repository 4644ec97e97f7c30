//! A lock service with leases.
//!
//!     cargo run --example locks
//!
//! A lease needs time, and a state machine has none: replicas that looked at their clocks would
//! come to different states. So time comes in the log. Clients say what time it is in a command
//! of its own, `Tick`, and the machine's clock is the latest time that it was told. It never goes
//! back, and it is the same at every replica after the same commands.
//!
//! That makes leases safe whatever clocks do: whether a lease has run out is decided by the log
//! alone. A holder whose own clock says otherwise may be wrong, so each grant has a *token* that
//! grows with every grant, and what the lock protects refuses a lower token than it has seen.
//! (Gray and Cheriton, *Leases*, SOSP '89; Lamport's bakery for the tokens.) What clocks decide is
//! liveness only. If nobody ticks, no lease ends. If one clock is fast, leases end early by as much:
//! so a tick may move the time by [`TICK_MS_MAX`] at most, and a mad clock has to say so often.

use multipaxos::{BadSnapshot, Response, StateMachine};
use serde::{Deserialize, Serialize};
use simulator::Cluster;
use std::collections::BTreeMap;

/// How far one tick may move the time.
const TICK_MS_MAX: u64 = 1_000;

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Command {
    /// This client's clock shows this many milliseconds since it began to tick.
    Tick(u64),
    /// `who` wants the lock of this name for so long. Whoever holds it may ask again, to keep it.
    Acquire { name: String, who: u64, lease_ms: u64 },
    /// The grant with this token is given back.
    Release { name: String, token: u64 },
}

/// What it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    /// The service's time.
    Time(u64),
    /// The lock is held, under this token and until this time.
    Granted { token: u64, until_ms: u64 },
    /// Somebody else holds it until this time.
    Busy { until_ms: u64 },
    /// It is free now, or was not held under that token any more.
    Released,
    /// These bytes are no command.
    Nonsense,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    who: u64,
    token: u64,
    until_ms: u64,
}

/// The locks that are held, the time, and the last token.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Locks {
    now_ms: u64,
    last_token: u64,
    held: BTreeMap<String, Grant>,
}

impl Locks {
    fn answer(&mut self, command: Command) -> Answer {
        match command {
            Command::Tick(ms) => {
                self.now_ms = self.now_ms.max(ms.min(self.now_ms.saturating_add(TICK_MS_MAX)));
                self.held.retain(|_, grant| grant.until_ms > self.now_ms);
                Answer::Time(self.now_ms)
            }
            Command::Acquire { name, who, lease_ms } => {
                let until_ms = self.now_ms.saturating_add(lease_ms);
                match self.held.get_mut(&name) {
                    Some(grant) if grant.who != who => Answer::Busy { until_ms: grant.until_ms },
                    Some(grant) => {
                        grant.until_ms = grant.until_ms.max(until_ms);
                        Answer::Granted { token: grant.token, until_ms: grant.until_ms }
                    }
                    None => {
                        self.last_token += 1;
                        let token = self.last_token;
                        self.held.insert(name, Grant { who, token, until_ms });
                        Answer::Granted { token, until_ms }
                    }
                }
            }
            Command::Release { name, token } => {
                self.held.retain(|held, grant| *held != name || grant.token != token);
                Answer::Released
            }
        }
    }
}

impl StateMachine for Locks {
    fn apply(&mut self, command: &[u8]) -> Response {
        let answer = match postcard::from_bytes(command) {
            Ok(command) => self.answer(command),
            Err(_) => Answer::Nonsense,
        };
        postcard::to_stdvec(&answer).expect("an answer can be encoded").into()
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("locks can be encoded")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        *self = postcard::from_bytes(snapshot).map_err(|why| BadSnapshot::new(why.to_string()))?;
        Ok(())
    }
}

/// The service on three replicas in one process.
struct Service {
    cluster: Cluster,
    client: simulator::cluster::ClientId,
}

impl Service {
    fn new() -> Service {
        let mut cluster = Cluster::new(3, Locks::default);
        let client = cluster.client();
        Service { cluster, client }
    }

    fn ask(&mut self, command: &Command) -> Answer {
        let bytes = postcard::to_stdvec(command).expect("a command can be encoded");
        let answer = self.cluster.call(self.client, &bytes).expect("a quorum runs");
        let answer = postcard::from_bytes(&answer).expect("an answer");
        println!("{command:?}: {answer:?}");
        answer
    }

    fn acquire(&mut self, who: u64) -> Answer {
        self.ask(&Command::Acquire { name: "door".into(), who, lease_ms: 500 })
    }
}

fn main() {
    let mut service = Service::new();
    assert_eq!(service.acquire(1), Answer::Granted { token: 1, until_ms: 500 });
    assert_eq!(service.acquire(2), Answer::Busy { until_ms: 500 });
    // The holder is gone, and so is the leader; the lease ends all the same.
    service.cluster.crash(0);
    service.ask(&Command::Tick(400));
    assert_eq!(service.acquire(2), Answer::Busy { until_ms: 500 });
    service.ask(&Command::Tick(500));
    assert_eq!(service.acquire(2), Answer::Granted { token: 2, until_ms: 1_000 });
    // The one before comes back late. It can release only what it was granted.
    service.ask(&Command::Release { name: "door".into(), token: 1 });
    assert_eq!(service.acquire(3), Answer::Busy { until_ms: 1_000 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulator::{Rng, check};

    #[test]
    fn a_lease_ends_by_the_time_in_the_log_and_tokens_grow() {
        main();
    }

    #[test]
    fn a_mad_clock_moves_the_time_by_a_tick_and_a_late_one_not_at_all() {
        let mut locks = Locks::default();
        assert_eq!(locks.answer(Command::Tick(u64::MAX)), Answer::Time(TICK_MS_MAX));
        assert_eq!(locks.answer(Command::Tick(5)), Answer::Time(TICK_MS_MAX));
    }

    #[test]
    fn whoever_holds_a_lock_keeps_it_by_asking_again() {
        let mut locks = Locks::default();
        let ask = |who| Command::Acquire { name: "door".into(), who, lease_ms: 500 };
        assert_eq!(locks.answer(ask(1)), Answer::Granted { token: 1, until_ms: 500 });
        locks.answer(Command::Tick(300));
        assert_eq!(locks.answer(ask(1)), Answer::Granted { token: 1, until_ms: 800 });
        locks.answer(Command::Tick(700));
        assert_eq!(locks.answer(ask(2)), Answer::Busy { until_ms: 800 });
    }

    fn command(rng: &mut Rng) -> Vec<u8> {
        let name = char::from(b'a' + rng.u8(..2)).to_string();
        let command = match rng.u8(..4) {
            0 => Command::Tick(rng.u64(..20_000)),
            1 => Command::Release { name, token: rng.u64(..9) },
            _ => Command::Acquire { name, who: rng.u64(..3), lease_ms: rng.u64(..2_000) },
        };
        postcard::to_stdvec(&command).expect("a command can be encoded")
    }

    #[test]
    fn the_service_passes_under_all_faults() {
        check(0..50, Locks::default, command).unwrap();
    }
}
