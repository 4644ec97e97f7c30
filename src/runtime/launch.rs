//! Starts the threads of a replica, and ends them.
//!
//! The main thread makes the parts, and [`Launcher::launch`] puts them on threads: each on its
//! own, or together on the network's, as the layout says. The threads exist from then on, and
//! wait for the membership. [`end`] makes each finish the burst that it is in and close its
//! storage, and waits for that.

use super::on_loop::{OnLoop, Parts};
use super::part::Part;
use super::post::{Here, Links, Post, Router, ToMain};
use super::process::{Clock, LOOK};
use super::role_thread::{Flow, RoleThread};
use super::told::Words;
use super::trace::block::Stream;
use super::trace::{Trace, Tracer};
use crate::net::{Deliver, Incoming, Network};
use crate::paxos::acceptor::Acceptor;
use crate::paxos::learner::Learner;
use crate::paxos::{Membership, Role, Settings, Storage};
use crate::storage::upkeep::Upkeep;
use crate::types::{Address, Time};
use command_line::ending::fail;
use interleavings::threads::{self, AtomicBool, Receiver, RecvTimeoutError, Sender, bounded};
use seeds::{derive_seed, stream};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the role threads may take to close their storage. The driver waits longer than
/// this before it kills.
pub(super) const CLOSING_MAX: Duration = Duration::from_secs(4);

/// What all parts of one replica are built from.
pub(super) struct Launcher {
    pub(super) settings: Settings,
    pub(super) links: Links,
    /// Which roles share the network thread.
    pub(super) here: Here,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) crash_after_accepts: Option<u32>,
    /// Set once the process is about to end.
    pub(super) stopping: Arc<AtomicBool>,
    /// To the main thread, which says what the process takes.
    pub(super) usage: Sender<Address>,
    /// To the main thread, what the roles have to say.
    pub(super) main: ToMain,
    /// What the roles do is written there, if somebody wants that.
    pub(super) tracer: Option<Tracer>,
    /// The network thread drops it once its socket is closed there.
    pub(super) open: Sender<()>,
}

/// A thread on which roles run, as the main thread sees it.
pub(super) struct Running {
    name: &'static str,
    /// Begins the roles. If this is dropped before, they never begin.
    pub(super) start: Sender<Membership>,
    /// Receives once the storages of the roles are closed.
    closed: Receiver<()>,
}

/// The other ends of a [`Running`].
struct Ends {
    started: Receiver<Membership>,
    closing: Sender<()>,
}

fn running(name: &'static str) -> (Running, Ends) {
    let ((start, started), (closing, closed)) = (bounded(1), bounded(1));
    (Running { name, start, closed }, Ends { started, closing })
}

impl Launcher {
    /// What a thread sends with, on which these roles are.
    pub(super) fn post(&self, name: &str, network: &Network, here: Here) -> Post {
        let proposes = name == "proposer" || here != Here::Nobody;
        Post::new(
            self.settings.id,
            Router::new(self.links.clone(), network.counters(), here),
            (network.outlet(derive_seed(self.seed, name)), network.peer_book()),
            self.crash_after_accepts.filter(|_| proposes),
        )
        .tells(self.main.clone())
    }

    pub(super) fn rng(&self, name: &str) -> fastrand::Rng {
        stream(self.seed, &format!("{name} draws"))
    }

    pub(super) fn part<R: Role, S>(
        &self,
        stream: Stream,
        inbox: Receiver<Vec<R::Input>>,
        storage: S,
        words: Words<R::Record>,
        build: impl FnOnce(Membership, Time, u64, &Trace) -> R + Send + 'static,
        mend: impl FnMut(S, io::Error, &Membership, &Trace) -> io::Result<(S, R)> + Send + 'static,
    ) -> Part<R, S> {
        let (name, clock, trace) = (stream.name(), self.clock, self.trace(stream));
        let (rng, build, mend) = (self.rng(name), Box::new(build), Box::new(mend));
        Part { name, inbox, storage, clock, rng, trace, words, build, mend }
    }

    /// Where what a role does is written.
    pub(super) fn trace(&self, stream: Stream) -> Trace {
        self.tracer.as_ref().map_or_else(Trace::off, |tracer| tracer.of(stream))
    }

