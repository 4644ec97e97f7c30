//! The load: sessions over sockets, and the threads that drive them.
//!
//! *One socket* ([`Alone`]): the network thread of the socket drives the sessions. It receives
//! many answers in one system call, and while it polls for answers it also checks the
//! sessions' timers. Before it sleeps, it wakes a second thread, which then checks the timers
//! two thousand times a second. The second thread also submits the lines that are due at
//! fixed times. It does not check timers all the time: each check costs a system timer and
//! two context switches, on a core that a replica may need.
//!
//! *Many sockets* ([`Many`]): one thread does all of this for all sockets. A line then costs two
//! system calls, and little else.

use super::histogram::Histogram;
use super::lines::Told;
use super::sessions::Sessions;
use super::socket_pool::SocketPool;
use multipaxos::message::Party;
use multipaxos::net::Incoming;
use multipaxos::net::Outlet;
use multipaxos::net::frame::{ClusterCell, Guard, Identity};
use multipaxos::net::{BoundSocket, Deliver, Network, NetworkConfig, StopHandle};
use multipaxos::runtime::process::entropy;
use multipaxos::runtime::trust;
use multipaxos::types::BootId;
use seeds::derive_seed;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// The longest time between two checks of the sessions' timers.
const TIMERS: Duration = Duration::from_micros(500);

/// The longest sleep of the second thread while the network thread checks the timers. The
/// second thread must still notice that the load has ended.
const UNTICKED: Duration = Duration::from_millis(100);

/// The pause after a check, for each session. The check itself takes a fiftieth of it.
const LOOK_NS: u64 = 50;

/// The shortest sleep of the second thread, and the shortest time between two checks.
const PAUSE: Duration = Duration::from_micros(20);

/// The options of a load.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) sessions: usize,
    pub(super) connections: usize,
    /// The client id of the first session. The others have the ids after it.
    pub(super) first_client: u64,
    pub(super) size: usize,
    pub(super) loss: f64,
    /// The longest datagram, in bytes.
    pub(super) datagram_max: usize,
    /// Whether the kernel may be given several datagrams in one call.
    pub(super) offload: bool,
    /// The file with the cluster's key, if it has one.
    pub(super) key_file: Option<PathBuf>,
    pub(super) seed: u64,
    /// The number of lines after which a client opens its next session.
    pub(super) session_lines: Option<u64>,
    /// Lines a second of all sessions together, if they are due at fixed times.
    pub(super) rate: Option<u64>,
    /// The largest number of lines to submit.
    pub(super) lines: Option<u64>,
}

/// The events since the last call of [`Load::take`].
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Nanoseconds from the time when a line was submitted, or was due, to its completion.
    pub(super) latency: Histogram,
    /// Lines that were sent more than once.
    pub(super) retried: u64,
}

/// The state that all threads of a load share.
#[derive(Debug)]
pub(super) struct Common {
    began: Instant,
    /// One above the highest slot of a completed line.
    complete_below: AtomicU64,
    completed: AtomicU64,
    stopping: AtomicBool,
    ended: AtomicBool,
    fault: Mutex<Option<String>>,
    /// It has a lock of its own, because a busy thread hardly ever releases the sessions.
    pub(super) tally: Mutex<Tally>,
}

impl Common {
    fn new() -> Common {
        Common {
            began: Instant::now(),
            complete_below: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            fault: Mutex::new(None),
            tally: Mutex::new(Tally::default()),
        }
    }

    /// Nanoseconds since the beginning.
    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn fail(&self, what: String) {
        locked(&self.fault).get_or_insert(what);
    }

    /// Notes that `lines` more lines are complete, all in slots below `below`.
    pub(super) fn complete(&self, lines: u64, below: u64) {
        self.completed.fetch_add(lines, Ordering::Relaxed);
        self.complete_below.fetch_max(below, Ordering::SeqCst);
    }

