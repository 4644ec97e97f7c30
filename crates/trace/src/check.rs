//! Replays every role of every life, compares all of them, and says what came of it.

use crate::files::{Files, Life};
use crate::invariants::{Findings, compare};
use crate::replay::{Replay, replay, roles};

/// What came of it.
#[derive(Debug)]
pub struct Checked {
    /// In words, a line each.
    pub lines: Vec<String>,
    /// Whether nothing differs, and no invariant is broken.
    pub is_good: bool,
}

/// Checks all traces.
pub fn check(files: &Files) -> Checked {
    let (lives, lost) = files.lives();
    let mut checked = Checked { lines: lost, is_good: !lives.is_empty() };
    lives.iter().for_each(|life| checked.replays(life));
    checked.says(&compare(&lives));
    let verdict = if checked.is_good { "PASS" } else { "FAIL" };
    let (count, es) = (lives.len(), if lives.len() == 1 { "" } else { "es" });
    checked.lines.push(format!("{verdict}  {count} process{es}"));
    checked
}

impl Checked {
    fn replays(&mut self, life: &Life<'_>) {
        let replays = roles(life.who()).iter().map(|stream| (*stream, replay(life, *stream)));
        let replays: Vec<_> = replays.collect();
        let sum = |count: fn(&Replay) -> u64| replays.iter().map(|(_, it)| count(it)).sum::<u64>();
        let (inputs, turns, skipped) =
            (sum(|it| it.inputs), sum(|it| it.turns), sum(|it| it.skipped));
        let end = if life.end.is_some() { "" } else { "; it has not said that it ends" };
        let skipped = match skipped {
            0 => String::new(),
            skipped => format!(", {skipped} records cannot be replayed"),
        };
        self.lines.push(format!(
            "{life}: {inputs} inputs replayed, {turns} turns gave out the same{skipped}{end}"
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
    }

    fn says(&mut self, findings: &Findings) {
        let Findings { slots, chosen, applied, completed, faults, more } = findings;
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
