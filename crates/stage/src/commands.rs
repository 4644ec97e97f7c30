//! The commands of scripts and of people. See [`crate::help`] and `tests/scripts/README.md`.

use super::help;
use super::play::no_such_command;
use super::requests::{Asked, CLIENT_MAX, request, the_line};
use super::stage::{Loud, STABILIZE_US, Setup, Stage};
use super::targets::{each, every, one, replica, role};
use super::words::{Done, NUMBER_MAX, Words, parse, span, within};
use history::History;
use history::why::why;
use multipaxos::chat::SESSION_WINDOW_SLOTS;
use multipaxos::paxos::ACCEPT_SLOTS_MAX;
use multipaxos::types::{REPLICAS_MAX, ReplicaId, Slot, replicas};

/// A running sequence of commands. At first there is no cluster.
#[derive(Debug, Default)]
pub struct Session {
    stage: Option<Stage>,
    asked: Asked,
}

impl Session {
    /// Carries out one command and returns the lines that it printed.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong and what to do. The command may have been carried out in
    /// part.
    pub fn run(&mut self, command: &str) -> Result<Vec<String>, String> {
        let Some(rest) = command.strip_prefix("quietly ") else {
            self.carry_out(command)?;
            return Ok(self.stage.as_mut().map(Stage::take_lines).unwrap_or_default());
        };
        if let Some(stage) = &mut self.stage {
            stage.loud = Loud::Nothing;
        }
        let done = self.carry_out(rest);
        let lines = self.stage.as_mut().map(|stage| {
            stage.loud = Loud::All;
            stage.take_lines()
        });
        done.map(|()| lines.unwrap_or_default())
    }

    /// What has happened, if there is a cluster.
    pub fn into_history(self) -> Option<History> {
        self.stage.map(|stage| stage.history)
    }

    /// The cluster, if there is one.
    #[cfg(test)]
    pub(crate) fn stage(&self) -> Option<&Stage> {
        self.stage.as_ref()
    }

