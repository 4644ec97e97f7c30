//! Runs a property: how many inputs, from which seed, and how to repeat one.

use fastrand::Rng;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use seeds::{derive_seed, stream};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Instant;

/// The seed, unless `FUZZ_SEED` gives another.
const SEED: u64 = 1;

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number"));
    Some(number)
}

fn seed() -> u64 {
    number_from("FUZZ_SEED").unwrap_or(SEED)
}

/// A property: its name, the number of cases in a normal test run, and the number of the
/// decoder's inputs that take as long as one case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) cases: u64,
    pub(crate) cost: u64,
}

impl Property {
    fn cases(self) -> u64 {
        number_from("FUZZ_CASES").map_or(self.cases, |inputs| (inputs / self.cost).max(1))
    }

    /// Whether there are enough cases to assert something about all of them together.
    pub(crate) fn is_full(self) -> bool {
        number_from("FUZZ_CASE").is_none() && self.cases() >= self.cases
    }

    fn report(self, inputs: u64, began: Instant) {
        let seconds = began.elapsed().as_secs_f64();
        let rate = inputs as f64 / seconds.max(1e-9);
        println!("{}: {inputs} inputs in {seconds:.1} s, {rate:.0} a second", self.name);
    }

    fn generator(self, case: u64) -> Rng {
        stream(derive_seed(seed(), self.name).wrapping_add(case), "case")
    }
}

/// If a case panics, prints how to repeat it.
struct Repeat {
    name: &'static str,
    case: u64,
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (Repeat { name, case }, seed) = (self, seed());
            eprintln!(
                "repeat it with: FUZZ_SEED={seed} FUZZ_CASE={case} cargo test --test fuzz {name}"
            );
        }
    }
}

/// A plain loop. `case` gets its number and its own generator.
pub(crate) fn repeat(property: Property, mut case: impl FnMut(u64, &mut Rng)) {
    let mut once = |number: u64| {
        let _repeat = Repeat { name: property.name, case: number };
        case(number, &mut property.generator(number));
    };
    if let Some(number) = number_from("FUZZ_CASE") {
        return once(number);
    }
    let (began, cases) = (Instant::now(), property.cases());
    (0..cases).for_each(once);
    property.report(cases, began);
}

thread_local! {
    /// The message of a panic of this thread, which is kept instead of being printed.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A list that is being shortened fails many times. Only the last failure is printed.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| match QUIET.get() {
            true => CAUGHT.set(Some(info.to_string())),
            false => loud(info),
        }));
    });
}

/// Draws from `strategy`, and shortens what fails. `test` returns the number of inputs that it
/// used, and fails by a panic.
pub(crate) fn check<S: Strategy>(
    property: Property,
    strategy: S,
    mut test: impl FnMut(S::Value) -> u64,
) {
    hush();
    let cases = u32::try_from(property.cases()).expect("FUZZ_CASES fits 32 bits here");
    let seed = seed();
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(derive_seed(seed, property.name)),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let (began, mut inputs) = (Instant::now(), 0);
    let test = RefCell::new(&mut test);
    let counted = Cell::new(0);
    let run = TestRunner::new(config).run(&strategy, |value| {
        QUIET.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (test.borrow_mut())(value)));
        QUIET.set(false);
        match outcome {
            Ok(inputs) => {
                counted.set(counted.get() + inputs);
                Ok(())
            }
            Err(_) => Err(TestCaseError::fail(CAUGHT.take().unwrap_or_default())),
        }
    });
    inputs += counted.get();
    if let Err(error) = run {
        panic!(
            "{error}\nrepeat it with: FUZZ_SEED={seed} FUZZ_CASES={} cargo test --test fuzz {}",
            u64::from(cases) * property.cost,
            property.name
        );
    }
    property.report(inputs, began);
}
