//! Delivers envelopes: to a role of this process, or to the network.
//!
//! A message of a replica to itself does not touch the network, but its routing is that
//! of a message from a peer. A thread gathers inputs and hands them over as one batch per
//! role and turn. A full channel loses the batch and counts it.

use super::last_words;
use super::names;
use super::questions::Questions;
use crate::message::{
    Answer, ClientMessage, LostState, Message, Status, StatusQuery, ToAcceptor, VoteAim,
};
use crate::net::Deliver;
use crate::net::{Incoming, LoopWaker, Outgoing};
use crate::net::{Outlet, PeerBook};
use crate::paxos::{Envelope, Membership, Notice, acceptor, bootstrap, learner, proposer};
use crate::survey::NOWHERE;
use crate::types::{Address, Ballot, ReplicaId, Time};
use command_line::ending::fail;
use datagrams::counters::{Counters, NetEvent};
use interleavings::threads::{self, Receiver, Sender, bounded};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process;
use std::sync::Arc;
use std::time::Instant;

/// The address of this replica's own main thread, which asks its roles how they are. No datagram
/// goes there.
const OWN: Address = Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

/// The same for whoever supervises the process.
const SUPERVISOR: Address = Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 0));

/// How many batches may wait for one role.
pub const INBOX_BATCHES_MAX: usize = 1_024;

/// The sending ends of the channels to the roles of one replica.
#[derive(Debug, Clone)]
pub struct Links {
    acceptor: Sender<Vec<acceptor::Input>>,
    proposer: Sender<Vec<proposer::Input>>,
    learner: Sender<Vec<learner::Input>>,
    bootstrap: Sender<Vec<bootstrap::Input>>,
    /// Wakes the network thread, if roles run there.
    waker: Option<LoopWaker>,
}

impl Links {
    /// Wakes acceptor, proposer and learner, so that each asks whether it should go on. A
    /// role whose inbox is full is awake already.
    pub fn wake(&self) {
        let _ = self.acceptor.try_send(Vec::new());
        let _ = self.proposer.try_send(Vec::new());
        let _ = self.learner.try_send(Vec::new());
        self.wake_loop();
    }

    fn wake_loop(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

/// The receiving ends.
#[derive(Debug)]
pub struct Inboxes {
    /// The acceptor's.
    pub acceptor: Receiver<Vec<acceptor::Input>>,
    /// The proposer's.
    pub proposer: Receiver<Vec<proposer::Input>>,
    /// The learner's.
    pub learner: Receiver<Vec<learner::Input>>,
    /// The bootstrap role's.
    pub bootstrap: Receiver<Vec<bootstrap::Input>>,
}

/// The channels between the threads of one replica. If roles run on the network thread,
/// `waker` wakes it.
pub fn channels(waker: Option<LoopWaker>) -> (Links, Inboxes) {
    let (to_acceptor, acceptor) = bounded(INBOX_BATCHES_MAX);
    let (to_proposer, proposer) = bounded(INBOX_BATCHES_MAX);
    let (to_learner, learner) = bounded(INBOX_BATCHES_MAX);
    let (to_bootstrap, bootstrap) = bounded(INBOX_BATCHES_MAX);
    let links = Links {
        acceptor: to_acceptor,
        proposer: to_proposer,
        learner: to_learner,
        bootstrap: to_bootstrap,
        waker,
    };
    (links, Inboxes { acceptor, proposer, learner, bootstrap })
}

/// Which roles are on a router's own thread. Their inputs stay with the router until the thread
/// takes them from [`Router::here`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// None: every input is handed over.
    Nobody,
    /// Proposer and learner.
    ProposerAndLearner,
    /// All three but the bootstrap role.
    AllThree,
}

/// Inputs, sorted by role.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The acceptor's.
    pub acceptor: Vec<acceptor::Input>,
    /// The proposer's.
    pub proposer: Vec<proposer::Input>,
    /// The learner's.
    pub learner: Vec<learner::Input>,
    bootstrap: Vec<bootstrap::Input>,
}

/// Sorts inputs by role, and hands each role its batch.
#[derive(Debug)]
pub struct Router {
    links: Links,
    counters: Arc<Counters>,
    here: Here,
    inputs: Inputs,
    /// To the main thread, which says what the process takes.
    usage: Option<Sender<Address>>,
    /// What clients have asked lately, and since when its times count.
    questions: Questions,
    began: Instant,
    /// How many questions were not heard since the network asked.
    unheard: usize,
}

