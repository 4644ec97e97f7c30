//! Gives roles their inputs again, and compares what they do with what they did.
//!
//! A role is built from what it was built from, and gets each input with the time and the draw that
//! it got then. Its turns end where they ended. So everything that it puts into its outbox must be
//! the same to the byte, and so must its next deadline. The first turn that differs is a fault: then
//! the role is not pure, or this is not the build that ran.
//!
//! Behind a gap nothing is known of a role until it is built again.
//!
//! **Exception.** A learner that went on from a checkpoint may go through its sessions in another
//! order than then, so what it saves of them is not compared.

use crate::files::Life;
use crate::steps::{Step, steps};
use multipaxos::client::{Client, Outcome};
use multipaxos::paxos::acceptor::Acceptor;
use multipaxos::paxos::bootstrap::Bootstrap;
use multipaxos::paxos::learner::{self, Learner};
use multipaxos::paxos::proposer::Proposer;
use multipaxos::paxos::{Contents, Never, Outbox, acceptor, bootstrap};
use multipaxos::runtime::trace::Who;
use multipaxos::runtime::trace::begin::{Beginning, Replayed};
use multipaxos::runtime::trace::block::{Record, Stream};
use multipaxos::types::Time;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::fmt::Debug;

/// How many characters of an output a fault shows.
const SHOWN_CHARS_MAX: usize = 600;

/// What became of the replay of one role.
#[derive(Debug, Default)]
pub struct Replay {
    /// How many inputs and timers were replayed.
    pub inputs: u64,
    /// How many turns had the same outputs.
    pub turns: u64,
    /// How many records could not be replayed.
    pub skipped: u64,
    /// Why.
    pub gaps: Vec<String>,
    /// The first output that differs.
    pub fault: Option<String>,
}

thread_local! {
    /// What is replayed now, for a panic's message.
    static NOW: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What is replayed by this thread.
pub fn at() -> String {
    NOW.with_borrow(Clone::clone)
}

/// A role whose outputs are compared.
trait Compared: Replayed {
    /// Whether this record is the same in a replay. `from`: what the role was built from.
    fn is_same(_record: &Self::Record, _from: &Beginning) -> bool {
        true
    }
}

impl Compared for Acceptor {}
impl Compared for Proposer {}
impl Compared for Bootstrap {}
impl Compared for Client {}

impl Compared for Learner {
    fn is_same(record: &learner::Record, from: &Beginning) -> bool {
        let Beginning::Learner(_, _, of) = from else { return true };
        let has_sessions = of.parts.iter().any(|part| part.chat.sessions() > 0);
        !(has_sessions && matches!(record, learner::Record::Checkpoint(_)))
    }
}

/// The roles of a process.
pub fn roles(who: Who) -> &'static [Stream] {
    match who {
        Who::Replica(_) => {
            &[Stream::Bootstrap, Stream::Acceptor, Stream::Proposer, Stream::Learner]
        }
        Who::Client(_) => &[Stream::Client],
    }
}

/// Replays a role of a life.
pub fn replay(life: &Life<'_>, stream: Stream) -> Replay {
    match stream {
        Stream::Bootstrap => run::<Bootstrap, bootstrap::Record>(life, stream),
        Stream::Acceptor => run::<Acceptor, acceptor::Record>(life, stream),
        Stream::Proposer => run::<Proposer, Never>(life, stream),
        Stream::Learner => run::<Learner, learner::Record>(life, stream),
        Stream::Client => run::<Client, Outcome>(life, stream),
        Stream::Process => Replay::default(),
    }
}

fn run<R, O>(life: &Life<'_>, stream: Stream) -> Replay
where
    R: Compared<Record = O>,
    R::Input: DeserializeOwned,
    O: Serialize + DeserializeOwned + Debug,
{
    let mut replayed = Replay::default();
    let mut running: Option<Running<R>> = None;
    steps(life, stream, |step: Step<R::Input, O>| {
        if replayed.fault.is_some() {
            return;
        }
        match step {
            Step::Gap(place, why) => {
                running = None;
                replayed.gaps.push(format!("{place}: {why}"));
            }
            Step::Record(place, Record::Begin { now, draw, beginning }) => {
                running = Running::new(now, draw, *beginning);
                if running.is_none() {
                    replayed.gaps.push(format!("{place}: it begins as another role"));
                }
            }
            Step::Record(place, record) => match &mut running {
                None => replayed.skipped += 1,
                Some(running) => {
                    NOW.set(format!("{life}: {stream}: {place}"));
                    let fault = running.goes_on(record, &mut replayed);
                    let tell = |what| format!("{life}: {stream}: {place}: {what}");
                    replayed.fault = fault.map(tell);
                }
            },
        }
    });
    replayed
}

/// A moment of a role that is replayed.
#[derive(Debug)]
pub enum Moment<'a, R: Replayed> {
    /// It gets this, or its timer fires.
    Gets(&'a R, Time, Option<&'a R::Input>),
    /// It has handled that.
    Has(&'a R, Time, Option<&'a R::Input>),
}

