//! What a replica is and takes, for Prometheus: in a file that its node exporter reads
//! (`--metrics_file`), or on a page that it scrapes (`--metrics_address`, [`super::scrape`]).
//!
//! The main thread writes it, every [`EVERY`] or [`EVERY_SERVED`]: what the roles know (they are
//! asked as an operator would ask them, and answer into a channel), what the process takes, and
//! every counter of the network. Whoever reads the file sees an old one or a new one, never half of
//! one. A clean end removes it, since it speaks of a replica that runs.
//!
//! Names and units follow Prometheus' conventions: base units, `_total` for what only grows.

use super::post::{Router, own_question};
use super::scrape::Page;
use super::usage::{self, Files};
use crate::message::{Conduct, Leadership, Status, Usage};
use crate::types::{ReplicaId, Time};
use datagrams::counters::Counters;
use interleavings::threads::Receiver;
use seldom::Seldom;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often the file is written.
const EVERY: Duration = Duration::from_secs(5);

/// How often a page is, which Prometheus takes for what is so at the moment.
const EVERY_SERVED: Duration = Duration::from_secs(1);

/// How long the roles have to answer before the file is written.
const ANSWER: Duration = Duration::from_millis(500);

/// What every name begins with.
const PREFIX: &str = "multipaxos";

/// Where the metrics go.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// A file.
    pub(super) file: Option<PathBuf>,
    /// A page that is served.
    pub(super) page: Option<Page>,
}

impl Readers {
    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        self.file.is_some() || self.page.is_some()
    }
}

/// Writes the metrics again and again.
pub(super) struct Metrics {
    id: ReplicaId,
    readers: Readers,
    files: Files,
    counters: Arc<Counters>,
    router: Router,
    answers: Receiver<Status>,
    /// When the roles are asked next, or the file is written at the latest.
    next: Next,
    /// Whether the roles have begun. Before that they answer nobody.
    has_begun: bool,
    failed: Seldom,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    Asks(Time),
    Writes(Time),
}

impl Metrics {
    /// For one replica; `router` hands the question over, and `answers` brings what the roles say.
    pub(super) fn new(
        id: ReplicaId,
        readers: Readers,
        files: Files,
        counters: Arc<Counters>,
        router: Router,
        answers: Receiver<Status>,
    ) -> Metrics {
        let (next, has_begun, failed) = (Next::Asks(Time(0)), false, Seldom::new());
        Metrics { id, readers, files, counters, router, answers, next, has_begun, failed }
    }

    /// Does what is due. `has_begun`: whether warm-up is over.
    pub(super) fn look(&mut self, now: Time, has_begun: bool) {
        if has_begun && !std::mem::replace(&mut self.has_begun, true) {
            self.next = Next::Asks(now);
        }
        match self.next {
            Next::Asks(at) if now >= at => {
                // What came too late for the last time is old.
                let _ = self.answers.try_recv();
                let wait = if has_begun { ANSWER } else { Duration::ZERO };
                if has_begun {
                    own_question(&mut self.router);
                }
                self.next = Next::Writes(now.plus_us(wait.as_micros() as u64));
            }
            Next::Asks(_) => {}
            Next::Writes(at) => {
                let status = self.answers.try_recv().ok();
                if status.is_some() || now >= at {
                    self.write(now, status);
                    let every = if self.readers.page.is_some() { EVERY_SERVED } else { EVERY };
                    self.next = Next::Asks(now.plus_us(every.as_micros() as u64));
                }
            }
        }
    }

    fn write(&mut self, now: Time, status: Option<Status>) {
        let up = Duration::from_micros(now.0);
        let usage = usage::look(up, &self.files, &self.counters);
        let text = text(self.id, status.as_ref(), &usage, &self.counters);
        if let Some(file) = &self.readers.file
            && let Err(error) = replace(file, &text)
            && let Some(again) = self.failed.happened(now.0)
        {
            let (id, file) = (self.id, file.display());
            log::warn!("replica {id}: --metrics_file {file}: {error}; the replica goes on{again}");
        }
        if let Some(page) = &self.readers.page {
            *page.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    }

    /// The replica ends: nothing is left to say of it.
    pub(super) fn end(self) {
        let _ = self.readers.file.map(fs::remove_file);
    }
}

/// Writes an empty file in the place of the old one, if a replica may write there at all.
///
/// # Errors
///
/// Why it may not.
pub(super) fn begin(file: &Path) -> io::Result<()> {
    replace(file, "")
}

/// Puts `text` in the place of a file at once.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    // The collector reads what ends in .prom.
    let mut name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    fs::write(&new, text)?;
    fs::rename(&new, file)
}

