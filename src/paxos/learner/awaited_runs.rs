//! Runs that were proposed here, and the clients that wait for their commands.

use crate::message::Run;
use crate::requesters::{Asker, Requesters};
use crate::types::{Session, Slot};
use crate::values::{CommandRef, ValueRef};
use std::collections::BTreeMap;

/// A run that was proposed here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct AwaitedRun {
    run: Run,
    /// The slots below this one are passed: they are applied, and their clients forgotten.
    next: Slot,
    /// The clients that asked for the values from `next` on.
    requesters: Requesters,
}

impl AwaitedRun {
    /// No slot of `run` is passed yet.
    pub(super) fn new(run: &Run, requesters: Requesters) -> Self {
        AwaitedRun { run: run.clone(), next: run.first, requesters }
    }

    /// Passes all slots below `end`, and shows the commands there whose clients are known.
    pub(super) fn pass_below(&mut self, end: Slot, mut each: impl FnMut(Asker, CommandRef<'_>)) {
        while self.next < end.min(self.run.end()) {
            if let Some((client, command)) = self.pass(self.next) {
                each(client, command);
            }
        }
    }

    /// Passes all slots up to `slot`. Returns the client that asked for the command
    /// proposed there, and the command.
    fn pass(&mut self, slot: Slot) -> Option<(Asker, CommandRef<'_>)> {
        let asked = self.requesters.take(slot.next().since(self.next) as usize);
        self.next = self.next.max(slot.next());
        let asker = asked?;
        let command = self.run.values.get(slot.since(self.run.first) as usize).command()?;
        Some((asker, command))
    }

    /// The sessions of the commands from the next slot on whose clients are known.
    pub(super) fn sessions(&self) -> Vec<Session> {
        let mut sessions = Vec::new();
        let mut index = self.next.since(self.run.first) as usize;
        for origin in self.requesters.iter() {
            let commands = self.run.values.slice(index..index + origin.count());
            index += origin.count();
            if origin.asked().is_some() {
                let commands = commands.iter().filter_map(ValueRef::command);
                sessions.extend(commands.map(|command| command.session));
            }
        }
        sessions
    }
}

/// All runs that were proposed here at the newest ballot, by their first slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct AwaitedRuns(BTreeMap<Slot, AwaitedRun>);

impl AwaitedRuns {
    /// Whether a run at slot `first` is here: the proposer repeats its runs.
    pub(super) fn contains(&self, first: Slot) -> bool {
        let before = self.0.range(..=first).next_back();
        before.is_some_and(|(_, awaited)| awaited.run.end() > first)
    }

    pub(super) fn insert(&mut self, awaited: AwaitedRun) {
        self.0.insert(awaited.run.first, awaited);
    }

    /// The client that asked for `command`, which was applied in `slot`, if this command
    /// was proposed there. Slots up to `slot` are passed.
    pub(super) fn take_client(&mut self, slot: Slot, command: CommandRef<'_>) -> Option<Asker> {
        while let Some(mut entry) = self.0.first_entry()
            && *entry.key() <= slot
        {
            let awaited = entry.get_mut();
            let end = awaited.run.end();
            let proposed = if slot < end { awaited.pass(slot) } else { None };
            // Another leader may have got another value chosen in this slot.
            let client = proposed.filter(|(_, proposed)| *proposed == command);
            let client = client.map(|(client, _)| client);
            if end <= slot.next() {
                entry.remove();
            }
            if slot < end {
                return client;
            }
        }
        None
    }
}
