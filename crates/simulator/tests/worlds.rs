//! Simulated clusters in the world as it is: a few seeds of each place.
//!
//! A place whose bound is not 0 shows what is not mended yet. The bound may only go down.

use simulator::reach::{BY_BOUNDS, Reach};
use simulator::{Options, Place, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A place, how many of its first seeds run, and how many of them may fail.
type Row = (Place, u64, usize);

const ROWS: &[Row] = &[
    (Place::Lan, 10, 0),
    (Place::Wan, 40, 0),
    (Place::Globe, 40, 0),
    (Place::Satellite, 5, 0),
    (Place::Dsl, 5, 0),
    (Place::Modem, 5, 0),
    (Place::Wifi, 52, 0),
    (Place::Jitter, 40, 0),
    (Place::Tunnel, 10, 0),
    (Place::SdCard, 4, 0),
    (Place::SlowDisk, 40, 0),
    (Place::Nas, 5, 0),
    (Place::Quota, 10, 0),
    (Place::Crowd, 2, 0),
    (Place::City, 2, 0),
    (Place::Offload, 20, 0),
];

#[test]
fn every_place_keeps_the_measure_of_liveness_in_all_seeds_but_those_that_are_known() {
    let runs: Vec<(Place, u64)> =
        ROWS.iter().flat_map(|(place, seeds, _)| (1..=*seeds).map(|seed| (*place, seed))).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let reach = Mutex::new(Reach::default());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(|| {
                while let Some((place, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let options = Options { place: Some(*place), ..Options::default() };
                    let report = run(*seed, options);
                    reach.lock().expect("no thread panics").merge(&report.reach);
                    if let Some(violation) = report.violation {
                        failed.lock().expect("no thread panics").push((*place, *seed, violation));
                    }
                }
            });
        }
    });
    let reach = reach.into_inner().expect("no thread panics");
    let missed = BY_BOUNDS.into_iter().filter(|bound| reach.of(*bound) == 0);
    let missed: Vec<&str> = missed.map(|bound| bound.name()).collect();
    assert!(missed.is_empty(), "no run comes up to {missed:?}");
    let mut failed = failed.into_inner().expect("no thread panics");
    failed.sort_by_key(|(place, seed, _)| (place.name(), *seed));
    for (place, _, bound) in ROWS {
        let of_place: Vec<_> = failed.iter().filter(|(of, ..)| of == place).collect();
        let lines: Vec<String> = of_place
            .iter()
            .map(|(_, seed, violation)| {
                let what = &violation.what;
                format!("{what} — repeat: simulate --world {place} --seed {seed} --trace")
            })
            .collect();
        println!("{place}: {} of at most {bound} failed", lines.len());
        assert!(lines.len() <= *bound, "{place}\n{}", lines.join("\n"));
    }
}
