//! What was checked, as a table for people and as JSON for programs.

use serde_json::{Value, json};
use std::fmt::Write as _;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The replica will run, and something is worth a look.
    Note,
    /// The replica will not start, or not do what it is for.
    Bad,
}

impl Verdict {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Bad => "FAILS",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was looked at: a word or two.
    pub what: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What somebody has to do. Empty if nothing.
    pub advice: String,
}

impl Row {
    /// All is well.
    pub fn good(what: impl Into<String>, found: impl Into<String>) -> Row {
        let (what, found) = (what.into(), found.into());
        Row { what, verdict: Verdict::Good, found, advice: String::new() }
    }

    /// It works, but not as well as it could.
    pub fn note(
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Row {
        Row { verdict: Verdict::Note, advice: advice.into(), ..Row::good(what, found) }
    }

    /// Something must be done.
    pub fn bad(
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Row {
        Row { verdict: Verdict::Bad, advice: advice.into(), ..Row::good(what, found) }
    }
}

/// The worst verdict of these rows.
pub fn worst(rows: &[Row]) -> Verdict {
    rows.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Good)
}

/// For people: a line a check, and what to do below those that need it.
pub fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (whats, verdicts) =
        (width(|row| row.what.chars().count()), width(|row| row.verdict.name().len()));
    let mut text = String::new();
    for Row { what, verdict, found, advice } in rows {
        let verdict = verdict.name();
        let _ = writeln!(text, "{verdict:<verdicts$}  {what:<whats$}  {found}");
        if !advice.is_empty() {
            let _ = writeln!(text, "{:verdicts$}  {:whats$}  -> {advice}", "", "");
        }
    }
    text
}

/// For programs: one object in a line.
pub fn json(rows: &[Row]) -> String {
    let each = |row: &Row| {
        let Row { what, verdict, found, advice } = row;
        json!({ "what": what, "verdict": verdict.name().to_lowercase(), "found": found, "do": advice })
    };
    let checks: Vec<Value> = rows.iter().map(each).collect();
    let ok = worst(rows) < Verdict::Bad;
    json!({ "ok": ok, "checks": checks }).to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            Row::good("port", "127.0.0.1:7000 is free"),
            Row::note("replica 1", "silent", "start it"),
            Row::bad("data directory", "in use", "end the other"),
        ]
    }

    #[test]
    fn a_table_says_below_a_check_what_to_do() {
        let lines = [
            "ok     port            127.0.0.1:7000 is free",
            "note   replica 1       silent",
            "                       -> start it",
            "FAILS  data directory  in use",
            "                       -> end the other",
        ];
        assert_eq!(table(&rows()), lines.join("\n") + "\n");
    }

    #[test]
    fn json_is_good_unless_a_check_fails() {
        let ok = |rows: &[Row]| {
            let value: Value = serde_json::from_str(&json(rows)).expect("an object");
            (value["ok"].as_bool(), value["checks"].as_array().map(Vec::len))
        };
        assert_eq!(ok(&rows()), (Some(false), Some(3)));
        assert_eq!(ok(&rows()[..2]), (Some(true), Some(2)));
        assert_eq!(ok(&[]), (Some(true), Some(0)));
    }
}