impl Router {
    /// A router for one thread, on which these roles are.
    pub fn new(links: Links, counters: Arc<Counters>, here: Here) -> Self {
        let (inputs, questions) = (Inputs::default(), Questions::default());
        let began = threads::now();
        Router { links, counters, here, inputs, usage: None, questions, began, unheard: 0 }
    }

    /// Leaves there who asks what the process takes, and wakes the main thread.
    pub fn asks(&mut self, usage: Sender<Address>) {
        self.usage = Some(usage);
    }

    /// Whether a message is not heard: a question of a client that asks too much.
    fn is_too_much(&mut self, incoming: &Incoming) -> bool {
        let Incoming::Client { from, message } = incoming else { return false };
        match message {
            ClientMessage::Request(_) | ClientMessage::Follow(_) | ClientMessage::Mark { .. } => {
                self.questions.note(*from);
                false
            }
            ClientMessage::Hello
            | ClientMessage::Inquiry(_)
            | ClientMessage::Status(_)
            | ClientMessage::Members(_) => {
                let now = threads::now().duration_since(self.began).as_micros() as u64;
                !self.questions.hears(Time(now), *from)
            }
        }
    }

    /// The inputs for the roles on this thread.
    pub fn here(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    /// Takes a message of a replica, this one included.
    pub fn message(&mut self, from: ReplicaId, message: Message) {
        let Inputs { acceptor, proposer, learner, .. } = &mut self.inputs;
        match message {
            Message::Bootstrap(_) => unreachable!("warm-up comes from others, with its source"),
            Message::Acceptor(message) => acceptor.push(acceptor::Input::Peer(from, message)),
            Message::Proposer(message) => proposer.push(proposer::Input::Peer(from, message)),
            Message::Learner(message) => learner.push(learner::Input::Peer(from, message)),
            Message::Heartbeat(heartbeat) => {
                proposer.push(proposer::Input::Heartbeat(from, heartbeat.clone()));
                learner.push(learner::Input::Heartbeat(from, heartbeat));
            }
        }
    }

    /// Takes a notice from another role of this replica.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Acceptor(input) => self.inputs.acceptor.push(input),
            Notice::Proposer(input) => self.inputs.proposer.push(input),
            Notice::Learner(input) => self.inputs.learner.push(input),
            Notice::Start(_)
            | Notice::LostState(_)
            | Notice::Diverged(_)
            | Notice::MayEnd { .. }
            | Notice::Places(_) => {
                unreachable!("it is taken before it is routed")
            }
        }
    }

    /// Hands over all gathered inputs for other threads. Never waits: a full inbox loses its
    /// batch.
    pub fn flush(&mut self) {
        let Router { links, counters, here, inputs, .. } = self;
        let mut handed = hand_over(&mut inputs.bootstrap, &links.bootstrap, counters);
        if *here != Here::AllThree {
            handed |= hand_over(&mut inputs.acceptor, &links.acceptor, counters);
        }
        if *here == Here::Nobody {
            handed |= hand_over(&mut inputs.proposer, &links.proposer, counters);
            handed |= hand_over(&mut inputs.learner, &links.learner, counters);
            if handed {
                links.wake_loop();
            }
        }
    }
}

/// The main thread asks the roles of this replica how they are. They answer where [`Post::tells`]
/// says.
pub fn own_question(router: &mut Router) {
    let query = StatusQuery { below: NOWHERE };
    router.inputs.proposer.push(proposer::Input::Status(OWN, query));
    router.flush();
}

/// The same for whoever supervises the process.
pub fn supervisors_question(router: &mut Router) {
    let query = StatusQuery { below: NOWHERE };
    router.inputs.proposer.push(proposer::Input::Status(SUPERVISOR, query));
    router.flush();
}

/// The main thread tells the proposer that the process is about to end (L9).
pub fn leave(router: &mut Router) {
    router.inputs.proposer.push(proposer::Input::Leave);
    router.flush();
}

/// The main thread tells the proposer which vote the operator wants for its directory.
pub fn aim_at(router: &mut Router, vote: VoteAim) {
    router.inputs.proposer.push(proposer::Input::Aim(vote));
    router.flush();
}

