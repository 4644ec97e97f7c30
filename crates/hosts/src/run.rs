//! Runs the table, and says which rows did something else than it says.
//!
//! Two rows run side by side, each in namespaces and on a thread of its own; rows that take
//! both cores run after them, one by one. A row prints one line when it has ended.

use crate::quota;
use crate::row::{Row, Seen, Today};
use crate::tools::Tools;
use crate::trial;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// So many rows run side by side.
const SIDE_BY_SIDE: usize = 2;

/// What to do about a row that holds and was known to fail.
const HOLDS_NOW: &str = "it was known to fail: move it to Today::Holds in crates/hosts/src/rows.rs";

/// How to run rows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The folder of the programs.
    pub bin: PathBuf,
    /// Each row has a folder in it.
    pub log_dir: PathBuf,
    /// How often each row runs.
    pub times: u64,
    /// Seeds the relays.
    pub seed: u64,
}

/// A row, and which time it is, from 1.
type Turn<'a> = (&'a Row, u64);

/// How a row compares with what the table says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It holds, as it should.
    Holds,
    /// It fails, as is known.
    FailsAsKnown,
    /// It holds or fails, and either is known.
    Wavers,
    /// Something is missing on this host.
    Skipped(&'static str),
    /// It should hold, and does not; or a guarantee is broken.
    Fails,
    /// It is known to fail, and holds.
    HoldsNow,
    /// The harness could not run it.
    Error,
}

impl Verdict {
    fn of(row: &Row, seen: &Seen) -> Verdict {
        if seen.unsafe_because.is_some() {
            return Verdict::Fails;
        }
        match (row.today, row.broken(seen).is_empty()) {
            (Today::Holds, true) => Verdict::Holds,
            (Today::Holds, false) => Verdict::Fails,
            (Today::Fails(_), false) => Verdict::FailsAsKnown,
            (Today::Fails(_), true) => Verdict::HoldsNow,
            (Today::Wavers(_), _) => Verdict::Wavers,
        }
    }

    fn word(&self) -> String {
        match self {
            Verdict::Holds => "holds".into(),
            Verdict::FailsAsKnown => "fails, as known".into(),
            Verdict::Wavers => "wavers".into(),
            Verdict::Skipped(missing) => format!("SKIP {missing}"),
            Verdict::Fails => "FAILS".into(),
            Verdict::HoldsNow => "HOLDS NOW".into(),
            Verdict::Error => "ERROR".into(),
        }
    }

    fn is_fine(&self) -> bool {
        !matches!(self, Verdict::Fails | Verdict::HoldsNow | Verdict::Error)
    }
}

/// Runs rows, and returns whether each did what the table says.
pub fn run_table(rows: &[&Row], plan: &Plan) -> Result<bool, String> {
    fs::create_dir_all(&plan.log_dir)
        .map_err(|error| format!("cannot make {}: {error}", plan.log_dir.display()))?;
    let _lock = lock(plan)?;
    quota::sweep();
    let tools = Tools::find();
    let turns = (1..=plan.times).flat_map(|time| rows.iter().map(move |row| (*row, time)));
    let (alone, beside): (Vec<Turn>, Vec<Turn>) = turns.partition(|(row, _)| row.alone);
    let began = Instant::now();
    let mut verdicts = side_by_side(&beside, SIDE_BY_SIDE, plan, tools);
    verdicts.extend(side_by_side(&alone, 1, plan, tools));
    quota::sweep();
    let count = |like: fn(&Verdict) -> bool| verdicts.iter().filter(|v| like(v)).count();
    let text = format!(
        "{} rows in {:.0} s: {} hold, {} fail as known, {} waver, {} skipped, {} differ",
        verdicts.len(),
        began.elapsed().as_secs_f64(),
        count(|v| *v == Verdict::Holds),
        count(|v| *v == Verdict::FailsAsKnown),
        count(|v| *v == Verdict::Wavers),
        count(|v| matches!(v, Verdict::Skipped(_))),
        count(|v| !v.is_fine()),
    );
    let _ = writeln!(io::stdout(), "{text}");
    Ok(verdicts.iter().all(Verdict::is_fine))
}

