#!/usr/bin/env bash
# omnipaxos 0.2.4: what a follower appends is sent to the leader once, and kept nowhere.
#
# A good guess is that `append` on a replica that follows keeps the entry until it sees it decided:
# it returns Ok, and the replica resends its other messages on a timer. In fact the entry leaves in
# one message to the leader of that moment, and the follower forgets it. If the message is lost,
# or the leader dies before it has sent the entry on, the entry is never decided: not when another
# leader is elected, and not after any number of ticks of the resend timer. Without a known leader
# an entry is kept, and decided later. So an application that appends anywhere must look for its
# own entries among the decided ones, append those again that do not come, and tell one that comes
# twice by a number of its own.
#
# Seen (omnipaxos and omnipaxos_storage 0.2.4): "append at a follower: Ok", "after a new leader and
# 1000 ticks more: early, first, later" (the entry "forwarded" is missing, "early" was appended
# before anybody led). Fails if that changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[dependencies]
omnipaxos = "=0.2.4"
omnipaxos_storage = "=0.2.4"

[workspace]
TOML
cat > "$dir/src/main.rs" <<'RS'
use omnipaxos::macros::Entry;
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

#[derive(Clone, Debug, Entry)]
struct Word(&'static str);

type Replica = OmniPaxos<Word, MemoryStorage<Word>>;

/// Lets the time of all that live pass, and delivers what they send each other.
fn run(replicas: &mut [Replica], live: &[usize], ticks: usize) {
    for _ in 0..ticks {
        for index in live {
            replicas[*index].tick();
        }
        for _ in 0..4 {
            for from in live {
                let mut out = Vec::new();
                replicas[*from].take_outgoing_messages(&mut out);
                for message in out {
                    let to = message.get_receiver() as usize - 1;
                    if live.contains(&to) {
                        replicas[to].handle_incoming(message);
                    }
                }
            }
        }
    }
}

fn decided(replica: &Replica) -> String {
    let entries = replica.read_decided_suffix(0).unwrap_or_default();
    let words = entries.into_iter().filter_map(|entry| match entry {
        LogEntry::Decided(word) => Some(word.0),
        _ => None,
    });
    words.collect::<Vec<_>>().join(", ")
}

fn main() {
    let mut replicas: Vec<Replica> = (1..=3)
        .map(|pid| {
            let cluster_config =
                ClusterConfig { configuration_id: 1, nodes: vec![1, 2, 3], ..Default::default() };
            let server_config = ServerConfig { pid, ..Default::default() };
            let config = OmniPaxosConfig { cluster_config, server_config };
            config.build(MemoryStorage::default()).expect("a valid configuration")
        })
        .collect();
    replicas[0].append(Word("early")).expect("it is taken, although nobody leads yet");
    run(&mut replicas, &[0, 1, 2], 100);
    let leader = replicas[0].get_current_leader().expect("one leads").0 as usize - 1;
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    replicas[others[0]].append(Word("first")).expect("it is taken");
    run(&mut replicas, &[0, 1, 2], 100);
    assert_eq!(decided(&replicas[others[0]]), "early, first", "all live: what a follower appends is decided");

    let said = replicas[others[0]].append(Word("forwarded"));
    println!("append at a follower: {}", if said.is_ok() { "Ok" } else { "Err" });
    // The leader dies before it has received anything more.
    run(&mut replicas, &others, 1_000);
    let now = replicas[others[0]].get_current_leader().expect("another leads").0 as usize - 1;
    assert!(now != leader && others.contains(&now));
    replicas[others[0]].append(Word("later")).expect("it is taken");
    run(&mut replicas, &others, 1_000);
    assert_eq!(decided(&replicas[others[0]]), decided(&replicas[others[1]]));
    println!("after a new leader and 1000 ticks more: {}", decided(&replicas[others[0]]));
}
RS
out=$(cd "$dir" && cargo run --quiet)
echo "$out"
grep -qx 'append at a follower: Ok' <<< "$out"
grep -qx 'after a new leader and 1000 ticks more: early, first, later' <<< "$out"
