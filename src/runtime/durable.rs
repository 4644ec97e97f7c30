//! Opens the durable state of a replica that starts.
//!
//! The data directory says whether this replica is new, was here before, or counts as
//! wiped. Accordingly its logs are begun or opened. All of that is durable before the
//! first datagram leaves. Under `--durability none` the acceptor keeps its state in
//! memory, but still reads what an earlier life has left on the disk.
//!
//! **A chat log to begin with** (`--begin_from`, S9). Logs that are begun with it are made anew at
//! each start until the replica is a member, whatever a power cut has left of them. They are
//! durable before its first datagram, and the data directory notes what they began with together
//! with the started record. So no member has half of it.

use super::process::entropy;
use super::replica::ReplicaOptions;
use crate::config::cause;
use crate::machine::Host;
use crate::paxos::Storage;
use crate::paxos::acceptor::{self, Record};
use crate::paxos::learner::Checkpoint;
use crate::storage::Durability;
use crate::storage::acceptor_log::{AcceptorLog, Options};
use crate::storage::beginning::{self, Unfit};
use crate::storage::data_dir::{DataDir, Found, HostBoot, Purpose, Refused};
use crate::storage::decided_log::{DecidedLog, Location};
use crate::types::{DirectoryId, Origin, ReplicaId};
use durable::disk::{Disk, RealDisk};
use durable::error::OpenError;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};

/// How much of a chat log to begin with is read at a time.
const READ_BYTES: usize = 1 << 20;

/// Why a replica could not start.
#[derive(Debug)]
pub enum StartError {
    /// The log directory cannot be made or written. The operating system's error.
    LogDir(io::Error),
    /// The data directory cannot be made or written. The operating system's error.
    DataDir(io::Error),
    /// The file for metrics cannot be written. The operating system's error.
    MetricsFile(io::Error),
    /// The file for a trace cannot be written. The operating system's error.
    TraceFile(io::Error),
    /// The data directory belongs to another replica or cluster.
    Foreign(Refused),
    /// `--durability os` promises nothing on this host. The reason.
    Durability(String),
    /// `--begin_from` cannot be followed. The reason, with the file's name.
    Beginning(String),
    /// The state in the data directory cannot be used.
    Unusable(OpenError),
    /// Anything else, such as a full disk.
    Other(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::LogDir(error)
            | StartError::DataDir(error)
            | StartError::MetricsFile(error)
            | StartError::TraceFile(error)
            | StartError::Other(error) => write!(f, "{error}"),
            StartError::Foreign(refused) => write!(f, "{refused}"),
            StartError::Durability(why) | StartError::Beginning(why) => write!(f, "{why}"),
            StartError::Unusable(error) => write!(f, "{error}"),
        }
    }
}

/// Whether the directory cannot be written as it must be, so that the user must choose another.
fn is_unwritable(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// The reason why a directory cannot be made or opened: the user chose it wrongly, unless
/// the disk is full.
fn unusable_as(error: io::Error, chosen: fn(io::Error) -> StartError) -> StartError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StartError::Other(error),
        _ => chosen(error),
    }
}

/// A replica's durable state, opened.
pub(super) struct Durable<D: Disk> {
    pub(super) dir: DataDir<D>,
    /// The started record, if there is one.
    pub(super) members: Option<Vec<DirectoryId>>,
    /// The acceptor's log; none if its state is in memory alone.
    pub(super) log: Option<AcceptorLog<D>>,
    pub(super) state: acceptor::State,
    pub(super) chat_log: DecidedLog<D>,
    pub(super) checkpoint: Checkpoint,
}