/// One run at a time in a folder.
pub(crate) fn lock(plan: &Plan) -> Result<File, String> {
    let path = plan.log_dir.join("lock");
    let file =
        File::create(&path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another run uses {}", plan.log_dir.display()))?;
    Ok(file)
}

/// Runs rows, so many at a time.
fn side_by_side(turns: &[Turn], width: usize, plan: &Plan, tools: Tools) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut verdicts = Vec::new();
        while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
            verdicts.push(take(turn, plan, tools));
        }
        verdicts
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..width).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|_| vec![Verdict::Error]))
            .collect()
    })
}

/// Runs a row once and prints its line.
fn take((row, time): &Turn, plan: &Plan, tools: Tools) -> Verdict {
    let began = Instant::now();
    if let Some(missing) = tools.missing(&row.world) {
        let verdict = Verdict::Skipped(missing);
        print(row, &verdict, began, &[]);
        return verdict;
    }
    let folder = plan.log_dir.join(folder_name(row.name, *time));
    let _ = fs::remove_dir_all(&folder);
    // The row moves its thread to other networks, and the kernel binds its processes to the
    // thread.
    let ran = thread::scope(|scope| {
        scope.spawn(|| trial::run(row, &plan.bin, &folder, plan.seed)).join()
    });
    let ran = ran.unwrap_or_else(|_| Err("the harness panicked".into()));
    let (verdict, mut lines) = match &ran {
        Ok(seen) => {
            let mut lines = vec![seen.to_string()];
            lines.extend(row.broken(seen).into_iter().map(|what| format!("broken: {what}")));
            lines.extend(seen.unsafe_because.iter().map(|why| format!("UNSAFE: {why}")));
            (Verdict::of(row, seen), lines)
        }
        Err(error) => (Verdict::Error, vec![error.clone()]),
    };
    match verdict {
        Verdict::HoldsNow => {
            lines.push(HOLDS_NOW.into());
        }
        Verdict::Fails => lines.push(format!("files: {}", folder.display())),
        _ => {}
    }
    print(row, &verdict, began, &lines);
    verdict
}

/// Each time has a folder of its own, as two may run side by side.
fn folder_name(row: &str, time: u64) -> String {
    if time == 1 { row.to_owned() } else { format!("{row}.{time}") }
}

fn print(row: &Row, verdict: &Verdict, began: Instant, lines: &[String]) {
    let took = began.elapsed().as_secs_f64();
    let mut text = format!("{:36}  {:15}  {took:5.1} s", row.name, verdict.word());
    for line in lines {
        text += &format!("\n    {}", line.replace('\n', "\n    "));
    }
    // If nobody reads it, the exit code still tells.
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Must;
    use crate::rows::TABLE;

    #[test]
    fn no_two_turns_share_a_folder() {
        let turns = (1..4).flat_map(|time| TABLE.iter().map(move |row| (row.name, time)));
        let mut names: Vec<String> = turns.map(|(row, time)| folder_name(row, time)).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn a_row_that_holds_against_what_is_known_fails_the_run() {
        let good = Seen { lines: (1, 1), leaders: 1, ..Seen::default() };
        let bad = Seen { leaders: 2, ..good.clone() };
        let broken = Seen { unsafe_because: Some("a log differs".into()), ..good.clone() };
        let verdict = |today, seen: &Seen| {
            let row = Row { must: &[Must::LeadersAtMost(1)], today, ..TABLE[0] };
            let verdict = Verdict::of(&row, seen);
            (verdict.is_fine(), verdict)
        };
        assert_eq!(verdict(Today::Holds, &good), (true, Verdict::Holds));
        assert_eq!(verdict(Today::Holds, &bad), (false, Verdict::Fails));
        assert_eq!(verdict(Today::Fails(""), &bad), (true, Verdict::FailsAsKnown));
        assert_eq!(verdict(Today::Fails(""), &good), (false, Verdict::HoldsNow));
        for seen in [&good, &bad] {
            assert_eq!(verdict(Today::Wavers(""), seen), (true, Verdict::Wavers));
        }
        for today in [Today::Holds, Today::Fails(""), Today::Wavers("")] {
            assert_eq!(verdict(today, &broken), (false, Verdict::Fails), "{today:?}");
        }
    }
}
