//! Runs that are recorded: they are the same runs, and their histories explain every slot.

use history::why::Teller;
use history::{Event, History};
use multipaxos::types::Slot;
use simulator::{Options, Switches, run};
use std::collections::BTreeSet;

const SEEDS: u64 = 40;

/// The slots of a run whose stories are read.
const STORIES_MAX: usize = 12;

/// The slots that some replica has applied in this history.
fn applied(history: &History) -> BTreeSet<u64> {
    let slots = history.entries.iter().filter_map(|entry| match &entry.event {
        Event::Applied { first, values, .. } => Some(first.0..first.0 + values.len() as u64),
        _ => None,
    });
    slots.flatten().collect()
}

#[test]
fn a_recorded_run_is_the_same_run_and_its_history_explains_every_slot() {
    // What a copy of a replica does beside it, no replica's history tells.
    let options = Options {
        switches: Switches { strangers: false, ..Switches::ALL },
        record: true,
        ..Options::default()
    };
    let (mut told, mut arrived, mut lost, mut repeated, mut cut) = (0, 0, 0, 0, 0);
    for seed in 1..=SEEDS {
        let plain = run(seed, Options { record: false, ..options });
        let report = run(seed, options);
        assert_eq!((report.hash, report.lines), (plain.hash, plain.lines), "seed {seed}");
        let (history, is_cut) = report.recorded.expect("it was to be recorded");
        let slots = applied(&history);
        if is_cut {
            cut += 1;
            continue;
        }
        let teller = Teller::new(&history);
        for slot in slots.iter().copied().rev().take(STORIES_MAX) {
            let (lines, entry) = (teller.why(Slot(slot)), teller.entry(Slot(slot)));
            let context = format!("seed {seed}, slot {slot}: {lines:#?}");
            let chosen: BTreeSet<&str> =
                entry.chosen.iter().map(|(_, value, _)| value.as_str()).collect();
            assert_eq!(chosen.len(), 1, "{context}");
            assert!(lines[0].contains("is decided"), "{context}");
            told += lines.len();
        }
        for entry in &history.entries {
            match entry.event {
                Event::Arrived { .. } => arrived += 1,
                Event::Lost { .. } => lost += 1,
                Event::Repeated { .. } => repeated += 1,
                _ => {}
            }
        }
    }
    assert!(told > 1_000 && cut < SEEDS / 4, "{told} lines, {cut} runs cut short");
    assert!(arrived > lost && lost > 1_000 && repeated > 1_000, "{arrived} {lost} {repeated}");
}