impl Durable<RealDisk> {
    /// Opens or begins everything.
    pub(super) fn open(options: &ReplicaOptions) -> Result<Self, StartError> {
        let other = StartError::Other;
        let ReplicaOptions { id, durability, .. } = *options;
        let log_dir = || {
            RealDisk::open(&options.log_dir).map_err(|error| unusable_as(error, StartError::LogDir))
        };
        // A wrong option for it is the first to be said.
        drop(log_dir()?);
        let data = || {
            RealDisk::open(&options.data_dir)
                .map_err(|error| unusable_as(error, StartError::DataDir))
        };
        let host_boot = match HostBoot::present() {
            Ok(boot) => Some(boot),
            Err(error) if durability == Durability::Os => {
                return Err(StartError::Durability(format!(
                    "{error}: without it a power cut cannot be told from a kill: use sync, or let \
                     the process see that file (systemd: ProcSubset=all)"
                )));
            }
            Err(_) => None,
        };
        let purpose = Purpose {
            replica: id,
            n: options.config.n(),
            durability,
            host_boot,
            drawn: DirectoryId(entropy().map_err(other)?),
        };
        let file = options.begin_from.as_ref().map(|path| Beginning {
            name: path.display().to_string(),
            open: Box::new(move || File::open(path)),
        });
        let mut durable =
            Durable::open_on(purpose, &options.host, log_dir, data, Options::default(), file)?;
        durable.dir.note_uptime(|| HostBoot::present().map_or(0, |boot| boot.up_s));
        Ok(durable)
    }
}

/// The name of a replica's chat log.
pub(super) fn chat_log_name(id: ReplicaId) -> String {
    format!("learner{id}.txt")
}

impl<D: Disk> Durable<D> {
    /// The same on these disks, of which functions open the log directory and, as often as
    /// needed, the data directory.
    pub(super) fn open_on(
        purpose: Purpose,
        host: &Host,
        log_dir: impl FnOnce() -> Result<D, StartError>,
        data: impl Fn() -> Result<D, StartError>,
        kept: Options,
        file: Option<Beginning<'_>>,
    ) -> Result<Self, StartError> {
        let other = StartError::Other;
        let Purpose { replica: id, durability, n, .. } = purpose;
        let (mut dir, found) =
            DataDir::open(data()?, purpose).map_err(|refused| match refused {
                Refused::Unusable(OpenError::Io(error)) if is_unwritable(&error) => {
                    StartError::DataDir(error)
                }
                Refused::Unusable(error) => StartError::Unusable(error),
                Refused::InUse { .. } => StartError::Other(io::Error::other(refused.to_string())),
                Refused::Foreign { .. } => StartError::Foreign(refused),
                Refused::ConstantBootId => StartError::Durability(refused.to_string()),
            })?;
        let kept = Options { waits: durability == Durability::Sync, ..kept };
        let name = chat_log_name(id);
        let directory = dir.directory();
        let (log_dir, data_dir, others) = (log_dir()?, data()?, n > 1);
        let host = host.clone();
        let empty = Checkpoint::hosting(&host);
        let place = Location { log_dir, name: &name, data: data_dir, directory, others, host };
        let found = match found {
            // It has only followed: what it was told to begin with comes first.
            Found::Member(members)
                if file.is_some()
                    && members.get(id.index()) != Some(&directory)
                    && !held(&data, directory, kept)?.has_voted() =>
            {
                dir.leaves_its_cluster();
                Found::Fresh
            }
            found => found,
        };
        if let Found::Wiped(why) = found {
            log::warn!("replica {id}: its data directory counts as wiped: {why}");
        }
        let Found::Member(members) = found else {
            let origin = file.as_ref().map(Beginning::read).transpose()?;
            let mut log = match durability {
                Durability::None => None,
                _ => Some(AcceptorLog::create(data()?, directory.0, kept).map_err(other)?),
            };
            // The data directory was written just now, so it is the log directory that
            // cannot be.
            let mut chat_log =
                DecidedLog::create(place, durability).map_err(|error| match error {
                    error if is_unwritable(&error) => StartError::LogDir(error),
                    error => StartError::Other(error),
                })?;
            let (mut state, mut checkpoint) = (acceptor::State::default(), empty);
            if let (Some(file), Some(origin)) = (file, origin) {
                checkpoint = file.take_on(origin, &mut chat_log, checkpoint)?;
                let trim = Record::Trim(origin.end);
                state.apply(&trim);
                if let Some(log) = &mut log {
                    log.append(&mut vec![trim]).map_err(other)?;
                    Storage::sync(log).map_err(other)?;
                }
                // The started record is noted together with it.
                dir.begins_with(origin);
                log::warn!(
                    "replica {id}: begins a new cluster with the {} lines of {}, and waits for the \
                     others to begin with the same: no replica of the former cluster may run",
                    origin.end,
                    file.name
                );
            }
            return Ok(Durable { dir, members: None, log, state, chat_log, checkpoint });
        };
        if let Some(file) = file {
            file.compare(dir.origin())?;
            log::info!("replica {id}: its cluster was begun with {}: it goes on", file.name);
        }
        let unusable = StartError::Unusable;
        let (log, state) = AcceptorLog::open(data()?, directory.0, kept).map_err(unusable)?;
        let log = (durability != Durability::None).then_some(log);
        let (chat_log, checkpoint) =
            DecidedLog::open(place, durability).map_err(|error| match error {
                OpenError::Io(error) if is_unwritable(&error) => StartError::LogDir(error),
                error => StartError::Unusable(error),
            })?;
        dir.opened().map_err(other)?;
        log::info!(
            "replica {id}: restarts: slots below {} are applied, its acceptor holds {} slots",
            checkpoint.applied,
            state.len()
        );
        Ok(Durable { dir, members: Some(members), log, state, chat_log, checkpoint })
    }
}

