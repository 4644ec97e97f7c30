//! Running a check, and saying what came of it.

use super::bounds::Bounds;
use super::cluster::Cluster;
use super::history::{Law, Reach};
use super::story;
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::env;
use std::time::Instant;

/// How many states, repeated ones counted, are looked at where a planted bug is looked for.
const BUG_STATES_MAX: usize = 4_000_000;

/// Goes through all states within `bounds`: every law must hold in each, and what is
/// expected must be met in some.
pub(crate) fn check(name: &str, bounds: &Bounds, expected: &'static [Reach]) {
    let began = Instant::now();
    let threads = env::var("MODEL_THREADS").ok().and_then(|threads| threads.parse().ok());
    // Depth first takes little memory, and comes everywhere as well.
    let checker = Cluster::new(bounds.clone(), &Law::ALL, expected)
        .checker()
        .threads(threads.unwrap_or(1))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let seconds = began.elapsed().as_secs_f64();
    let states = checker.unique_state_count();
    let (repeated, depth) = (checker.state_count(), checker.max_depth() - 1);
    let (roles, packets, histories) = checker.model().parts();
    let rate = states as f64 / seconds;
    println!("{name}");
    println!("  {states} unique states ({repeated} with repetitions), depth {depth}");
    println!("  {seconds:.1} s, {rate:.0} states/s");
    println!("  {roles} states of roles, {packets} packets, {histories} histories");
    let found = checker.discoveries();
    let (mut faults, mut broken) = (Vec::new(), false);
    for property in checker.model().properties() {
        let what = property.name;
        let (fine, verdict) = match (&property.expectation, found.contains_key(what)) {
            (Expectation::Sometimes, true) => (true, "met:     "),
            (Expectation::Sometimes, false) => (false, "NOT MET: "),
            (_, false) => (true, "holds:   "),
            (_, true) => (false, "BROKEN:  "),
        };
        println!("  {verdict}{what}");
        if !fine {
            faults.push(format!("{verdict}{what}"));
            broken |= property.expectation != Expectation::Sometimes;
        }
    }
    if faults.is_empty() {
        println!("  {} steps compared among equal roles", checker.model().compare_twins());
        return;
    }
    if broken && let Some(story) = nearest(bounds, &Law::ALL).found {
        println!("the shortest execution that breaks a law:\n{story}");
    }
    println!(
        "repeat: cargo test --test model_check -- --include-ignored --nocapture --exact {name}"
    );
    panic!("{name}: {}", faults.join("; "));
}

/// Goes through states within `bounds`, nearest first, until one of the laws is broken: then
/// it is an error that tells the shortest execution to there.
pub(crate) fn search(name: &str, bounds: &Bounds, laws: &'static [Law]) -> Result<String, String> {
    let began = Instant::now();
    let Nearest { states, found } = nearest(bounds, laws);
    let seconds = began.elapsed().as_secs_f64();
    match found {
        None => Ok(format!("{name}: every law holds in {states} states, {seconds:.1} s")),
        Some(story) => Err(format!("{name}: found in {states} states, {seconds:.1} s\n{story}")),
    }
}

/// A search for a broken law.
struct Nearest {
    states: usize,
    /// The shortest execution that breaks one, told.
    found: Option<String>,
}

fn nearest(bounds: &Bounds, laws: &'static [Law]) -> Nearest {
    let checker = Cluster::new(bounds.clone(), laws, &[])
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(BUG_STATES_MAX)
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let law = |what| Law::ALL.into_iter().find(|law| law.what() == what).expect("a law was broken");
    let ways = checker.discoveries().into_iter();
    let ways = ways.map(|(what, path)| (law(what), path.into_actions()));
    // Where one execution breaks several, the first in their order says most.
    let found = ways.min_by_key(|(law, actions)| (actions.len(), *law as usize));
    let found = found.map(|(law, actions)| {
        let (turns, given, history) = checker.model().follow(&actions);
        story::tell(bounds, law, &turns, given, &history)
    });
    Nearest { states, found }
}
