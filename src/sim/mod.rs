pub mod queue;
pub mod trace;