/// What the acceptor of this directory holds.
fn held<D: Disk>(
    data: &impl Fn() -> Result<D, StartError>,
    directory: DirectoryId,
    kept: Options,
) -> Result<acceptor::State, StartError> {
    let opened = AcceptorLog::open(data()?, directory.0, kept);
    opened.map(|(_, state)| state).map_err(StartError::Unusable)
}

/// The chat log with which a new cluster is to begin.
pub(super) struct Beginning<'a> {
    /// The file's name in messages.
    pub(super) name: String,
    /// Opens it.
    pub(super) open: Box<dyn Fn() -> io::Result<File> + 'a>,
}

impl Beginning<'_> {
    fn unfit(&self, unfit: Unfit) -> StartError {
        let name = &self.name;
        StartError::Beginning(match unfit {
            Unfit::Unreadable(error) => format!("--begin_from {name}: {}", cause(&error)),
            Unfit::Empty => {
                format!("--begin_from {name}: is empty: there is nothing to begin with")
            }
            Unfit::Line(number, what) => format!("{name}:{number}: {what}"),
        })
    }

    fn opened(&self) -> Result<BufReader<File>, StartError> {
        let opened = (self.open)().map_err(|error| self.unfit(Unfit::Unreadable(error)))?;
        Ok(BufReader::with_capacity(READ_BYTES, opened))
    }

    /// Reads it to its end, before anything is written.
    fn read(&self) -> Result<Origin, StartError> {
        beginning::read(self.opened()?, |_| Ok(())).map_err(|unfit| self.unfit(unfit))
    }

    /// Begins an empty log with it, whose state is `state`. Returns the state after its lines, which are durable.
    fn take_on<D: Disk>(
        &self,
        origin: Origin,
        log: &mut DecidedLog<D>,
        mut state: Checkpoint,
    ) -> Result<Checkpoint, StartError> {
        let read = beginning::read(self.opened()?, |values| log.take_on(values, &mut state));
        let read = read.map_err(|unfit| self.unfit(unfit))?;
        if read != origin {
            let name = &self.name;
            let said = format!("--begin_from {name}: was changed while it was read: use a copy");
            return Err(StartError::Beginning(said));
        }
        assert!(log.text_bytes() == origin.bytes, "the same lines to the byte");
        log.taken_on(&state).map_err(StartError::Other)?;
        Ok(state)
    }

    /// Whether the cluster of a member began with this file.
    fn compare(&self, origin: Option<Origin>) -> Result<(), StartError> {
        let is_it = match origin {
            Some(origin) => beginning::is_of(self.opened()?, origin)
                .map_err(|error| self.unfit(Unfit::Unreadable(error)))?,
            None => false,
        };
        let name = &self.name;
        match is_it {
            true => Ok(()),
            false => Err(StartError::Beginning(format!(
                "--begin_from {name}: the data directory belongs to a cluster that did not begin \
                 with this file: leave --begin_from out to go on with that cluster, or name an \
                 empty --data_dir to begin another"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::message::Run;
    use crate::paxos::bootstrap;
    use crate::types::{Ballot, Slot};
    use durable::disk::DiskFile;
    use durable::sim_disk::{SimDisk, Survival};
    use seeds::stream;
    use std::io::Write;

    const KEPT: Options = Options { segment_bytes: 4_096, waits: false };

    fn purpose(boot: &str) -> Purpose {
        Purpose {
            replica: ReplicaId(1),
            n: 3,
            durability: Durability::Sync,
            host_boot: Some(HostBoot { id: boot.into(), up_s: 5 }),
            drawn: DirectoryId(5),
        }
    }

    fn open(
        disk: &SimDisk,
        durability: Durability,
        boot: &str,
    ) -> Result<Durable<SimDisk>, StartError> {
        let purpose = Purpose {
            replica: ReplicaId(1),
            n: 3,
            durability,
            host_boot: Some(HostBoot { id: boot.into(), up_s: 5 }),
            drawn: DirectoryId(5),
        };
        Durable::open_on(
            purpose,
            &Host::CHAT,
            || Ok(disk.folder("logs")),
            || Ok(disk.folder("data")),
            KEPT,
            None,
        )
    }

    /// A member that was killed under `os`, and what its acceptor had told others.
    fn killed_under_os(seed: u64) -> (SimDisk, acceptor::State) {
        let mut disk = SimDisk::new(stream(seed, "disk"));
        let mut durable = open(&disk, Durability::Os, "first").unwrap();
        let members = [4, 5, 6].map(DirectoryId).to_vec();
        durable
            .dir
            .append(&mut vec![bootstrap::Record::Started { members, origin: None }])
            .unwrap();
        durable.dir.sync().unwrap();
        let mut log = durable.log.take().unwrap();
        for slot in 0..60 {
            let values = Request::new(7, 1, slot, &"x".repeat(200)).commands;
            let run = Run { first: Slot(slot), ballot: Ballot(slot / 10), values };
            let record = Record::Accept(run);
            durable.state.apply(&record);
            log.append(&mut vec![record]).unwrap();
            Storage::sync(&mut log).unwrap();
        }
        let state = durable.state.clone();
        drop((durable, log));
        disk.crash_process();
        (disk, state)
    }

    #[test]
    fn a_power_cut_at_any_call_of_the_first_start_under_sync_leaves_a_member_or_a_wiped_replica() {
        let (mut members, mut wiped) = (0, 0);
        for seed in 0..12 {
            for call in 0.. {
                let (mut disk, told) = killed_under_os(seed);
                disk.cut_at(disk.calls() + call, (seed * 97) as usize);
                drop(open(&disk, Durability::Sync, "first"));
                let is_over = !disk.is_dark();
                disk.power_cut(Survival::Random);
                let durable = open(&disk, Durability::Sync, "second");
                let durable = durable.unwrap_or_else(|error| panic!("call {call}: {error:?}"));
                if durable.members.is_some() {
                    assert!(durable.state == told, "seed {seed}, call {call}: it has forgotten");
                    members += 1;
                } else {
                    wiped += 1;
                }
                if is_over {
                    break;
                }
            }
        }
        assert!(members >= 12 && wiped > 100, "{members} members, {wiped} wiped");
    }

    /// What a file of the log directory holds.
    fn held(disk: &SimDisk, name: &str) -> Option<String> {
        let file = disk.folder("logs").open(name).unwrap()?;
        let mut bytes = vec![0; file.length().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    }

    /// Lines of a former cluster, and the file that has them.
    fn left_over() -> (String, tempfile::NamedTempFile) {
        let line = |slot: u64| match slot % 7 {
            3 => format!("{slot} - - NOP\n"),
            _ => format!("{slot} {} {} {}\n", 10 + slot, 0, "x".repeat(slot as usize % 90)),
        };
        let lines: String = (0..120).map(line).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        (lines, file)
    }

    fn begin(
        disk: &SimDisk,
        file: &tempfile::NamedTempFile,
        boot: &str,
    ) -> Result<Durable<SimDisk>, StartError> {
        let open = Box::new(|| File::open(file.path()));
        let file = Beginning { name: "left.txt".into(), open };
        let (logs, data) = (|| Ok(disk.folder("logs")), || Ok(disk.folder("data")));
        Durable::open_on(purpose(boot), &Host::CHAT, logs, data, KEPT, Some(file))
    }

    #[test]
    fn a_power_cut_at_any_call_of_a_beginning_leaves_all_of_it_or_a_replica_that_never_started() {
        let (lines, file) = left_over();
        let longer = format!("{lines}120 7 0 of the former cluster\n");
        let other = lines.replacen("xx", "yy", 1);
        let earlier = [None, Some(&lines), Some(&longer), Some(&other)];
        let ids = [4, 5, 6].map(DirectoryId).to_vec();
        let (mut members, mut fresh) = (0, 0);
        for (seed, earlier) in (0..8).zip(earlier.iter().cycle()) {
            for call in 0.. {
                let mut disk = SimDisk::new(stream(seed, "disk"));
                if let Some(earlier) = earlier {
                    let logs = disk.folder("logs");
                    let log = logs.create("learner1.txt").unwrap();
                    log.write_at(0, earlier.as_bytes()).unwrap();
                    log.sync().unwrap();
                    logs.sync_dir().unwrap();
                }
                disk.cut_at(disk.calls() + call, (seed * 97) as usize);
                let mut started = false;
                if let Ok(mut begun) = begin(&disk, &file, "first") {
                    let record = bootstrap::Record::Started {
                        members: ids.clone(),
                        origin: begun.dir.origin(),
                    };
                    started =
                        begun.dir.append(&mut vec![record]).is_ok() && begun.dir.sync().is_ok();
                }
                let is_over = !disk.is_dark();
                disk.power_cut(Survival::Random);
                // The same unit starts again, or one without the option does.
                let again = match call % 2 {
                    0 => begin(&disk, &file, "second"),
                    _ => open(&disk, Durability::Sync, "second"),
                };
                let again = again.unwrap_or_else(|error| panic!("call {call}: {error:?}"));
                let is_member = again.members.is_some();
                assert!(is_member || !started, "seed {seed}, call {call}: it has forgotten");
                let found = (again.checkpoint.applied, again.state.trimmed());
                if is_member || call % 2 == 0 {
                    assert_eq!(found, (Slot(120), Slot(120)), "seed {seed}, call {call}");
                    assert_eq!(again.dir.origin().map(|origin| origin.end), Some(Slot(120)));
                    assert!(held(&disk, "learner1.txt").as_ref() == Some(&lines), "call {call}");
                    // What was torn may have been moved aside before it.
                    let is_kept = |earlier: &String| {
                        let names = ["learner1.txt", "learner1.txt.1", "learner1.txt.2"];
                        names.iter().any(|name| held(&disk, name).as_ref() == Some(earlier))
                    };
                    assert!(earlier.is_none_or(is_kept), "seed {seed}, call {call}");
                } else {
                    assert_eq!(found, (Slot::ZERO, Slot::ZERO), "seed {seed}, call {call}");
                    assert_eq!(again.dir.origin(), None);
                }
                members += usize::from(is_member);
                fresh += usize::from(!is_member);
                drop(again);
                if is_over {
                    assert!(is_member);
                    break;
                }
            }
        }
        assert!(members >= 8 && fresh > 100, "{members} members, {fresh} never started");
    }

    #[test]
    fn a_member_begins_with_nothing_but_the_file_with_which_it_began() {
        let (lines, mut file) = left_over();
        let disk = SimDisk::new(stream(1, "disk"));
        let start = |mut durable: Durable<SimDisk>| {
            let members = [4, 5, 6].map(DirectoryId).to_vec();
            let record = bootstrap::Record::Started { members, origin: durable.dir.origin() };
            durable.dir.append(&mut vec![record]).unwrap();
            durable.dir.sync().unwrap();
        };
        start(begin(&disk, &file, "first").unwrap());
        file.write_all(b"120 7 0 it grows").unwrap();
        let again = begin(&disk, &file, "first").unwrap();
        assert_eq!(again.checkpoint.applied, Slot(120));
        drop(again);
        let mut changed = tempfile::NamedTempFile::new().unwrap();
        changed.write_all(lines.replacen('x', "y", 1).as_bytes()).unwrap();
        let refused = begin(&disk, &changed, "first").err();
        assert!(matches!(refused, Some(StartError::Beginning(_))), "{refused:?}");
        // One that began empty.
        let disk = SimDisk::new(stream(1, "disk"));
        start(open(&disk, Durability::Sync, "first").unwrap());
        let refused = begin(&disk, &changed, "first").err();
        assert!(matches!(refused, Some(StartError::Beginning(_))), "{refused:?}");
    }
}