/// The text.
fn text(id: ReplicaId, status: Option<&Status>, usage: &Usage, counters: &Counters) -> String {
    let mut page = Text { id, text: String::new() };
    let version = env!("CARGO_PKG_VERSION");
    page.metric("build_info", "gauge", "The version that runs.");
    page.sample("build_info", &[("version", version)], 1);
    page.one("uptime_seconds", "gauge", "How long the process has run.", usage.up_s);
    let memory = "What the process has in memory.";
    page.one("resident_memory_bytes", "gauge", memory, usage.memory_bytes);
    let disk = "What the chat log and the data directory take on the disk.";
    page.one("disk_bytes", "gauge", disk, usage.disk_bytes);
    if let Some(Status { leadership, applied, decided, .. }) = status {
        let Leadership { conduct, leader, ballot, sync_ms, .. } = *leadership;
        page.metric("conduct", "gauge", "What the replica does about leading: 1 for what it does.");
        for (name, what) in [
            ("leads", Conduct::Leads),
            ("campaigns", Conduct::Campaigns),
            ("follows", Conduct::Follows),
            ("observes", Conduct::Observes),
        ] {
            page.sample("conduct", &[("conduct", name)], u64::from(what == conduct));
        }
        let hears = "Whether the replica hears a leader, itself included.";
        page.one("hears_leader", "gauge", hears, u64::from(leader.is_some()));
        page.one("ballot", "gauge", "The highest ballot that the replica has heard of.", ballot.0);
        let slots = "Below this slot the replica has applied the log.";
        page.one("applied_slots_total", "counter", slots, applied.0);
        let slots = "Below this slot the replica knows the log to be decided.";
        page.one("decided_slots_total", "counter", slots, decided.0);
        let sync = "How long a sync of the disk takes, hardly ever longer; 0 if none was measured.";
        page.metric("sync_seconds", "gauge", sync);
        let seconds = format!("{}.{:03}", sync_ms / 1_000, sync_ms % 1_000);
        page.sample("sync_seconds", &[], seconds);
    }
    let what = "Events of the network and the inboxes; drop_ and lost_ are messages that are gone.";
    page.metric("network_events_total", "counter", what);
    for (name, count) in counters.snapshot() {
        page.sample("network_events_total", &[("event", name)], count);
    }
    page.text
}

/// Prometheus' text format.
struct Text {
    id: ReplicaId,
    text: String,
}

impl Text {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {PREFIX}_{name} {help}");
        let _ = writeln!(self.text, "# TYPE {PREFIX}_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "{PREFIX}_{name}{{replica=\"{}\"", self.id);
        for (label, value) in labels {
            let _ = write!(self.text, ",{label}=\"{value}\"");
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    /// A metric with a single sample.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Ballot, Slot};
    use datagrams::counters::DropReason;

    fn page(status: Option<Status>) -> String {
        let counters = Counters::new();
        counters.add(DropReason::Check, 3);
        let usage = Usage { up_s: 70, memory_bytes: 5 << 20, disk_bytes: 8_192, dropped: vec![] };
        text(ReplicaId(1), status.as_ref(), &usage, &counters)
    }

    fn leads() -> Status {
        let (conduct, ballot) = (Conduct::Leads, Ballot(4));
        let leadership = Leadership {
            conduct,
            leader: Some(ballot),
            ballot,
            configuration: 0,
            members: crate::quorum::ReplicaSet::EMPTY,
            sync_ms: 1_007,
        };
        Status { leadership, applied: Slot(10), decided: Slot(12), hash: None }
    }

    #[test]
    fn what_the_roles_say_and_what_the_process_takes_is_on_the_page() {
        let page = page(Some(leads()));
        for line in [
            "# TYPE multipaxos_applied_slots_total counter",
            "multipaxos_applied_slots_total{replica=\"1\"} 10",
            "multipaxos_decided_slots_total{replica=\"1\"} 12",
            "multipaxos_ballot{replica=\"1\"} 4",
            "multipaxos_conduct{replica=\"1\",conduct=\"leads\"} 1",
            "multipaxos_conduct{replica=\"1\",conduct=\"follows\"} 0",
            "multipaxos_hears_leader{replica=\"1\"} 1",
            "multipaxos_sync_seconds{replica=\"1\"} 1.007",
            "multipaxos_uptime_seconds{replica=\"1\"} 70",
            "multipaxos_resident_memory_bytes{replica=\"1\"} 5242880",
            "multipaxos_network_events_total{replica=\"1\",event=\"drop_check\"} 3",
            "multipaxos_network_events_total{replica=\"1\",event=\"received\"} 0",
        ] {
            assert!(page.lines().any(|it| it == line), "{line}: {page}");
        }
    }

    #[test]
    fn each_metric_is_described_once_before_its_samples() {
        let page = page(Some(leads()));
        let mut described = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().expect("a name");
                assert!(!described.contains(&name), "{name}");
                described.push(name);
            } else if !line.starts_with('#') {
                let name = line.split('{').next().expect("a name");
                assert_eq!(described.last(), Some(&name), "{line}");
            }
        }
        assert!(described.len() >= 10, "{described:?}");
    }

    #[test]
    fn a_replica_whose_roles_do_not_answer_says_nothing_of_them() {
        let page = page(None);
        assert!(!page.contains("applied") && page.contains("multipaxos_uptime_seconds"), "{page}");
    }
}
