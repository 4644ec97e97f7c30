//! Why a replica did not lead at some moment, in sentences.
//!
//! The proposers of all replicas are replayed up to that moment ([`watch`]) and asked
//! ([`Outlook`]). What the replica tried before is in what it got: who answered its pre-votes, who
//! refused its ballot. Why another replica refused a pre-vote that replica says itself, at the
//! moment in its own trace at which the question came ([`Refusal`]).
//!
//! **Does not** know what is in no trace: a question that was lost has no answer here either.

use crate::files::Life;
use crate::merged::{TimeLine, places};
use crate::replay::{Moment, watch};
use crate::steps::{Step, steps};
use multipaxos::message::ToProposer;
use multipaxos::paxos::bootstrap::{self, Bootstrap};
use multipaxos::paxos::proposer::{Input, NoVote, Outlook, Patience, Proposer, Refusal};
use multipaxos::quorum::{ReplicaSet, quorum};
use multipaxos::runtime::trace::Who;
use multipaxos::runtime::trace::begin::Beginning;
use multipaxos::runtime::trace::block::{Record, Stream};
use multipaxos::types::{Ballot, ReplicaId, Time, replicas};
use std::collections::BTreeMap;

/// A replica that has said nothing for so many heartbeats was killed, or stood still.
const SILENT_HEARTBEATS: u64 = 4;

/// The time between two heartbeats where the trace does not say, in microseconds.
const HEARTBEAT_US: u64 = 50_000;

/// What a replica tried: it asked for pre-votes, and then perhaps campaigned and led.
#[derive(Debug)]
struct Attempt {
    since: Time,
    ballot: Ballot,
    /// The numbers of its questions, the newest last. None for ballot 0, which needs no pre-vote.
    round: Option<u64>,
    /// Who granted or refused the pre-vote, and what its acceptor had promised.
    replies: BTreeMap<ReplicaId, (bool, Option<Ballot>)>,
    campaigned: Option<Time>,
    led: Option<Time>,
    /// When that ended, and why.
    over: Option<(Time, String)>,
}

/// A replica, as it was at the moment.
struct Seat {
    id: ReplicaId,
    n: usize,
    /// The life, and its clock at the moment.
    life: usize,
    now: Time,
    outlook: Option<Outlook>,
    /// What it tried, oldest first.
    attempts: Vec<Attempt>,
    /// Why it refused the pre-votes of the replica in question, by their numbers.
    refused: BTreeMap<u64, Option<Refusal>>,
}

