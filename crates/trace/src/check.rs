//! Replays every role of every life, compares all of them, and says what came of it.

use crate::files::{Files, Life};
use crate::invariants::{Findings, compare};
use crate::replay::{Replay, replay, roles};
use serde_json::{Value, json};

/// What came of it.
#[derive(Debug)]
pub struct Checked {
    /// By life: what became of its replay, for programs.
    pub lives: Vec<Value>,
    /// What was compared, for programs.
    pub compared: Value,
    /// In words, a line each.
    pub lines: Vec<String>,
    /// Whether nothing differs, and no invariant is broken.
    pub is_good: bool,
}

/// Checks all traces.
pub fn check(files: &Files) -> Checked {
    let (lives, lost) = files.lives();
    let (all, compared) = (Vec::new(), Value::Null);
    let is_good = !lives.is_empty();
    let mut checked = Checked { lives: all, compared, lines: lost, is_good };
    let skipped: Vec<u64> = lives.iter().map(|life| checked.replays(life)).collect();
    checked.says(&compare(&lives));
    let verdict = if checked.is_good { "PASS" } else { "FAIL" };
    let (count, es) = (lives.len(), if lives.len() == 1 { "" } else { "es" });
    let partial = skipped.iter().filter(|skipped| **skipped > 0).count();
    let rest = match partial {
        0 => String::new(),
        _ => format!(
            "; {} records of {partial} of them are compared and not replayed (see the notes)",
            skipped.iter().sum::<u64>()
        ),
    };
    checked.lines.push(format!("{verdict}  {count} process{es}{rest}"));
    checked
}

impl Checked {
    /// Returns how many records could not be replayed.
    fn replays(&mut self, life: &Life<'_>) -> u64 {
        let replays = roles(life.who()).iter().map(|stream| (*stream, replay(life, *stream)));
        let replays: Vec<_> = replays.collect();
        let sum = |count: fn(&Replay) -> u64| replays.iter().map(|(_, it)| count(it)).sum::<u64>();
        let (inputs, turns, skipped) =
            (sum(|it| it.inputs), sum(|it| it.turns), sum(|it| it.skipped));
        let faults: Vec<&String> = replays.iter().filter_map(|(_, it)| it.fault.as_ref()).collect();
        self.lives.push(json!({
            "process": life.who().to_string(),
            "file": life.name(),
            "inputs": inputs,
            "turns": turns,
            "not_replayed": skipped,
            "said_that_it_ends": life.end.is_some(),
            "differs": faults.first(),
        }));
        let end = if life.end.is_some() { "" } else { "; it has not said that it ends" };
        let rest = match skipped {
            0 => String::new(),
            skipped => format!(", {skipped} records cannot be replayed"),
        };
        self.lines.push(format!(
            "{life}: {inputs} inputs replayed, {turns} turns gave out the same{rest}{end}"
        ));
        self.lines.extend(life.notes.iter().map(|note| format!("  note: {note}")));
        for (stream, replay) in replays {
            let note = |gap: &String| format!("  note: {stream}: {gap}");
            self.lines.extend(replay.gaps.iter().map(note));
            if let Some(fault) = replay.fault {
                self.is_good = false;
                self.lines.push(format!("DIFFERS  {fault}"));
            }
        }
        skipped
    }

    fn says(&mut self, findings: &Findings) {
        let Findings { slots, chosen, applied, completed, faults, more } = findings;
        self.compared = json!({
            "slots": slots,
            "chosen": chosen,
            "applied": applied,
            "completed_lines": completed,
            "broken": faults,
            "more_broken": more,
        });
        self.lines.push(format!(
            "{slots} slots have values, {chosen} of them chosen ones; {applied} are applied, and \
             {completed} completed lines were looked up"
        ));
        self.is_good &= faults.is_empty();
        self.lines.extend(faults.iter().map(|fault| format!("BROKEN  {fault}")));
        if *more > 0 {
            self.lines.push(format!("BROKEN  and {more} more"));
        }
    }
}