/// Returns whether there was anything to hand over.
fn hand_over<T>(batch: &mut Vec<T>, to: &Sender<Vec<T>>, counters: &Counters) -> bool {
    let any = !batch.is_empty();
    if any && to.try_send(std::mem::take(batch)).is_err() {
        counters.count(NetEvent::InboxFull);
    }
    any
}

impl Deliver<Incoming> for Router {
    fn deliver(&mut self, incoming: Incoming) {
        if self.is_too_much(&incoming) {
            self.unheard += 1;
            return self.counters.count(NetEvent::Unheard);
        }
        match incoming {
            Incoming::Peer { from, message } => self.message(from, message),
            Incoming::WarmUp { from, at, message } => {
                self.inputs.bootstrap.push(bootstrap::Input::Peer(from, at, message));
            }
            Incoming::Life { of, boot, at } => {
                self.inputs.proposer.push(proposer::Input::Life(of, boot, at));
            }
            Incoming::Refused { from, at, why } => {
                self.inputs.bootstrap.push(bootstrap::Input::Refused { from, at, why });
            }
            Incoming::Client { from, message: ClientMessage::Hello } => {
                self.inputs.learner.push(learner::Input::Hello(from));
            }
            Incoming::Client { from, message: ClientMessage::Follow(query) } => {
                self.inputs.learner.push(learner::Input::Follow(from, query));
            }
            Incoming::Client { from, message: ClientMessage::Mark { read } } => {
                self.inputs.proposer.push(proposer::Input::Mark(from, read));
            }
            Incoming::Client { from, message: ClientMessage::Members(query) } => {
                self.inputs.proposer.push(proposer::Input::Members(from, query));
            }
            Incoming::Client { from, message: ClientMessage::Inquiry(inquiry) } => {
                self.inputs.proposer.push(proposer::Input::Inquiry(from, *inquiry));
            }
            Incoming::Client { from, message: ClientMessage::Status(query) } => {
                self.inputs.proposer.push(proposer::Input::Status(from, query));
                self.inputs.bootstrap.push(bootstrap::Input::Status(from));
                if let Some(usage) = &self.usage {
                    // Whoever is lost where many ask, asks again.
                    let _ = usage.try_send(from);
                    let _ = self.links.bootstrap.try_send(Vec::new());
                }
            }
            Incoming::Client { from, message: ClientMessage::Request(request) } => {
                self.inputs.proposer.push(proposer::Input::Client(from, request));
            }
            Incoming::Answer { .. } | Incoming::OtherCluster { .. } => {
                unreachable!("a replica's socket opens no answers")
            }
        }
    }

    fn end_of_burst(&mut self) {
        self.flush();
    }

    fn take_unheard(&mut self) -> usize {
        std::mem::take(&mut self.unheard)
    }
}

/// How often the last accepts before a planned crash are sent, until the loss gate lets
/// one pass.
const CRASH_SENDS_MAX: usize = 1_000;

/// What the bootstrap role tells the main thread.
#[derive(Debug)]
pub enum Turn {
    /// The other roles begin.
    Start(Membership),
    /// The other roles end: the data directory has lost its state.
    LostState(LostState),
}

/// Sends for one role thread.
#[derive(Debug)]
pub struct Post {
    /// Which replica this is.
    me: ReplicaId,
    /// To the roles of this replica.
    router: Router,
    /// To the network.
    outlet: Outlet,
    /// Where the other replicas are.
    peers: PeerBook,
    /// Fault injection, for the proposer's thread: the process dies once this many bursts
    /// with accepts have left. No other message leaves after them, so no process can learn
    /// from this one whether they were chosen.
    crash_after_accepts: Option<u32>,
    /// The messages of one turn to other processes, sent together.
    outgoing: Vec<Outgoing>,
    /// To the main thread, if it asks.
    main: Option<ToMain>,
}

/// What the roles of a replica tell its main thread.
#[derive(Debug, Clone)]
pub struct ToMain {
    /// How they are, for the metrics.
    pub status: Sender<Status>,
    /// The same for whoever supervises the process.
    pub supervised: Sender<Status>,
    /// The process may end, and the ballot of the successor if there is one (L9).
    pub may_end: Sender<Option<Ballot>>,
}

