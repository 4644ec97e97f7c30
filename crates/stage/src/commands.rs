//! What a script may say. See `tests/scripts/README.md`.

use super::stage::{Loud, Party, STABILIZE_US, Setup, Stage};
use multipaxos::message::Request;
use multipaxos::paxos::chat::SESSION_WINDOW_SLOTS;
use multipaxos::types::{Command, Line, ReplicaId, Slot, replicas};
use simulator::node::RoleName;

/// Why a command cannot be carried out.
type Done = Result<(), String>;

/// A script under way: no cluster at first.
#[derive(Debug)]
pub(crate) struct Session {
    stage: Option<Stage>,
}

/// A command, cut into words.
#[derive(Debug)]
struct Words {
    plain: Vec<String>,
    named: Vec<(String, String)>,
    quoted: Option<String>,
}

impl Words {
    fn cut(text: &str) -> Result<Words, String> {
        let mut words = Words { plain: Vec::new(), named: Vec::new(), quoted: None };
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('"') {
                let (inside, after) = after.split_once('"').ok_or("a quote is not closed")?;
                words.quoted = Some(inside.to_string());
                rest = after.trim_start();
                continue;
            }
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            match word.split_once('=') {
                Some((name, value)) => words.named.push((name.into(), value.into())),
                None => words.plain.push(word.into()),
            }
            rest = after.trim_start();
        }
        Ok(words)
    }

    /// The number that goes by `name`.
    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let found = self.named.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| parse(value)).transpose()
    }

    fn only(&self, names: &[&str]) -> Done {
        match self.named.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((name, _)) => Err(format!("no such option here: {name}=")),
            None => Ok(()),
        }
    }

    fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }
}

fn parse(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

/// `50ms`, `2s`, in microseconds.
fn span(text: &str) -> Result<u64, String> {
    let (number, unit_us) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1_000),
        (None, Some(number)) => (number, 1_000_000),
        (None, None) => return Err(format!("not a time: {text}")),
    };
    Ok(parse(number)? * unit_us)
}

impl Session {
    pub(crate) fn new() -> Self {
        Session { stage: None }
    }

    /// Carries out one command and returns what it printed.
    pub(crate) fn run(&mut self, command: &str) -> Result<Vec<String>, String> {
        if let Some(rest) = command.strip_prefix("quietly ") {
            if let Some(stage) = &mut self.stage {
                stage.loud = Loud::Nothing;
            }
            self.carry_out(rest)?;
            let stage = self.stage.as_mut().ok_or("there is no cluster yet")?;
            stage.loud = Loud::All;
            return Ok(stage.take_lines());
        }
        self.carry_out(command)?;
        Ok(self.stage.as_mut().map(Stage::take_lines).unwrap_or_default())
    }

    fn carry_out(&mut self, command: &str) -> Done {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let words = Words::cut(rest)?;
        if verb == "cluster" {
            self.stage = Some(cluster(&words)?);
            return Ok(());
        }
        let stage = self.stage.as_mut().ok_or("there is no cluster yet")?;
        match verb {
            "request" => request(stage, &words),
            "client" => {
                stage.add_client(parse(words.plain.first().ok_or("which client?")?)?);
                Ok(())
            }
            "submit" => {
                let client = parse(words.plain.first().ok_or("which client?")?)?;
                stage.submit(client, Line::from(words.quoted.ok_or("which line?")?))
            }
            "messages" => {
                let heartbeats = words.has("heartbeats");
                let shown: Vec<String> = stage
                    .network
                    .iter()
                    .filter(|pending| heartbeats || !pending.is_heartbeat())
                    .map(|pending| pending.text())
                    .collect();
                shown.into_iter().for_each(|line| stage.say(line));
                Ok(())
            }
            "deliver" => each(stage, &words, |stage, id| stage.deliver(id)),
            "drop" => each(stage, &words, |stage, id| {
                stage.network.retain(|pending| pending.id != id);
            }),
            "duplicate" => each(stage, &words, |stage, id| stage.duplicate(id)),
            "hold" => each(stage, &words, |stage, id| {
                for pending in stage.network.iter_mut().filter(|pending| pending.id == id) {
                    pending.held = true;
                }
            }),
            "settle" => {
                stage.settle_network();
                Ok(())
            }
            "tick" => {
                stage.tick(span(words.plain.first().ok_or("how long?")?)?);
                Ok(())
            }
            "run" => {
                let us = span(words.plain.first().ok_or("how long?")?)?;
                pass(stage, us, false, words.has("verbose"))
            }
            "stabilize" => pass(stage, STABILIZE_US, true, words.has("verbose")),
            "campaign" => stage.campaign(one(stage, &words)?),
            "crash" => every(stage, &words, Stage::end),
            "restart" => every(stage, &words, Stage::begin),
            "begin" => every(stage, &words, Stage::begin),
            "wipe" => every(stage, &words, Stage::wipe),
            "fail-sync" => {
                let kept = words.has("kept");
                every(stage, &words, |stage, id| stage.fail_sync(id, kept))
            }
            "partition" => partition(stage, rest),
            "cut" => link(stage, &words, true),
            "join" => link(stage, &words, false),
            "heal" => {
                for (from, to) in pairs(stage.setup.replicas) {
                    stage.cut(from, to, false);
                }
                Ok(())
            }
            "draw" => {
                let id = one(stage, &words)?;
                stage.nodes[id.index()].draw = span(words.plain.get(1).ok_or("how long?")?)?;
                Ok(())
            }
            "stall" => {
                let (id, role) = (one(stage, &words)?, role(&words)?);
                stage.nodes[id.index()].stalled.push(role);
                Ok(())
            }
            "unstall" => {
                let (id, role) = (one(stage, &words)?, role(&words)?);
                stage.nodes[id.index()].stalled.retain(|stalled| *stalled != role);
                stage.settle(id);
                Ok(())
            }
            "lose" => {
                let (id, role) = (one(stage, &words)?, role(&words)?);
                let lost = stage.nodes[id.index()].lose_inbox(role);
                stage.say(format!("{lost} hand-overs are lost"));
                Ok(())
            }
            "state" => every(stage, &words, |stage, id| {
                let state = stage.state(id);
                stage.say(state);
            }),
            "logs" => {
                stage.show_logs();
                Ok(())
            }
            _ => Err(format!("no such command: {verb}")),
        }
    }
}

