//! Compares what `why` says with the roles themselves, in all golden scripts.

use crate::commands::Session;
use crate::file::{all, command_of};
use history::why::{COLUMNS, Teller};
use multipaxos::types::Slot;
use std::path::Path;

/// The number of slots of each script that are checked.
const SLOTS_MAX: u64 = 8;

#[test]
fn in_every_script_why_agrees_with_the_roles_and_knows_how_each_slot_was_learned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scripts");
    let (mut told, mut applied) = (0, 0);
    for script in all(&folder) {
        let mut session = Session::default();
        for command in script.lines().filter_map(|(_, line)| command_of(line)) {
            session.run(command).expect("a golden script runs");
            let stage = session.stage().expect("there is a cluster");
            let end = stage.nodes.iter().map(|node| node.chat_log.len() as u64).max();
            let teller = Teller::new(&stage.history);
            for slot in (0..=end.unwrap_or(0).min(SLOTS_MAX)).map(Slot) {
                let (lines, entry) = (teller.why(slot), teller.entry(slot));
                let context = format!("{} after {command}: slot {slot}: {lines:#?}", script.name());
                for node in stage.nodes.iter().filter(|node| node.is_started()) {
                    let has = node.learner().is_some_and(|learner| learner.applied() > slot);
                    assert_eq!(entry.applied_by.contains(&node.id), has, "{context}");
                    applied += u64::from(has);
                }
                assert!(entry.applied_by.is_empty() || !entry.chosen.is_empty(), "{context}");
                for line in &lines {
                    // `why` says this of a slot if nothing explains how the replica learned it.
                    assert!(!line.contains("knows that it is decided, and"), "{context}");
                    assert!(!line.trim().is_empty(), "an empty line would end a block: {context}");
                    assert!(line.chars().count() <= COLUMNS + 8, "{context}");
                }
                told += lines.len();
            }
        }
    }
    assert!(told > 1_000 && applied > 1_000, "{told} lines, {applied} slots applied");
}
