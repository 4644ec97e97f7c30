//! A counter on three replicas in one process: the smallest service there is.
//!
//!     cargo run --example counter
//!
//! The replicas live in a simulated world, without sockets or disks ([`Cluster`]). For real ones
//! see the example `store`.

use multipaxos::{BadSnapshot, Response, StateMachine};
use simulator::Cluster;

/// Counts. Any command but `read` adds one, and each is answered with the count.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    fn apply(&mut self, command: &[u8]) -> Response {
        if command != b"read" {
            self.0 += 1;
        }
        self.0.to_string().into()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
        let bytes = snapshot.try_into().map_err(|_| BadSnapshot::new("not eight bytes"))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

fn main() {
    let mut cluster = Cluster::new(3, Counter::default);
    let client = cluster.client();
    for replica in 0..3 {
        for _ in 0..3 {
            let count = cluster.call(client, b"add").expect("a quorum runs");
            println!("{}", String::from_utf8_lossy(&count));
        }
        // The one that led until now dies, and another one goes on with its count.
        cluster.crash(replica);
        let count = cluster.call(client, b"read").expect("a quorum runs");
        println!("without replica {replica}: {}", String::from_utf8_lossy(&count));
        cluster.restart(replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulator::check;

    #[test]
    fn the_count_outlives_each_of_the_replicas() {
        main();
    }

    #[test]
    fn a_counter_counts_each_command_once_under_all_faults() {
        check(0..50, Counter::default, |rng| vec![b'x'; rng.usize(..9)]).unwrap();
    }
}
