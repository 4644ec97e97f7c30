//! Random and malicious inputs: thousands in each test run, hundreds of millions with
//! `make fuzz`.
//!
//! The head of each module says what it attacks and what must hold:
//!
//! - `frames`, `parts`, `joining`: the contents of a datagram;
//! - `cluster_file`: the contents of the cluster file;
//! - `acceptor_log`, `decided_log`, `data_dir`: damaged disks;
//! - `roles`, `client`, `warm_up`: well-formed messages, from wrong senders, in wrong states,
//!   at any time;
//! - `floods`: so much of one kind that some bound must hold;
//! - `finds`: the bugs that were found, each as a test with a name.
//!
//! **Two methods.** Where inputs are small and tried by the million (a datagram, a list of
//! values), a plain loop with its own mutator (`edit`) is enough. It changes, opens and judges a
//! datagram in two thirds of a microsecond; a library for properties takes longer to draw one.
//! Such an input is short and needs no shrinking. Where an input is a *list* (of steps, of
//! damages, of fragments), `proptest` draws it, and removes from a failing list the elements
//! that the failure does not need. An element contains a number. When the element's turn
//! comes, the number decides what it means, so that it can refer to the state at that time.
//!
//! **Not flaky.** Every input follows from a seed and a number. The seed is fixed, and a
//! failure prints the command that repeats it. `FUZZ_CASES` is the number of inputs for the
//! decoder; other properties get as many inputs as take about the same time. `FUZZ_SEED`
//! chooses another seed. `FUZZ_CASE` runs one input of a plain loop alone.
//!
//! These tests do not measure which code they reach, and do not learn from it: that would need
//! an instrumented build. Instead they count accepted inputs, and assert that enough of them
//! get past the checks.

mod acceptor_log;
mod client;
mod cluster_file;
mod data_dir;
mod decided_log;
mod draw;
mod edit;
mod finds;
mod floods;
mod frames;
mod joining;
#[path = "../roles/memory.rs"]
mod memory;
mod node;
mod parts;
mod roles;
mod run;
mod warm_up;