    fn carry_out(&mut self, command: &str) -> Done {
        let command = command.trim();
        let (verb, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        if help::SESSION.commands.iter().any(|help| help.verb == verb) {
            return Err(format!("{verb}: only at a prompt"));
        }
        if help::find(verb).is_none() {
            return Err(no_such_command(verb));
        }
        self.obey(verb, rest).map_err(|why| match why.contains('`') {
            // The error already says what to do.
            true => format!("{verb}: {why}"),
            false => format!("{verb}: {why}; see `help {verb}`"),
        })
    }

    fn obey(&mut self, verb: &str, rest: &str) -> Done {
        let words = Words::cut(rest)?;
        if verb == "cluster" {
            self.stage = Some(cluster(&words)?);
            self.asked = Asked::default();
            return Ok(());
        }
        let asked = &mut self.asked;
        let stage = self.stage.as_mut().ok_or("there is no cluster yet, begin with `cluster`")?;
        match verb {
            "request" => request(stage, asked, &words),
            "mark" => {
                words.only(1, false, &[])?;
                let id = one(stage, &words)?;
                stage.mark(id);
                Ok(())
            }
            "client" => {
                words.only(1, false, &[])?;
                let id = parse(words.word(0, "client")?)?;
                stage.add_client(within("client", id, 0..=CLIENT_MAX)?);
                Ok(())
            }
            "submit" => {
                words.only(1, true, &[])?;
                let client = parse(words.word(0, "client")?)?;
                stage.submit(client, the_line(&words)?)
            }
            "messages" => {
                words.only(1, false, &[])?;
                let heartbeats = words.may_say(0, "heartbeats")?;
                let shown: Vec<String> = stage
                    .network
                    .iter()
                    .filter(|pending| heartbeats || !pending.is_heartbeat())
                    .map(|pending| pending.text())
                    .collect();
                shown.into_iter().for_each(|line| stage.say(line));
                Ok(())
            }
            "deliver" => each(stage, &words, Stage::deliver),
            "drop" => each(stage, &words, Stage::drop_message),
            "duplicate" => each(stage, &words, Stage::duplicate),
            "hold" => each(stage, &words, Stage::hold),
            "settle" => {
                words.only(0, false, &[])?;
                stage.settle_network();
                Ok(())
            }
            "tick" => {
                words.only(1, false, &[])?;
                stage.tick(span(words.word(0, "time")?)?);
                Ok(())
            }
            "run" => {
                words.only(2, false, &[])?;
                let us = span(words.word(0, "time")?)?;
                pass(stage, us, false, words.may_say(1, "verbose")?)
            }
            "stabilize" => {
                words.only(1, false, &[])?;
                pass(stage, STABILIZE_US, true, words.may_say(0, "verbose")?)
            }
            "campaign" => {
                words.only(1, false, &[])?;
                stage.campaign(one(stage, &words)?)
            }
            "crash" => every(stage, &words, false, |stage, id, named| match stage.is_up(id) {
                false if named => Err(format!("replica {id} is down already")),
                false => Ok(()),
                true => {
                    stage.end(id);
                    Ok(())
                }
            }),
            "terminate" => {
                words.only(1, false, &[])?;
                let id = one(stage, &words)?;
                if !stage.is_up(id) {
                    return Err(format!("replica {id} is down already"));
                }
                stage.terminate(id);
                Ok(())
            }
            "change" => {
                words.only(3, false, &[])?;
                let id = one(stage, &words)?;
                if !stage.is_up(id) {
                    return Err(format!("replica {id} is down: ask one that leads"));
                }
                let member = replica(stage, parse(words.word(2, "member")?)?)?;
                match words.word(1, "kind of change")? {
                    "with" => stage.change(id, member, true),
                    "without" => stage.change(id, member, false),
                    other => Err(format!("{other} is neither with nor without")),
                }
            }
            "restart" | "begin" => {
                every(stage, &words, false, |stage, id, named| match stage.is_up(id) {
                    true if named => Err(format!("replica {id} is up; `crash {id}` ends it")),
                    true => Ok(()),
                    false => {
                        stage.begin(id);
                        Ok(())
                    }
                })
            }
            "wipe" => every(stage, &words, false, |stage, id, _| {
                // If all replicas lose their disks, nothing is left of the cluster.
                if stage.is_last_member(id) {
                    return Err("no disk of this cluster would be left, `cluster` begins a new \
                                one"
                    .into());
                }
                stage.wipe(id);
                Ok(())
            }),
            "copy" => every(stage, &words, true, |stage, id, _| {
                stage.copy(id);
                Ok(())
            }),
            "put-back" => every(stage, &words, true, |stage, id, _| match stage.put_back(id) {
                true => Ok(()),
                false => Err(format!("there is no copy of that disk, `copy {id}` makes one")),
            }),
            "alter" => every(stage, &words, true, |stage, id, _| match stage.alter(id) {
                true => Ok(()),
                false => Err("no line of that disk is in a durable checkpoint".into()),
            }),
            "fail-sync" => {
                let kept = words.has("kept");
                every(stage, &words, true, |stage, id, _| {
                    stage.fail_sync(id, kept);
                    Ok(())
                })
            }
            "partition" => partition(stage, rest),
            "cut" => link(stage, &words, true),
            "join" => link(stage, &words, false),
            "heal" => {
                words.only(0, false, &[])?;
                for (from, to) in pairs(stage.setup.replicas) {
                    stage.cut(from, to, false);
                }
                Ok(())
            }
            "latency" => latency(stage, &words),
            "disk" => {
                words.only(2, false, &[])?;
                let (id, us) = (one(stage, &words)?, span(words.word(1, "time")?)?);
                stage.nodes[id.index()].sync_us = us;
                Ok(())
            }
            "draw" => {
                words.only(2, false, &[])?;
                let id = one(stage, &words)?;
                stage.nodes[id.index()].draw = span(words.word(1, "time")?)?;
                Ok(())
            }
            "stall" => {
                words.only(2, false, &[])?;
                let (id, role) = (one(stage, &words)?, role(&words)?);
                stage.stall(id, role);
                Ok(())
            }
            "unstall" => {
                words.only(2, false, &[])?;
                let (id, role) = (one(stage, &words)?, role(&words)?);
                stage.unstall(id, role);
                Ok(())
            }
            "lose" => {
                words.only(2, false, &[])?;
                let (id, role) = (one(stage, &words)?, role(&words)?);
                let lost = stage.nodes[id.index()].lose_inbox(role);
                stage.say(format!("{lost} hand-overs are lost"));
                Ok(())
            }
            "state" => every(stage, &words, false, |stage, id, _| {
                let state = stage.state(id);
                stage.say(state);
                Ok(())
            }),
            "logs" => {
                words.only(0, false, &[])?;
                stage.show_logs();
                Ok(())
            }
            "why" => {
                words.only(1, false, &[])?;
                let slot = Slot(parse(words.word(0, "slot")?)?);
                let lines = why(&stage.history, slot);
                lines.into_iter().for_each(|line| stage.say(line));
                Ok(())
            }
            _ => Err("it stands only behind `quietly`".into()),
        }
    }
}

fn cluster(words: &Words) -> Result<Stage, String> {
    words.only(1, false, &["replicas", "payload", "checkpoint", "window", "held", "skip_slot"])?;
    let number = |name: &str, otherwise: u64, range| match words.number(name)? {
        None => Ok(otherwise),
        Some(number) => within(name, number, range),
    };
    let setup = Setup {
        replicas: number("replicas", 3, 1..=REPLICAS_MAX as u64)? as usize,
        payload_bytes: number("payload", 1_300, 64..=65_536)? as usize,
        checkpoint_slots: number("checkpoint", 4_096, 1..=32_768)?,
        session_window_slots: number("window", SESSION_WINDOW_SLOTS, 1..=NUMBER_MAX)?,
        held_slots: number("held", ACCEPT_SLOTS_MAX, 1..=ACCEPT_SLOTS_MAX)?,
        skip_slot: words.number("skip_slot")?.map(Slot),
        by_hand: words.may_say(0, "by-hand")?,
    };
    Ok(Stage::new(setup))
}

fn pass(stage: &mut Stage, us: u64, until_quiet: bool, verbose: bool) -> Done {
    let before = stage.loud;
    if before == Loud::All && !verbose {
        stage.loud = Loud::Events;
    }
    let quiet = stage.pass(us, until_quiet);
    stage.loud = before;
    if until_quiet && !quiet {
        stage.say(format!("not quiet after {} s", us / 1_000_000));
    }
    Ok(())
}

fn pairs(n: usize) -> impl Iterator<Item = (ReplicaId, ReplicaId)> {
    let ids = move || replicas(n);
    ids().flat_map(move |from| ids().map(move |to| (from, to))).filter(|(from, to)| from != to)
}

/// `partition 0 1 | 1 2`: only replicas of the same group hear each other.
fn partition(stage: &mut Stage, text: &str) -> Done {
    if text.trim().is_empty() {
        return Err("which groups?".into());
    }
    let mut groups: Vec<Vec<ReplicaId>> = Vec::new();
    for group in text.split('|') {
        let ids = group.split_whitespace().map(|word| replica(stage, parse(word)?));
        groups.push(ids.collect::<Result<_, _>>()?);
    }
    for (from, to) in pairs(stage.setup.replicas) {
        let together = groups.iter().any(|group| group.contains(&from) && group.contains(&to));
        stage.cut(from, to, !together);
    }
    Ok(())
}

/// `cut 0->1`: cuts one direction of a link.
fn link(stage: &mut Stage, words: &Words, cut: bool) -> Done {
    words.only(usize::MAX, false, &[])?;
    words.word(0, "link")?;
    for word in &words.plain {
        let (from, to) = direction(stage, word)?;
        stage.cut(from, to, cut);
    }
    Ok(())
}

/// `latency 350ms` or `latency 0->1 0ms-1s`: how long messages between replicas travel.
fn latency(stage: &mut Stage, words: &Words) -> Done {
    words.only(usize::MAX, false, &[])?;
    let (time, links) = words.plain.split_last().ok_or("which time?")?;
    let (shortest, longest) = time.split_once('-').unwrap_or((time, time));
    let spread = (span(shortest)?, span(longest)?);
    if spread.0 > spread.1 {
        return Err(format!("{time}: the shorter time comes first"));
    }
    if links.is_empty() {
        pairs(stage.setup.replicas).for_each(|(from, to)| stage.set_latency(from, to, spread));
    }
    for link in links {
        let (from, to) = direction(stage, link)?;
        stage.set_latency(from, to, spread);
    }
    Ok(())
}

/// A direction of a link: `0->1`.
fn direction(stage: &Stage, word: &str) -> Result<(ReplicaId, ReplicaId), String> {
    let Some((from, to)) = word.split_once("->") else {
        return Err(format!("{word} is not a link such as 0->1"));
    };
    Ok((replica(stage, parse(from)?)?, replica(stage, parse(to)?)?))
}
