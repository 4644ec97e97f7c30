//! What a replica meets in the simulator instead of the real world.

pub mod disk;
