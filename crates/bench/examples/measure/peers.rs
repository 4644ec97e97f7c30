//! Figures of other systems, from a file that `make measure PEERS=FILE` names.
//!
//! A file of figures of other programs is JSON:
//!
//! ```text
//! {
//!   "build": "1a2b3c4",        the commit of ours that ran beside them
//!   "processor": "…",          as /proc/cpuinfo names it
//!   "how": "In turn, five rounds of two seconds each; medians.",
//!   "rows": [
//!     {
//!       "peer": "OmniPaxos 0.2.4, one thread a replica, TCP, in memory",
//!       "case": "in memory, one client, lines of 64 bytes",
//!       "n": 64,                lines in flight
//!       "ours": 746000,         lines a second, median of the rounds
//!       "theirs": 512000,
//!       "ratio": [1.31, 1.46, 1.52],   least, median, most of ours / theirs
//!       "ours_cpu_us": 0.88,    CPU of all replicas a line; may be left out
//!       "theirs_cpu_us": 0.91
//!     }
//!   ]
//! }
//! ```
//!
//! **Guarantee.** Figures beside another build or on another processor are refused.

use crate::machine::Machine;
use crate::table::{Spread, Table, count, rate, two_decimals};
use serde::Deserialize;
use std::path::Path;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peers {
    build: String,
    processor: String,
    how: String,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    peer: String,
    case: String,
    n: u64,
    ours: f64,
    theirs: f64,
    ratio: [f64; 3],
    ours_cpu_us: Option<f64>,
    theirs_cpu_us: Option<f64>,
}

impl Peers {
    /// # Errors
    ///
    /// If the file cannot be read, is not as it should be, or is of another build or host.
    pub(crate) fn read(file: &Path, machine: &Machine) -> Result<Peers, String> {
        let peers =
            Peers::parse(&crate::read(file)?).map_err(|e| format!("{}: {e}", file.display()))?;
        let fits = |name, theirs: &str, ours: &str| {
            if theirs == ours {
                return Ok(());
            }
            Err(format!("{}: its {name} is {theirs:?}, this one's {ours:?}", file.display()))
        };
        fits("build", &peers.build, &machine.commit)?;
        fits("processor", &peers.processor, &machine.processor)?;
        Ok(peers)
    }

    fn parse(text: &str) -> Result<Peers, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    /// The section of the document.
    pub(crate) fn shown(&self) -> String {
        let mut table =
            Table::new(&["beside", "case", "N", "ours", "theirs", "ours / theirs", "CPU a line"]);
        for row in &self.rows {
            let [least, middle, most] = row.ratio;
            let cpu = match (row.ours_cpu_us, row.theirs_cpu_us) {
                (Some(ours), Some(theirs)) => two_decimals(ours / theirs),
                _ => "–".to_owned(),
            };
            table.row(&[
                row.peer.clone(),
                row.case.clone(),
                count(row.n),
                rate(row.ours),
                rate(row.theirs),
                Spread { least, middle, most }.shown(two_decimals),
                cpu,
            ]);
        }
        format!(
            "\n## Beside others\n\n{} Figures are lines a second; CPU is that of all replicas, ours \
             / theirs. Ours write the chat log, keep sessions, and have each line checked.\n\n{}",
            self.how,
            table.text()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{ "build": "abc", "processor": "P", "how": "In turn.", "rows": [
        { "peer": "another", "case": "in memory", "n": 4096, "ours": 746000, "theirs": 512000,
          "ratio": [1.3, 1.46, 1.5], "ours_cpu_us": 1.0, "theirs_cpu_us": 2.0 },
        { "peer": "a third", "case": "synced", "n": 1, "ours": 4000, "theirs": 1000,
          "ratio": [4.0, 4.0, 4.0] } ] }"#;

    #[test]
    fn peers_have_a_row_each() {
        let shown = Peers::parse(FILE).expect("well formed").shown();
        let row = "| another | in memory | 4,096 | 746 k | 512 k | 1.46 (1.30–1.50) | 0.50 |";
        assert!(shown.contains(row), "{shown}");
        assert!(shown.contains("| a third | synced | 1 | 4.00 k | 1.00 k | 4.00 | – |"), "{shown}");
        assert!(shown.contains("In turn."), "{shown}");
    }

    #[test]
    fn a_word_that_nobody_knows_is_refused() {
        let error = Peers::parse(&FILE.replace("\"how\"", "\"who\"")).expect_err("unknown field");
        assert!(error.contains("who"), "{error}");
    }
}