/// Why replica `id` did not lead at `us` on the time line of all traces.
pub fn why_not_leader(lives: &[Life<'_>], id: ReplicaId, us: u64) -> Vec<String> {
    let line = TimeLine::of(lives);
    let at = |of: ReplicaId| living(lives, &line, of, us);
    let own = match at(id) {
        Ok(life) => life,
        Err(why) => return vec![format!("At {} replica {id} did not lead: {why}.", shown(us))],
    };
    let own = Seat::at(lives, &line, own, us, id);
    let others: Vec<Seat> = replicas(places(lives))
        .filter(|other| *other != id)
        .filter_map(|other| Some(Seat::at(lives, &line, at(other).ok()?, us, id)))
        .collect();
    let clock = |seat: &Seat, now: Time| shown(line.us(seat.life, now));
    let mut lines = vec![headline(lives, &own, us)];
    if let Some(Outlook::Leads(_)) = own.outlook {
        return lines;
    }
    lines.push(who_led(&others, &clock));
    for other in replicas(places(lives)).filter(|other| *other != id) {
        if let Err(why) = at(other) {
            lines.push(format!("Of replica {other} nothing is known then: {why}."));
        }
    }
    if let Some(Outlook::Follows(patience)) = own.outlook {
        lines.extend(waits(&own, &patience, &clock));
    }
    if own.outlook.is_some() {
        lines.extend(tried(&own, &others, &clock));
    }
    lines
}

/// The life of a replica that ran then, or why there is none.
fn living(lives: &[Life<'_>], line: &TimeLine, id: ReplicaId, us: u64) -> Result<usize, String> {
    let of = |life: &usize| lives[*life].who() == Who::Replica(id);
    let mine: Vec<usize> = (0..lives.len()).filter(of).collect();
    let Some(first) = mine.first() else { return Err("it has no trace here".into()) };
    let Some(life) = mine.iter().copied().rev().find(|life| line.clock(*life, us).is_some()) else {
        return Err(format!("its trace begins at {}", shown(line.us(*first, Time(0)))));
    };
    if let Some(end) = lives[life].end.map(|end| line.us(life, end)).filter(|end| *end < us) {
        return Err(format!("it had ended at {}", shown(end)));
    }
    if us > line.end() {
        return Err(format!("all traces end before, at {}", shown(line.end())));
    }
    let last = line.last(life);
    if us > last + SILENT_HEARTBEATS * heartbeat_us(&lives[life]) {
        return Err(format!(
            "the last that its trace says is of {}: it was killed, or stood still",
            shown(last)
        ));
    }
    Ok(life)
}

/// The time between two heartbeats of this life.
fn heartbeat_us(life: &Life<'_>) -> u64 {
    let mut heartbeat_us = HEARTBEAT_US;
    steps(life, Stream::Bootstrap, |step: Step<bootstrap::Input, bootstrap::Record>| {
        if let Step::Record(_, Record::Begin { beginning, .. }) = step
            && let Beginning::Bootstrap(settings, _) = *beginning
        {
            heartbeat_us = settings.heartbeat_us;
        }
    });
    heartbeat_us
}

impl Seat {
    /// The replica of this life at `us`. `asks`: the replica whose pre-votes are of interest.
    fn at(lives: &[Life<'_>], line: &TimeLine, life: usize, us: u64, asks: ReplicaId) -> Seat {
        let header = &lives[life].header;
        let Who::Replica(id) = header.who else { unreachable!("a replica's life") };
        let now = line.clock(life, us).unwrap_or(Time(0));
        let (attempts, refused) = (Vec::new(), BTreeMap::new());
        let mut seat = Seat { id, n: header.n, life, now, outlook: None, attempts, refused };
        let role = watch::<Proposer>(&lives[life], Stream::Proposer, now, |moment| match moment {
            Moment::Gets(role, at, Some(input)) => seat.gets(role, at, input, asks),
            Moment::Gets(_, _, None) => {}
            Moment::Has(role, at, input) => seat.has(role, at, input),
        });
        seat.outlook = role.map(|role| role.outlook(now));
        seat
    }

    fn gets(&mut self, role: &Proposer, now: Time, input: &Input, asks: ReplicaId) {
        match input {
            Input::Peer(from, ToProposer::PreVote { ballot, round }) if *from == asks => {
                self.refused.insert(*round, role.refusal(now, asks, *ballot));
            }
            Input::Peer(from, ToProposer::PreVoteReply { round, granted, promised, .. }) => {
                if let Some(last) = self.attempts.last_mut()
                    && last.round == Some(*round)
                {
                    last.replies.insert(*from, (*granted, *promised));
                }
            }
            _ => {}
        }
    }

    /// Takes note of what the role does now that it did not do before.
    fn has(&mut self, role: &Proposer, now: Time, input: Option<&Input>) {
        let going = self.attempts.last_mut().filter(|attempt| attempt.over.is_none());
        let begin = |ballot: Ballot, round: Option<u64>| Attempt {
            since: now,
            ballot,
            round,
            replies: BTreeMap::new(),
            campaigned: None,
            led: None,
            over: None,
        };
        match (role.outlook(now), going) {
            (Outlook::Follows(_) | Outlook::Observes(_), None) => {}
            (Outlook::Follows(_) | Outlook::Observes(_), Some(attempt)) => {
                attempt.over = Some((now, ended_by(attempt, input)));
            }
            (Outlook::AsksForPreVotes { ballot, round, .. }, Some(attempt)) => {
                // It asks about a higher ballot, because of an answer.
                (attempt.ballot, attempt.round) = (ballot, Some(round));
            }
            (Outlook::AsksForPreVotes { ballot, round, .. }, None) => {
                self.attempts.push(begin(ballot, Some(round)));
            }
            (Outlook::Campaigns { ballot, .. }, going) => {
                let Some(attempt) = going.filter(|it| it.led.is_none()) else {
                    let campaigned = Some(now);
                    return self.attempts.push(Attempt { campaigned, ..begin(ballot, None) });
                };
                attempt.campaigned.get_or_insert(now);
            }
            (Outlook::Leads(_), Some(attempt)) => {
                attempt.led.get_or_insert(now);
            }
            (Outlook::Leads(ballot), None) => {
                let led = Some(now);
                self.attempts.push(Attempt { led, campaigned: led, ..begin(ballot, None) });
            }
        }
    }
}

/// Why an attempt was over with this input.
fn ended_by(attempt: &Attempt, input: Option<&Input>) -> String {
    match input {
        Some(Input::Peer(from, ToProposer::Nack { promised, .. })) => {
            format!("the acceptor of replica {from} had promised ballot {promised}")
        }
        Some(Input::Heartbeat(from, it)) if it.leading => {
            format!("it heard replica {from} lead with ballot {}", it.ballot)
        }
        Some(Input::Heartbeat(from, it)) if it.campaigning => {
            format!("it heard replica {from} campaign with ballot {}", it.ballot)
        }
        Some(Input::Heartbeat(from, _)) => {
            format!("by a heartbeat of replica {from}, acceptors had promised a higher ballot")
        }
        Some(Input::Peer(from, ToProposer::PreVote { ballot, .. })) => {
            format!("replica {from} asked for pre-votes for ballot {ballot}, which is higher")
        }
        Some(Input::Promised { ballot, .. }) => {
            format!("its own acceptor had promised ballot {ballot}")
        }
        None if attempt.led.is_some() => "no quorum heard it, or it got nothing applied".into(),
        None if attempt.campaigned.is_some() => "no quorum promised the ballot in time".into(),
        None => "no quorum granted it in time".into(),
        Some(_) => "of what it was told".into(),
    }
}

fn headline(lives: &[Life<'_>], seat: &Seat, us: u64) -> String {
    let (id, n) = (seat.id, seat.n);
    let began = |it: &&Attempt| it.led.is_some() && it.over.is_none();
    let did = match seat.outlook {
        Some(Outlook::Leads(ballot)) => {
            let since = seat.attempts.iter().find(began).and_then(|it| it.led).unwrap_or(Time(0));
            let ms = seat.now.since_us(since) / 1_000;
            return format!(
                "At {} replica {id} did lead: with ballot {ballot}, for {ms} ms.",
                shown(us)
            );
        }
        Some(Outlook::Follows(Patience { leader: Some(ballot), .. })) => {
            format!("it followed replica {}, with ballot {ballot}", ballot.owner(n))
        }
        Some(Outlook::Follows(_)) => "it followed, and had heard no leader yet".into(),
        Some(Outlook::AsksForPreVotes { ballot, granted, .. }) => format!(
            "it asked for pre-votes for ballot {ballot}, and {} of {} were there",
            granted.len(),
            quorum(n)
        ),
        Some(Outlook::Campaigns { ballot, promised }) => format!(
            "it campaigned with ballot {ballot}; {} had promised, and it needed {}",
            members(promised, n),
            if ballot == Ballot::ZERO { 1 } else { quorum(n) }
        ),
        Some(Outlook::Observes(NoVote::NotMember)) => {
            "its data directory is not one with which the cluster started, so it has no vote".into()
        }
        Some(Outlook::Observes(NoVote::Beside)) => {
            "another process ran on a copy of its data directory, so its vote did not count".into()
        }
        None => not_built(&lives[seat.life], seat),
    };
    format!("At {} replica {id} did not lead: {did}.", shown(us))
}

/// Why there was no proposer: the replica warmed up, or its trace does not reach back so far.
fn not_built(life: &Life<'_>, seat: &Seat) -> String {
    match watch::<Bootstrap>(life, Stream::Bootstrap, seat.now, |_| {}) {
        Some(role) if !role.is_started() => {
            format!("it was warming up, and waited for {}", role.report())
        }
        Some(_) => "its proposer had not begun, or is not whole in its trace".into(),
        None => "its trace does not reach back so far: the file was full".into(),
    }
}

fn who_led(others: &[Seat], clock: &impl Fn(&Seat, Time) -> String) -> String {
    let mut led: Vec<(Ballot, String)> = Vec::new();
    for seat in others {
        let Some(Outlook::Leads(ballot)) = seat.outlook else { continue };
        let since = seat.attempts.iter().rev().find_map(|attempt| attempt.led);
        let since = since.map_or(String::new(), |at| format!(", since {}", clock(seat, at)));
        led.push((ballot, format!("replica {} led with ballot {ballot}{since}", seat.id)));
    }
    led.sort();
    let led: Vec<String> = led.into_iter().rev().map(|(_, text)| text).collect();
    match led.as_slice() {
        [] => "No other replica led then, as far as there are traces.".into(),
        led => capital(&led.join("; ")) + ".",
    }
}

/// What a follower waits for.
fn waits(seat: &Seat, patience: &Patience, clock: &impl Fn(&Seat, Time) -> String) -> Vec<String> {
    let ago = |at: Time| seat.now.since_us(at).div_ceil(1_000);
    let until = clock(seat, patience.until);
    let mut lines = Vec::new();
    lines.push(match patience.heard_at {
        Some(at) => format!(
            "It had heard a serving leader {} ms before. It would ask for pre-votes at {until} if \
             it heard nothing until then.",
            ago(at)
        ),
        None => format!(
            "It had heard no serving leader in this life. It would ask for pre-votes at {until} \
             if it still heard none."
        ),
    });
    if let Some(ballot) = patience.campaign {
        lines.push(format!(
            "It had heard replica {} campaign with ballot {ballot}, and gave it time.",
            ballot.owner(seat.n)
        ));
    }
    if patience.is_calm {
        lines.push("It had granted a pre-vote, and gave that replica time to campaign.".into());
    }
    if patience.is_behind {
        lines.push("It was behind another replica's log, so it waited longer than usual.".into());
    }
    if patience.is_unsatisfied {
        lines.push("Something waited there and was not applied for too long.".into());
    }
    lines
}

/// What it tried last, and what came of it.
fn tried(seat: &Seat, others: &[Seat], clock: &impl Fn(&Seat, Time) -> String) -> Vec<String> {
    let Some(attempt) = seat.attempts.last() else {
        return vec!["It had not tried to lead in this life.".into()];
    };
    let Attempt { since, ballot, round, replies, campaigned, led, over } = attempt;
    let mut lines = Vec::new();
    if let Some(round) = round {
        lines.push(format!(
            "At {} it asked for pre-votes for ballot {ballot}.",
            clock(seat, *since)
        ));
        for other in replicas(seat.n).filter(|other| *other != seat.id) {
            let at_other = others.iter().find(|it| it.id == other);
            let asked = at_other.and_then(|it| it.refused.get(round).copied());
            lines.push(match (replies.get(&other), asked) {
                (Some((true, _)), _) => format!("Replica {other} granted it."),
                (Some((false, promised)), asked) => {
                    let why = asked.flatten().map(|why| refused(why, seat.n));
                    let said = promised.map_or("nothing".into(), |it| format!("ballot {it}"));
                    let why =
                        why.unwrap_or_else(|| format!("its acceptor had promised {said} then"));
                    format!("Replica {other} refused: {why}.")
                }
                (None, Some(Some(why))) => format!(
                    "Replica {other} refused, and the answer did not arrive: {}.",
                    refused(why, seat.n)
                ),
                (None, Some(None)) => {
                    format!("Replica {other} granted it, and the answer did not arrive.")
                }
                (None, None) if at_other.is_some() => {
                    format!("Replica {other} did not get the question.")
                }
                (None, None) => format!("Replica {other} did not answer."),
            });
        }
    }
    if let Some(at) = campaigned {
        lines.push(format!("At {} it campaigned with ballot {ballot}.", clock(seat, *at)));
    }
    if let Some(at) = led {
        lines.push(format!("At {} it led with ballot {ballot}.", clock(seat, *at)));
    }
    if let Some((at, why)) = over {
        lines.push(format!("At {} that was over: {why}.", clock(seat, *at)));
    }
    lines
}

/// Why a pre-vote was refused, of the one who refused it.
fn refused(why: Refusal, n: usize) -> String {
    let owner = |ballot: Ballot| ballot.owner(n);
    match why {
        Refusal::NotOwner => "the ballot is another replica's".into(),
        Refusal::Observes(NoVote::NotMember) => "it has no vote itself".into(),
        Refusal::Observes(NoVote::Beside) => "its own vote did not count".into(),
        Refusal::Promised(ballot) => format!("its acceptor had promised ballot {ballot}"),
        Refusal::Leads(ballot) => format!("it led itself, with ballot {ballot}"),
        Refusal::Hears(ballot) => {
            format!("it heard replica {} lead with ballot {ballot}", owner(ballot))
        }
        Refusal::Campaigns(ballot) => format!("it campaigned itself, with ballot {ballot}"),
        Refusal::HearsCampaign(ballot) => {
            format!("it heard replica {} campaign with ballot {ballot}", owner(ballot))
        }
    }
}

fn members(set: ReplicaSet, n: usize) -> String {
    let ids: Vec<String> =
        replicas(n).filter(|id| set.contains(*id)).map(|id| id.to_string()).collect();
    match ids.as_slice() {
        [] => "no replica".into(),
        [one] => format!("replica {one}"),
        many => format!("replicas {}", many.join(", ")),
    }
}

/// A moment on the time line.
fn shown(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us / 1_000 % 1_000)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
