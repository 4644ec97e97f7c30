//! A list of who has sent what to whom, in a run with keys. No process of the run knows it.
//!
//! Every datagram that a process sends by a session is entered here. If a process believes one, it
//! must be here, for that process, and not have been believed before: whoever made it up, changed
//! it, sent it on or sent it again has got in otherwise. (W8)

use multipaxos::message::Party;
use multipaxos::net::guard::key::{KEY_BYTES, Keys, Secret};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The keys of a run, and its ledger.
#[derive(Debug, Clone)]
pub struct Seal {
    keys: Keys,
    ledger: Arc<Mutex<Ledger>>,
}

/// All datagrams that were sent by a session.
#[derive(Debug, Default)]
struct Ledger {
    sent: HashMap<Vec<u8>, Entry>,
    /// How many were dropped that an honest process has not sent, or had been believed before.
    dropped: u64,
    fault: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    to: Party,
    is_taken: bool,
}

impl Seal {
    /// For a cluster with this key.
    pub fn new(secret: [u8; KEY_BYTES]) -> Self {
        let keys = Keys::Cluster(vec![Secret::new(secret)]);
        Seal { keys, ledger: Arc::default() }
    }

    /// The keys of a process.
    pub(super) fn keys_of(&self, me: Party, life: u64) -> Keys {
        match me {
            Party::Replica(_) => self.keys.clone(),
            Party::Client => self.keys.clone().for_client(life as u32),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no thread panics with it")
    }

    /// A datagram leaves.
    pub(super) fn sent(&self, to: Party, datagram: &[u8]) {
        let entry = Entry { to, is_taken: false };
        self.ledger().sent.insert(datagram.to_vec(), entry);
    }

    /// A process has believed a datagram.
    pub(super) fn taken(&self, by: Party, datagram: &[u8]) {
        let mut ledger = self.ledger();
        let what = match ledger.sent.get_mut(datagram) {
            None => "nobody has sent".into(),
            Some(entry) if entry.to != by => format!("was sent to {:?}", entry.to),
            Some(entry) if entry.is_taken => "was believed before".into(),
            Some(entry) => return entry.is_taken = true,
        };
        let fault = format!("W8: {by:?} believes a datagram that {what}");
        ledger.fault.get_or_insert(fault);
    }

    /// A process has dropped a datagram.
    pub(super) fn dropped(&self, by: Party, datagram: &[u8]) {
        let mut ledger = self.ledger();
        let is_due = |entry: &Entry| entry.to == by && !entry.is_taken;
        let strange = !ledger.sent.get(datagram).is_some_and(is_due);
        ledger.dropped += u64::from(strange);
    }

    /// How many datagrams were dropped that no process should have believed.
    pub fn strange_dropped(&self) -> u64 {
        self.ledger().dropped
    }

    /// A process has believed a datagram that it must not. This says which.
    pub fn fault(&self) -> Option<String> {
        self.ledger().fault.clone()
    }
}