    pub(super) fn complete_below(&self) -> u64 {
        self.complete_below.load(Ordering::SeqCst)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a panic ends the process")
}

/// A load that runs until it is stopped.
pub(super) struct Load {
    common: Arc<Common>,
    sessions: Arc<Mutex<Sessions>>,
    stop: Option<StopHandle>,
}

impl Load {
    /// Starts a load against these replicas.
    pub(super) fn start(shape: &Shape, replicas: &[SocketAddr]) -> io::Result<Load> {
        let common = Arc::new(Common::new());
        let sessions = Sessions::new(shape, replicas.len(), common.clone(), entropy()?);
        let connections = sessions.groups();
        let sessions = Arc::new(Mutex::new(sessions));
        let boot = BootId(entropy()?);
        let cluster = ClusterCell::new();
        let n = replicas.len();
        let keys = match &shape.key_file {
            Some(file) => Some(trust::read(file).map_err(io::Error::other)?),
            None => None,
        };
        let keys = keys.map(|keys| keys.for_client(boot.0 as u32));
        let guard = Guard::of(keys.as_ref(), n);
        let config = NetworkConfig {
            codec: Identity { n, rows: n, me: Party::Client, boot, cluster, guard },
            peers: replicas.to_vec(),
            datagram_max: shape.datagram_max,
            offload: shape.offload,
            loss: shape.loss,
            seed: derive_seed(shape.seed, "network"),
        };
        let mut load = Load { common: common.clone(), sessions: sessions.clone(), stop: None };
        if connections > 1 {
            let many = Many { pool: SocketPool::new(connections, config)?, common, sessions };
            thread::Builder::new().name("connections".into()).spawn(move || many.run())?;
        } else {
            let network = Network::new(BoundSocket::for_client(replicas)?, config)?;
            load.stop = Some(network.stop_handle());
            let alone = |name: &str| {
                let outlet = network.outlet(derive_seed(shape.seed, name));
                Alone { common: common.clone(), sessions: sessions.clone(), outlet }
            };
            let looks = Arc::new(AtomicBool::new(false));
            let (timers, seen) = (alone("timers"), looks.clone());
            let ticking =
                thread::Builder::new().name("timers".into()).spawn(move || timers.tick(&seen))?;
            let answers = Answers {
                alone: alone("answers"),
                batch: Vec::new(),
                timers_at: 0,
                looks,
                ticking: ticking.thread().clone(),
            };
            thread::Builder::new().name("connection".into()).spawn(move || {
                if let Err(error) = network.run(answers) {
                    common.fail(format!("network: {error}"));
                }
            })?;
        }
        Ok(load)
    }

    /// The number of lines completed so far.
    pub(super) fn completed(&self) -> u64 {
        self.common.completed.load(Ordering::Relaxed)
    }

    /// The events since the last call.
    pub(super) fn take(&self) -> Tally {
        std::mem::take(&mut locked(&self.common.tally))
    }

    /// The fault that ended the load, if there is one.
    pub(super) fn fault(&self) -> Option<String> {
        locked(&self.common.fault).clone()
    }

    /// Stops submitting lines.
    pub(super) fn stop(&self) {
        self.common.stopping.store(true, Ordering::SeqCst);
    }

    /// The number of lines in flight. 0 means that all are
    /// complete, if a number of lines was given.
    pub(super) fn in_flight(&self) -> usize {
        locked(&self.sessions).in_flight()
    }

    /// The answers to each session, in the order of client ids.
    pub(super) fn told(&self) -> Vec<Told> {
        locked(&self.sessions).told().collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.common.ended.store(true, Ordering::SeqCst);
        self.stop.iter().for_each(StopHandle::stop);
    }
}

/// The sessions of one socket, as one of their two threads uses them.
struct Alone {
    common: Arc<Common>,
    sessions: Arc<Mutex<Sessions>>,
    outlet: Outlet,
}

/// Locks the sessions, and then reads the time. In this order time does not go back between
/// two threads that use the sessions one after the other.
fn in_turn<'a>(sessions: &'a Mutex<Sessions>, common: &Common) -> (MutexGuard<'a, Sessions>, u64) {
    let sessions = locked(sessions);
    (sessions, common.now_ns())
}