/// Builds a role again and gives it what it got until `until`, by its process's clock. Returns the
/// role as it was then. None if it was not built yet, or a gap is before that.
///
/// Outputs are not compared: [`replay()`] does that.
pub fn watch<R>(
    life: &Life<'_>,
    stream: Stream,
    until: Time,
    mut look: impl FnMut(Moment<'_, R>),
) -> Option<R>
where
    R: Replayed,
    R::Input: DeserializeOwned + Clone,
    R::Record: DeserializeOwned,
{
    let mut running: Option<R> = None;
    let mut out = Outbox::new();
    let mut is_over = false;
    steps(life, stream, |step: Step<R::Input, R::Record>| {
        let record = match step {
            Step::Record(_, record) => record,
            // What is missing may be later.
            Step::Gap(..) if is_over => return,
            Step::Gap(..) => return running = None,
        };
        let now = match &record {
            Record::Begin { now, .. }
            | Record::Input { now, .. }
            | Record::Timeout { now, .. }
            | Record::Turn { now, .. } => *now,
            Record::Pages { .. } | Record::Failed | Record::Dropped { .. } => return,
        };
        is_over |= now > until;
        if is_over {
            return;
        }
        match (record, &mut running) {
            (Record::Begin { draw, beginning, .. }, _) => {
                running = R::replayed(&beginning, now, draw);
            }
            (Record::Input { draw, input, .. }, Some(role)) => {
                look(Moment::Gets(role, now, Some(&input)));
                role.handle(now, draw, input.clone(), &mut out);
                look(Moment::Has(role, now, Some(&input)));
            }
            (Record::Timeout { draw, .. }, Some(role)) => {
                look(Moment::Gets(role, now, None));
                role.handle_timeout(now, draw, &mut out);
                look(Moment::Has(role, now, None));
            }
            (Record::Turn { .. }, Some(role)) => {
                role.flush(now, &mut out);
                out = Outbox::new();
            }
            _ => {}
        }
    });
    running
}

/// A role that is replayed.
struct Running<R: Compared> {
    role: R,
    from: Beginning,
    out: Outbox<R::Record>,
}

impl<R: Compared> Running<R>
where
    R::Record: Serialize + Debug,
{
    fn new(now: Time, draw: u64, from: Beginning) -> Option<Self> {
        Some(Running { role: R::replayed(&from, now, draw)?, from, out: Outbox::new() })
    }

    /// Takes the next record. Returns what differs.
    fn goes_on(
        &mut self,
        record: Record<R::Input, R::Record>,
        replayed: &mut Replay,
    ) -> Option<String> {
        let Running { role, from, out } = self;
        match record {
            Record::Input { now, draw, input } => {
                replayed.inputs += 1;
                role.handle(now, draw, input, out);
                None
            }
            Record::Timeout { now, draw } => {
                replayed.inputs += 1;
                role.handle_timeout(now, draw, out);
                None
            }
            Record::Turn { now, deadline, records, envelopes, page_requests, excerpt_requests } => {
                role.flush(now, out);
                let done = std::mem::take(out);
                let Contents {
                    records: own,
                    envelopes: sent,
                    page_requests: asked,
                    excerpt_requests: followed,
                } = done.contents();
                let differs =
                    differs("record", records.iter(), own.iter(), |it| R::is_same(it, from))
                        .or_else(|| differs("message", envelopes.iter(), sent.iter(), |_| true))
                        .or_else(|| {
                            differs("look-up", page_requests.iter(), asked.iter(), |_| true)
                        })
                        .or_else(|| {
                            let read = excerpt_requests.iter();
                            differs("look-up of a follower", read, followed.iter(), |_| true)
                        })
                        .or_else(|| {
                            differs("deadline", [deadline].iter(), [role.deadline()].iter(), |_| {
                                true
                            })
                        });
                replayed.turns += u64::from(differs.is_none());
                differs.map(|what| format!("the turn at {} µs: {what}", now.0))
            }
            Record::Pages { .. } | Record::Failed => None,
            Record::Begin { .. } | Record::Dropped { .. } => unreachable!("taken before"),
        }
    }
}

/// In what two lists of outputs differ first.
fn differs<'a, T: Serialize + Debug + 'a>(
    kind: &str,
    traced: impl Iterator<Item = &'a T>,
    replayed: impl Iterator<Item = &'a T>,
    is_same: impl Fn(&T) -> bool,
) -> Option<String> {
    let mut traced = traced.filter(|it| is_same(it));
    let mut replayed = replayed.filter(|it| is_same(it));
    let mut number = 0;
    loop {
        let (one, other) = (traced.next(), replayed.next());
        if one.is_none() && other.is_none() {
            return None;
        }
        // Compared by what is written: two may count as equal for a role and differ.
        if one.map(bytes) != other.map(bytes) {
            let (one, other) = (shown(one), shown(other));
            return Some(format!(
                "{kind} {number} differs\n  traced:   {one}\n  replayed: {other}"
            ));
        }
        number += 1;
    }
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("memory takes everything")
}

fn shown<T: Debug>(value: Option<&T>) -> String {
    let Some(value) = value else { return "none".into() };
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}
