//! `driver --compare DIR`: the verdict on the chat logs of a run made by hand.
//!
//! It reads `learner<id>.txt` of a folder and judges format, contiguity, numbering and
//! agreement. A missing file counts as an empty log if a replica with a higher id has one, or
//! if the size of the cluster is known. An absent log never counts as agreement.

use super::folder::numbered;
use super::read_log;
use super::verdict::{ChatLog, compare, file_name};
use command_line::{EXIT_FAILED, one_line, say};
use multipaxos::config::cause;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Judges the folder, prints the result, and returns the exit code. `n` is the size of the
/// cluster, if it is known.
pub fn run(dir: &Path, n: Option<usize>) -> i32 {
    let shown = dir.display();
    let logs = match read(dir, n) {
        Ok(logs) => logs,
        Err(what) => {
            say(one_line(&format!("--compare {shown}: {what}")));
            return EXIT_FAILED;
        }
    };
    let text = match compare(&logs) {
        Ok(found) => {
            let (all, identical, summary) = (logs.len(), found.identical, found.summary);
            let mut text = format!(
                "PASS  {shown}: {identical} of {all} chat logs identical, {} lines, {} NOPs",
                summary.lines, summary.noops
            );
            for short in found.short {
                text += &format!("\n  {short}");
            }
            text
        }
        Err(violation) => {
            let text = format!("FAIL  {shown}: {violation}");
            // A closed stdout does not change the verdict.
            let _ = writeln!(io::stdout(), "{text}");
            return EXIT_FAILED;
        }
    };
    let _ = writeln!(io::stdout(), "{text}");
    0
}

fn read(dir: &Path, n: Option<usize>) -> Result<Vec<ChatLog>, String> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| format!("cannot read: {}", cause(&e)))? {
        let entry = entry.map_err(|e| format!("cannot read: {}", cause(&e)))?;
        let id = entry.file_name().to_str().and_then(|name| numbered(name, "learner", ".txt"));
        ids.extend(id);
    }
    let Some(&last) = ids.iter().max() else {
        return Err("no chat log (learner<id>.txt) there".into());
    };
    if last >= multipaxos::types::REPLICAS_MAX {
        return Err(format!("{} belongs to no replica", file_name(last)));
    }
    let n = n.unwrap_or(0).max(last + 1);
    (0..n)
        .map(|replica| {
            let bytes = read_log(&dir.join(file_name(replica)))?;
            Ok(ChatLog { replica, bytes, live: true })
        })
        .collect()
}