impl Post {
    /// For one role of replica `me`; `crash_after_accepts` is fault injection, see
    /// [`Post`].
    pub fn new(
        me: ReplicaId,
        router: Router,
        (outlet, peers): (Outlet, PeerBook),
        crash_after_accepts: Option<u32>,
    ) -> Post {
        let (outgoing, main) = (Vec::new(), None);
        Post { me, router, outlet, peers, crash_after_accepts, outgoing, main }
    }

    /// What the roles have to say to the main thread goes there.
    #[must_use]
    pub fn tells(self, main: ToMain) -> Post {
        Post { main: Some(main), ..self }
    }

    /// What sorts and hands over, for inputs from the network.
    pub fn router(&mut self) -> &mut Router {
        &mut self.router
    }

    /// Delivers all envelopes. Returns what is for the main thread.
    ///
    /// The roles of this process come first. A hand-over costs little, while a datagram may
    /// wake its receiver on this core, and then this thread waits for its turn.
    pub fn dispatch(&mut self, envelopes: &mut Vec<Envelope>) -> Option<Turn> {
        let mut turn = None;
        for envelope in envelopes.drain(..) {
            let outgoing = match envelope {
                Envelope::Peer { to, message } if to == self.me => {
                    self.router.message(to, message);
                    continue;
                }
                Envelope::Notice(Notice::Start(membership)) => {
                    turn = Some(Turn::Start(membership));
                    continue;
                }
                Envelope::Notice(Notice::LostState(said)) => {
                    turn = Some(Turn::LostState(said));
                    continue;
                }
                // Nothing is left to do, on whatever thread this is.
                Envelope::Notice(Notice::Diverged(said)) => {
                    fail(last_words::diverged(self.me, said))
                }
                Envelope::Notice(Notice::MayEnd { successor }) => {
                    if let Some(main) = &self.main {
                        let _ = main.may_end.try_send(successor);
                        self.wake_main();
                    }
                    continue;
                }
                Envelope::Notice(Notice::Places(moved)) => {
                    names::follow_places(&self.peers, Some(self.me), &moved);
                    continue;
                }
                Envelope::Notice(notice) => {
                    self.router.notice(notice);
                    continue;
                }
                Envelope::Peer { to, message } => Outgoing::Peer { to, message },
                Envelope::Back { to, at, message } => Outgoing::Back { to, at, message },
                Envelope::Answers { to, answers } if to == OWN || to == SUPERVISOR => {
                    self.tell_main_thread(to, answers);
                    continue;
                }
                Envelope::Answers { to, answers } => Outgoing::Answers { to, answers },
                Envelope::Call { to, message } => Outgoing::Call { to, message },
            };
            self.outgoing.push(outgoing);
        }
        self.crash_if_planned();
        self.router.flush();
        self.outlet.send(self.outgoing.drain(..));
        turn
    }

    fn tell_main_thread(&self, asker: Address, answers: Vec<Answer>) {
        let Some(ToMain { status: own, supervised, .. }) = &self.main else { return };
        let to = if asker == OWN { own } else { supervised };
        for answer in answers {
            if let Answer::Status(status) = answer {
                // If the last answer is still there, this one says hardly more.
                let _ = to.try_send(*status);
            }
        }
        if asker == SUPERVISOR {
            self.wake_main();
        }
    }

    fn wake_main(&self) {
        let _ = self.router.links.bootstrap.try_send(Vec::new());
    }

    fn crash_if_planned(&mut self) {
        let is_accept = |outgoing: &Outgoing| {
            matches!(
                outgoing,
                Outgoing::Peer {
                    message: Message::Acceptor(
                        ToAcceptor::Accept(_) | ToAcceptor::AcceptHeld { .. }
                    ),
                    ..
                }
            )
        };
        let Some(accepts) = &mut self.crash_after_accepts else { return };
        if !self.outgoing.iter().any(is_accept) {
            return;
        }
        if *accepts > 1 {
            *accepts -= 1;
            return;
        }
        self.outlet.mute_others();
        let mut sends = 0;
        while self.outlet.send(self.outgoing.iter().cloned()).to_peers == 0
            && sends < CRASH_SENDS_MAX
        {
            sends += 1;
        }
        log::warn!("replica {}: aborts: its accepts have left (--crash_after_accepts)", self.me);
        process::abort();
    }
}
