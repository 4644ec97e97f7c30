//! Inputs that nobody would make on purpose, by the thousand; by the hundred million
//! with `make fuzz`.
//!
//! What is attacked, and what must hold, stands on top of each module:
//!
//! - `frames`, `parts`, `joining`: whatever comes in a datagram;
//! - `cluster_file`: what stands in the cluster file;
//! - `acceptor_log`, `decided_log`, `data_dir`: what a disk may have become;
//! - `roles`, `client`, `warm_up`: well-formed messages from wrong senders, in wrong
//!   states, at any time;
//! - `floods`: so much of one thing that some bound must hold;
//! - `finds`: what was found so, each as a test with a name.
//!
//! **Two ways.** Where single inputs are small and tried by the million (a datagram, a
//! list of values), a plain loop with its own mutator (`edit`) does it: a datagram is
//! changed, opened and judged in two thirds of a microsecond, where a library for properties
//! takes longer to draw it, and it needs no shrinking, for it is short. Where an input is a *list* (of steps, of
//! damages, of fragments), `proptest` draws it, and takes away from a list that breaks
//! something what is not needed for it. What each element of a list means is drawn from a
//! number in it when its turn comes, so that it can refer to the state that the steps
//! before have led to.
//!
//! **Not flaky.** Every input follows from a seed and a number, the seed is fixed, and a
//! failure prints the command that repeats it. `FUZZ_CASES` says how many inputs the
//! decoder is given, and other properties as many as take about as long; `FUZZ_SEED` names
//! another seed; `FUZZ_CASE` one input alone of the plain loops.
//!
//! What this does not do: measure which code was reached (no instrumented build), or learn
//! from it. That the inputs get past the checks is asserted instead, by counting what was
//! accepted.

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
