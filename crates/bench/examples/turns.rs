//! How long the turns of a learner with very many clients are, and what it takes in memory.
//!
//! One learner with its decided log on a real disk, in one thread and without a cluster, is
//! given lines of as many clients as the first argument says (1,000,000), then as many again.
//! It prints the longest turns, and the memory of this process:
//!
//! ```text
//! cargo run --release -p bench --example turns -- 1000000
//! ```
//!
//! `tests/counts.rs` bounds what is counted here: bytes a client, sessions a turn.

use durable::disk::RealDisk;
use multipaxos::message::{Request, ToLearner, Voter};
use multipaxos::paxos::learner::{Checkpoint, Input, Learner};
use multipaxos::paxos::{Limits, Membership, Outbox, Role, Settings};
use multipaxos::storage::Durability;
use multipaxos::storage::decided_log::{DecidedLog, Location};
use multipaxos::storage::upkeep::Upkeep;
use multipaxos::types::{BootId, ClusterId, DirectoryId, ReplicaId, Slot, Time};
use multipaxos::values::Values;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::time::Instant;

/// The lines of a turn.
const TURN_SLOTS: u64 = 256;

fn learner() -> Learner {
    let settings = Settings {
        id: ReplicaId(0),
        n: 3,
        places: 3,
        boot: BootId(1),
        payload_bytes: 1_300,
        heartbeat_us: 50_000,
        election_min_us: 300_000,
        election_max_us: 600_000,
        checkpoint_slots: 16_384,
        skip_slot: None,
        limits: Limits::DEFAULT,
    };
    let members: Vec<DirectoryId> = [1, 2, 3].map(DirectoryId).to_vec();
    let voter = Voter { directory: members[0], boot: settings.boot, begun: 0 };
    let membership =
        Membership { cluster: ClusterId(1), voter, members, memories: Vec::new(), fresh: true };
    Learner::new(settings, membership, Checkpoint::default())
}

/// Line `seq` of each of the next clients, from the one with number `from` on. Their ids are in no
/// order, as if they were drawn.
fn values(from: u64, seq: u64) -> Values {
    let line = |number: u64| {
        let client = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Request::new(client, !client, seq, "a line").commands
    };
    let lines: Vec<Values> = (from..from + TURN_SLOTS).map(line).collect();
    lines.iter().flat_map(Values::iter).collect()
}

/// How long this thread has been on a processor. On a busy host the time that passes also counts
/// what others do.
fn on_cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// How much memory this process has in use, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    let clients: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |clients| clients.parse())?;
    let dir = tempfile::tempdir_in(".")?;
    let disk = || RealDisk::open(dir.path());
    let (log_dir, data, directory) = (disk()?, disk()?, DirectoryId(1));
    let place = Location {
        log_dir,
        name: "learner0.txt",
        data,
        directory,
        others: true,
        host: multipaxos::machine::Host::CHAT,
    };
    let mut log = DecidedLog::create(place, Durability::Sync)?;
    let (mut role, mut out, mut envelopes) = (learner(), Outbox::new(), Vec::new());
    let mut before = 0;
    let mut first = 0;
    // So many few clients have the numbers below those of the others.
    let few = 1 << 14;
    let all = clients.next_multiple_of(TURN_SLOTS);
    for (what, from, count, seq) in
        [("few clients", 0, few, 0), ("new clients", few, all, 0), ("the same again", few, all, 1)]
    {
        let (mut turns, mut cpu, mut most_kib) = (Vec::new(), Vec::new(), before);
        for from in (from..from + count).step_by(TURN_SLOTS as usize) {
            let values = values(from, seq);
            let page = ToLearner::Page { first: Slot(first), values };
            let (began, began_ms) = (Instant::now(), on_cpu_ms());
            role.handle(Time(first), 0, Input::Peer(ReplicaId(1), page), &mut out);
            role.flush(Time(first), &mut out);
            out.commit_into(&mut log, &mut envelopes)?;
            log.settle()?;
            turns.push(began.elapsed().as_secs_f64() * 1e3);
            cpu.push(on_cpu_ms() - began_ms);
            first += TURN_SLOTS;
            most_kib = most_kib.max(resident_kib());
        }
        println!(
            "{what}: {} sessions, {} turns of {TURN_SLOTS} lines",
            role.chat().sessions(),
            turns.len()
        );
        for (what, mut turns) in [("passed", turns), ("on a processor", cpu)] {
            turns.sort_by(f64::total_cmp);
            let at = |below: usize| turns[turns.len() - 1 - turns.len() / below];
            let (median, p99, longest) = (at(2), at(100), turns[turns.len() - 1]);
            println!("  ms {what}: median {median:.2}, p99 {p99:.2}, longest {longest:.2}");
        }
        let mib = |kib: u64| kib.saturating_sub(before) as f64 / 1024.0;
        println!(
            "  MiB more than before: {:.1}, at most {:.1}",
            mib(resident_kib()),
            mib(most_kib)
        );
        if before == 0 {
            before = resident_kib();
        }
    }
    Ok(())
}
