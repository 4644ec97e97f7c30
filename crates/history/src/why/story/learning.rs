//! How replicas learned the value of the slot and applied it, and what the client was told.

use super::{Story, is_same};
use crate::events::{Event, value_in};
use crate::print;
use crate::why::learned::{Learned, Vote, how_learned};
use crate::why::{listed, replicas};
use multipaxos::types::{ReplicaId, Value};

impl Story<'_, '_> {
    pub(super) fn tell_learning(&mut self) {
        let (past, slot) = (self.facts.past, self.facts.slot);
        let mut answered: Vec<u64> = Vec::new();
        for (at, entry) in past.from(0) {
            match &entry.event {
                Event::Applied { replica, first, values, effects } => {
                    let Some(value) = value_in(slot, *first, values) else { continue };
                    let effect = effects[slot.since(*first) as usize];
                    let text = self.learning(*replica, &value, effect, at);
                    self.say(at, text);
                }
                // Several replicas may answer, and repeat their answers. One sentence is enough.
                Event::Answered { replica, client, id, slot: told }
                    if *told == slot && !answered.contains(client) =>
                {
                    answered.push(*client);
                    let id = id.as_ref().map_or(String::new(), |id| format!(": {id}"));
                    self.say(
                        at,
                        format!(
                            "Replica {replica} tells client {client} that its line stands in \
                                 slot {slot}{id}."
                        ),
                    );
                }
                _ => {}
            }
        }
    }

    fn learning(&self, replica: ReplicaId, value: &Value, effect: bool, at: usize) -> String {
        let (past, slot) = (self.facts.past, self.facts.slot);
        let known = how_learned(past, replica, slot, at);
        let how = match &known {
            Some((_, Learned::Counted { ballot, votes })) => {
                let mut from: Vec<ReplicaId> = votes.iter().map(|vote| vote.from).collect();
                from.sort_unstable();
                let by: Vec<String> = votes.iter().filter_map(Vote::id).collect();
                let by = if by.is_empty() { String::new() } else { format!(" ({})", listed(&by)) };
                format!("counts the acceptances of {} at ballot {ballot}{by}", replicas(&from))
            }
            Some((_, Learned::Told { ballot, message })) => format!(
                "hears from replica {} that slot {slot} is decided at ballot {ballot}, at which it \
                 has accepted it ({})",
                message.from, message.id
            ),
            Some((_, Learned::Fetched { message })) => format!(
                "gets slot {slot} from the decided log of replica {} ({})",
                message.from, message.id
            ),
            None => "knows that it is decided".into(),
        };
        let waits = known.as_ref().and_then(|(known, _)| {
            let next = past.applied_by(replica, *known);
            let (later, _) = how_learned(past, replica, next, at)?;
            (next < slot && later > *known).then_some(next)
        });
        let applies = match waits {
            Some(next) => format!("applies it once slot {next} is known, too"),
            None => "applies it".into(),
        };
        let value = print::value(value);
        let effect = match (effect, value.as_str()) {
            (true, _) | (_, "NOP") => String::new(),
            _ => format!(", as a NOP: {value} {}", self.why_no_effect(at)),
        };
        format!("Replica {replica} {how}, and {applies}{effect}.")
    }

    /// Why a command that is decided in the slot has no effect there.
    fn why_no_effect(&self, end: usize) -> String {
        let (past, slot) = (self.facts.past, self.facts.slot);
        let here = past.before(end + 1).find_map(|(_, entry)| match &entry.event {
            Event::Applied { first, values, .. } => value_in(slot, *first, values),
            _ => None,
        });
        let Some(Value::Command(command)) = here else { return "changes nothing".into() };
        let lower = past.from(0).find_map(|(_, entry)| match &entry.event {
            Event::Applied { first, values, effects, .. } => {
                let slots = (first.0..).zip(values.to_vec()).zip(effects);
                let mut same = slots.filter(|((other, value), effect)| {
                    let same = matches!(value, Value::Command(other) if is_same(other, &command));
                    *other < slot.0 && **effect && same
                });
                same.next().map(|((slot, _), _)| slot)
            }
            _ => None,
        });
        match lower {
            Some(lower) => format!("stands in slot {lower} already"),
            None => "is not the next line of its session".into(),
        }
    }
}

impl Vote<'_> {
    fn id(&self) -> Option<String> {
        self.message.map(|sent| sent.id.to_owned())
    }
}