impl Alone {
    /// Checks timers, unless the network thread does (`looks`), and submits the lines that are
    /// due at fixed times.
    fn tick(mut self, looks: &AtomicBool) {
        let [timers_ns, unticked_ns] = [TIMERS, UNTICKED].map(|time| time.as_nanos() as u64);
        let mut timers_at = 0;
        while !self.common.has_ended() {
            let (mut sessions, now_ns) = in_turn(&self.sessions, &self.common);
            let timers = now_ns >= timers_at;
            self.outlet.send(sessions.turn(0, now_ns, timers));
            if timers {
                timers_at = now_ns + timers_ns;
            }
            let due = sessions.due_ns(0);
            drop(sessions);
            let tick = if looks.load(Ordering::SeqCst) { now_ns + unticked_ns } else { timers_at };
            let next = due.map_or(tick, |due| due.min(tick));
            // Always pause, because the network thread needs the same lock. If this thread is
            // woken early, it checks early.
            thread::park_timeout(Duration::from_nanos(next.saturating_sub(now_ns)).max(PAUSE));
        }
    }
}

/// Hands answers from the network thread to the sessions.
struct Answers {
    alone: Alone,
    batch: Vec<Incoming>,
    /// The next time at which this thread checks timers, if it has nothing else to do.
    timers_at: u64,
    /// Whether this thread checks the timers. If not, it sleeps and the other thread checks.
    looks: Arc<AtomicBool>,
    ticking: Thread,
}

impl Deliver<Incoming> for Answers {
    fn deliver(&mut self, incoming: Incoming) {
        self.batch.push(incoming);
    }

    fn end_of_burst(&mut self) {
        let Alone { common, sessions, outlet } = &mut self.alone;
        let (mut sessions, now_ns) = in_turn(sessions, common);
        outlet.send(sessions.handle(0, now_ns, &mut self.batch));
    }

    /// Checks timers here too, so that a lost datagram is noticed in time.
    fn found_nothing(&mut self) {
        let Alone { common, sessions, outlet } = &mut self.alone;
        if !self.looks.load(Ordering::Relaxed) {
            self.looks.store(true, Ordering::SeqCst);
        }
        if common.now_ns() < self.timers_at {
            return;
        }
        let (mut sessions, now_ns) = in_turn(sessions, common);
        outlet.send(sessions.turn(0, now_ns, true));
        let first = sessions.timer_ns(0, now_ns).unwrap_or(u64::MAX);
        // Each check visits the timers of all sessions.
        let [pause_ns, timers_ns] = [PAUSE, TIMERS].map(|time| time.as_nanos() as u64);
        let least_ns = pause_ns.max(LOOK_NS * sessions.in_group(0) as u64).min(timers_ns);
        self.timers_at = first.clamp(now_ns + least_ns, now_ns + timers_ns);
    }

    fn sleeps(&mut self) {
        if self.looks.swap(false, Ordering::SeqCst) {
            self.ticking.unpark();
        }
    }
}

/// The sessions of many sockets.
struct Many {
    pool: SocketPool,
    common: Arc<Common>,
    sessions: Arc<Mutex<Sessions>>,
}

impl Many {
    fn run(mut self) {
        if let Err(error) = self.drive() {
            self.common.fail(format!("network: {error}"));
        }
    }

    fn drive(&mut self) -> io::Result<()> {
        let Many { pool, common, sessions } = self;
        let timers_ns = TIMERS.as_nanos() as u64;
        let (mut ready, mut answers) = (Vec::new(), Vec::new());
        let (mut timers_at, mut turn_at) = (0, 0u64);
        while !common.has_ended() {
            pool.wait(Duration::from_nanos(turn_at.saturating_sub(common.now_ns())), &mut ready)?;
            let mut sessions = locked(sessions);
            for at in ready.drain(..) {
                pool.receive(at, &mut answers)?;
                pool.send(at, sessions.handle(at, common.now_ns(), &mut answers));
                turn_at = sessions.due_ns(at).map_or(turn_at, |due| turn_at.min(due));
            }
            let now_ns = common.now_ns();
            if now_ns < turn_at {
                continue;
            }
            let timers = now_ns >= timers_at;
            if timers {
                timers_at = now_ns + timers_ns;
            }
            turn_at = timers_at;
            for at in 0..sessions.groups() {
                pool.send(at, sessions.turn(at, now_ns, timers));
                turn_at = sessions.due_ns(at).map_or(turn_at, |due| turn_at.min(due));
            }
        }
        Ok(())
    }
}