fn cluster(words: &Words) -> Result<Stage, String> {
    words.only(&["replicas", "payload", "checkpoint", "window", "skip_slot"])?;
    let setup = Setup {
        replicas: words.number("replicas")?.unwrap_or(3) as usize,
        payload_bytes: words.number("payload")?.unwrap_or(1_300) as usize,
        checkpoint_slots: words.number("checkpoint")?.unwrap_or(4_096),
        session_window_slots: words.number("window")?.unwrap_or(SESSION_WINDOW_SLOTS),
        skip_slot: words.number("skip_slot")?.map(Slot),
        by_hand: words.has("by-hand"),
    };
    Ok(Stage::new(setup))
}

fn request(stage: &mut Stage, words: &Words) -> Done {
    words.only(&["client", "session", "seq", "to", "birth", "after"])?;
    let line = words.quoted.as_deref().ok_or("which line?")?;
    let client = words.number("client")?.unwrap_or(1);
    let session = words.number("session")?.unwrap_or(1);
    let request = Request::new(client, session, words.number("seq")?.unwrap_or(0), line);
    let birth = Slot(words.number("birth")?.unwrap_or(0));
    let after = Slot(words.number("after")?.unwrap_or(0));
    let request = Request::of(&Command { birth, ..request.command() }, after);
    let to = replica(stage, words.number("to")?.unwrap_or(0))?;
    stage.request(to, request);
    Ok(())
}

fn replica(stage: &Stage, number: u64) -> Result<ReplicaId, String> {
    let known = (number as usize) < stage.setup.replicas;
    known.then_some(ReplicaId(number as u8)).ok_or(format!("no such replica: {number}"))
}

/// The one replica that is named.
fn one(stage: &Stage, words: &Words) -> Result<ReplicaId, String> {
    replica(stage, parse(words.plain.first().ok_or("which replica?")?)?)
}

fn role(words: &Words) -> Result<RoleName, String> {
    match words.plain.get(1).map(String::as_str) {
        Some("replica") => Ok(RoleName::Bootstrap),
        Some("acceptor") => Ok(RoleName::Acceptor),
        Some("proposer") => Ok(RoleName::Proposer),
        Some("learner") => Ok(RoleName::Learner),
        _ => Err("which role?".into()),
    }
}

/// Does something to each replica that is named; all of them, if none is.
fn every(stage: &mut Stage, words: &Words, mut act: impl FnMut(&mut Stage, ReplicaId)) -> Done {
    let mut ids = Vec::new();
    for word in words.plain.iter().filter(|word| *word != "kept" && *word != "all") {
        ids.push(replica(stage, parse(word)?)?);
    }
    if ids.is_empty() {
        ids = replicas(stage.setup.replicas).collect();
    }
    ids.into_iter().for_each(|id| act(stage, id));
    Ok(())
}

/// Does something to each message that is meant: by id, or all, by kind, sender and
/// receiver, less those after `except`.
fn each(stage: &mut Stage, words: &Words, mut act: impl FnMut(&mut Stage, &str)) -> Done {
    words.only(&["from", "to", "kind"])?;
    let mut named: Vec<&str> = words.plain.iter().map(String::as_str).collect();
    let mut excepted = Vec::new();
    if let Some(at) = named.iter().position(|word| *word == "except") {
        excepted = named.split_off(at);
    }
    let option = |name: &str| words.named.iter().find(|(known, _)| known == name);
    let chosen = |name: &str, is: String| option(name).is_none_or(|(_, wanted)| *wanted == is);
    let by_id: Vec<&str> = named.iter().copied().filter(|word| *word != "all").collect();
    for id in by_id.iter().chain(excepted.iter().skip(1)) {
        if !stage.network.iter().any(|pending| pending.id == **id) {
            return Err(format!("no such message: {id}"));
        }
    }
    let short = |party: &Party| party.to_string();
    let ids: Vec<String> = if by_id.is_empty() {
        if words.named.is_empty() && !named.contains(&"all") {
            return Err("which messages?".into());
        }
        let meant = stage.network.iter().filter(|pending| {
            !pending.held
                && chosen("from", short(&pending.from))
                && chosen("to", short(&pending.to))
                && chosen("kind", pending.kind())
                && !excepted.contains(&pending.id.as_str())
        });
        meant.map(|pending| pending.id.clone()).collect()
    } else {
        by_id.into_iter().map(String::from).collect()
    };
    if ids.is_empty() && !named.contains(&"all") {
        return Err("no such message".into());
    }
    ids.iter().for_each(|id| act(stage, id));
    Ok(())
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

/// `partition 0 1 | 1 2`: only replicas of one group hear each other.
fn partition(stage: &mut Stage, text: &str) -> Done {
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

/// `cut 0->1`: one direction.
fn link(stage: &mut Stage, words: &Words, cut: bool) -> Done {
    for word in &words.plain {
        let (from, to) = word.split_once("->").ok_or(format!("not a link: {word}"))?;
        let (from, to) = (replica(stage, parse(from)?)?, replica(stage, parse(to)?)?);
        stage.cut(from, to, cut);
    }
    Ok(())
}