    /// Starts a thread that waits for the membership, runs a role until the process is
    /// about to end, and closes its storage.
    fn spawn<R, S>(&self, part: Part<R, S>, network: &Network) -> io::Result<Running>
    where
        R: Role + 'static,
        R::Input: Send + 'static,
        S: Storage<R::Record> + Upkeep + Send + 'static,
    {
        let name = part.name;
        let (running, Ends { started, closing }) = running(name);
        let mut post = self.post(name, network, Here::Nobody);
        let patience = network.patience();
        let (id, stopping) = (self.settings.id, Arc::clone(&self.stopping));
        let run = move || {
            let Ok(membership) = started.recv() else {
                return part.storage.close();
            };
            let (mut begun, mut patience) = (part.begin(id, membership)?, patience);
            loop {
                let mut thread = RoleThread {
                    turn: &mut begun.turn,
                    inbox: &begun.inbox,
                    patience: &mut patience,
                    sleep_max: None,
                };
                let ran = thread.run(
                    |envelopes| {
                        post.dispatch(envelopes);
                    },
                    |_| if stopping.load(Ordering::SeqCst) { Flow::Stop } else { Flow::Continue },
                );
                match ran {
                    Ok(()) => return begun.turn.storage.close(),
                    Err(error) => begun = begun.mended(error)?,
                }
            }
        };
        threads::spawn(name, move || {
            if let Err(error) = run() {
                fail(format!("replica {id}: {name}: {error}"));
            }
            let _ = closing.send(());
        })?;
        Ok(running)
    }

    /// Starts the threads on which the roles run, the network's among them.
    pub(super) fn launch<A, L>(
        &self,
        parts: Parts<A, L>,
        network: Network,
    ) -> io::Result<Vec<Running>>
    where
        A: Storage<<Acceptor as Role>::Record> + Upkeep + Send + 'static,
        L: Storage<<Learner as Role>::Record> + Upkeep + Send + 'static,
    {
        let Parts { mut acceptor, proposer, learner } = parts;
        let mut all = Vec::new();
        if self.here != Here::AllThree {
            let part = acceptor.take().expect("every replica has one");
            all.push(self.spawn(part, &network)?);
        }
        if self.here == Here::Nobody {
            all.push(self.spawn(proposer, &network)?);
            all.push(self.spawn(learner, &network)?);
            let mut router = Router::new(self.links.clone(), network.counters(), Here::Nobody);
            router.asks(self.usage.clone());
            self.run_network(network, router)?;
            return Ok(all);
        }
        let (running, Ends { started, closing }) = running("network");
        let (id, stopping) = (self.settings.id, Arc::clone(&self.stopping));
        let mut post = self.post("network", &network, self.here);
        post.router().asks(self.usage.clone());
        let parts = Parts { acceptor, proposer, learner };
        self.run_network(network, OnLoop::new(id, post, parts, started, stopping, closing))?;
        all.push(running);
        Ok(all)
    }

    fn run_network(
        &self,
        network: Network,
        deliver: impl Deliver<Incoming> + Send + 'static,
    ) -> io::Result<()> {
        let (id, open) = (self.settings.id, self.open.clone());
        threads::spawn("network", move || {
            if let Err(error) = network.run(deliver) {
                fail(format!("replica {id}: network: {error}"));
            }
            drop(open);
        })
    }
}

/// What a part does after an error of its storage, unless it knows better: it ends.
pub(super) fn never<S, R>(
    _storage: S,
    error: io::Error,
    _membership: &Membership,
    _trace: &Trace,
) -> io::Result<(S, R)> {
    Err(error)
}

/// Ends the role threads, each after the burst that it is in.
///
/// # Errors
///
/// The name of a thread whose storage is not closed in time.
pub(super) fn end(
    threads: impl IntoIterator<Item = Running>,
    stopping: &AtomicBool,
    links: &Links,
) -> Result<(), &'static str> {
    stopping.store(true, Ordering::SeqCst);
    let (starts, closed): (Vec<_>, Vec<_>) =
        threads.into_iter().map(|Running { name, start, closed }| (start, (name, closed))).unzip();
    // A thread whose role has not begun ends when its start channel is gone.
    drop(starts);
    wait_for_all(&closed, || links.wake(), CLOSING_MAX)
}

/// Waits until all of these threads have closed their storage, and wakes them repeatedly
/// meanwhile.
fn wait_for_all(
    closed: &[(&'static str, Receiver<()>)],
    wake: impl Fn(),
    limit: Duration,
) -> Result<(), &'static str> {
    let end = threads::now() + limit;
    for (name, closed) in closed {
        loop {
            wake();
            match closed.recv_timeout(LOOK.min(end.saturating_duration_since(threads::now()))) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) if threads::now() < end => {}
                Err(_) => return Err(name),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_thread_that_does_not_close_in_time_is_named() {
        let (first, second) = (bounded(1), bounded::<()>(1));
        first.0.send(()).unwrap();
        let closed = [("first", first.1), ("second", second.1)];
        assert_eq!(wait_for_all(&closed, || {}, Duration::ZERO), Err("second"));
    }

    #[test]
    fn a_thread_that_misses_a_wake_up_is_woken_again() {
        let (closing, closed) = bounded(1);
        let calls = Cell::new(0);
        let wake = || {
            calls.set(calls.get() + 1);
            if calls.get() == 3 {
                closing.send(()).unwrap();
            }
        };
        assert_eq!(wait_for_all(&[("deaf", closed)], wake, CLOSING_MAX), Ok(()));
        assert_eq!(calls.get(), 3);
    }
}
