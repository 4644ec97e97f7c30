//! The cluster file: arbitrary bytes, and files that were changed.
//!
//! **What must hold.** No panic. If a file is refused, the error is one line that names the
//! file. If it is accepted, it lists 2f+1 different addresses, and says the same when it is
//! written again. (A host name would go to a resolver. So a file with a name is read for a
//! cluster of another size, which the code refuses before it asks the resolver.)

use crate::edit::{self, edits};
use crate::run::{Property, repeat};
use fastrand::Rng;
use multipaxos::config::{Config, F_MAX};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

const PIECES: [&str; 22] = [
    "127.0.0.1",
    "10.0.0.2",
    "::1",
    "[::1]",
    "[fe80::2]",
    " ",
    "\t",
    "7001",
    "7002",
    "65535",
    "0",
    "65536",
    "-1",
    "+7",
    "\n",
    "\n",
    "\r\n",
    "# who",
    "\u{feff}",
    "[",
    "]",
    "1.1.1.1 1\n2.2.2.2 2\n3.3.3.3 3",
];

fn drawn(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..3) {
        0 => (0..rng.usize(..12)).flat_map(|_| PIECES[rng.usize(..PIECES.len())].bytes()).collect(),
        _ => {
            let row = |id: u64, rng: &mut Rng| match rng.u8(..6) {
                0 => format!("[::1]:{id} 7{id:03}\n"),
                1 if id == 2 => format!("127.0.0.2 {}\n", rng.u64(..3)),
                1 => format!("  ::{id} 7{id:03} # {id}\n\n"),
                _ => format!("127.0.0.{id} 7{id:03}\n"),
            };
            (1..=2 * rng.u64(..4) + 1).flat_map(|id| row(id, rng).into_bytes()).collect()
        }
    }
}

/// Whether every host can be an address. Then no resolver is asked.
fn has_only_addresses(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    String::from_utf8_lossy(bytes).split('\n').all(|line| {
        let host = line.split('#').next().unwrap_or_default().split_whitespace().next();
        host.is_none_or(|host| {
            let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            inner.unwrap_or(host).parse::<IpAddr>().is_ok()
        })
    })
}

#[test]
fn a_cluster_file_is_understood_or_refused_in_one_line() {
    let name = "cluster_file::a_cluster_file_is_understood_or_refused_in_one_line";
    let property = Property { name, cases: 15_000, cost: 150 };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.txt");
    let (mut cases, mut taken) = (0, 0);
    repeat(property, |_, rng| {
        cases += 1;
        let mut bytes = if rng.u8(..8) == 0 { edit::bytes(rng, 80) } else { drawn(rng) };
        if rng.bool() {
            let other = drawn(rng);
            edits(rng, &mut bytes, &other);
        }
        let rows = bytes.iter().filter(|byte| **byte == b'\n').count();
        let f = match (has_only_addresses(&bytes), rng.u8(..16)) {
            (false, _) => Some(F_MAX - usize::from(rows >= 2 * F_MAX)),
            (true, 0) => Some(rng.usize(..F_MAX + 3)),
            (true, 1..4) => None,
            (true, _) => Some(rows.saturating_sub(1) / 2),
        };
        fs::write(&path, &bytes).unwrap();
        match Config::load(&path, f, None) {
            Err(error) => {
                let said = error.to_string();
                assert!(!said.contains('\n'), "{said:?}");
                let names = said.contains(&path.display().to_string()) || f > Some(F_MAX);
                assert!(names, "{said}");
            }
            Ok(config) => {
                taken += 1;
                assert_eq!((config.f, config.n()), (f.unwrap_or(config.f), 2 * config.f + 1));
                let different: BTreeSet<_> = config.replicas.iter().map(|r| r.address).collect();
                assert_eq!(different.len(), config.n());
                assert!(config.replicas.iter().all(|replica| replica.port != 0));
                let rows = config.replicas.iter().map(|r| format!("{} {}\n", r.host, r.port));
                fs::write(&path, rows.collect::<String>()).unwrap();
                let again = Config::load(&path, f, None).unwrap();
                let key = |config: &Config| {
                    let each = config.replicas.iter();
                    each.map(|r| (r.host.clone(), r.port, r.address)).collect::<Vec<_>>()
                };
                assert_eq!(key(&again), key(&config));
            }
        }
    });
    if property.is_full() {
        assert!(taken > cases / 20, "of {cases} only {taken} were understood");
    }
}
