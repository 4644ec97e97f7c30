//! The replicas, roles and messages that a command names.

use super::stage::Stage;
use super::words::{Done, Words, parse};
use history::Party;
use multipaxos::types::{ReplicaId, replicas};
use simulator::node::RoleName;

/// The replica of this number.
pub(crate) fn replica(stage: &Stage, number: u64) -> Result<ReplicaId, String> {
    let n = stage.setup.replicas;
    let known = number < n as u64;
    known.then_some(ReplicaId(number as u8)).ok_or_else(|| {
        format!("there is no replica {number}; they are numbered from 0 to {}", n - 1)
    })
}

/// The replica that the command names.
pub(crate) fn one(stage: &Stage, words: &Words) -> Result<ReplicaId, String> {
    replica(stage, parse(words.word(0, "replica")?)?)
}

/// The role that the command names after the replica.
pub(crate) fn role(words: &Words) -> Result<RoleName, String> {
    match words.word(1, "role")? {
        "replica" => Ok(RoleName::Bootstrap),
        "acceptor" => Ok(RoleName::Acceptor),
        "proposer" => Ok(RoleName::Proposer),
        "learner" => Ok(RoleName::Learner),
        other => Err(format!("{other} is none of replica, acceptor, proposer and learner")),
    }
}

/// Calls `act` for each replica that the command names, or for all if it names none, and prints
/// that it did.
pub(crate) fn every(
    stage: &mut Stage,
    words: &Words,
    may_be_kept: bool,
    mut act: impl FnMut(&mut Stage, ReplicaId, bool) -> Done,
) -> Done {
    words.only(usize::MAX, false, &[])?;
    let mut ids = Vec::new();
    for word in &words.plain {
        if word != "all" && !(may_be_kept && word == "kept") {
            ids.push(replica(stage, parse(word)?)?);
        }
    }
    let named = !ids.is_empty();
    if !named {
        ids = replicas(stage.setup.replicas).collect();
    }
    ids.into_iter().try_for_each(|id| act(stage, id, named))
}

/// Calls `act` for each message that the command selects: by id, or all, by kind, sender and
/// receiver, but not for those after `except`.
pub(crate) fn each(
    stage: &mut Stage,
    words: &Words,
    mut act: impl FnMut(&mut Stage, &str),
) -> Done {
    words.only(usize::MAX, false, &["from", "to", "kind"])?;
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
            return Err(format!("no message {id} is on its way, `messages` lists those that are"));
        }
    }
    let short = |party: &Party| party.to_string();
    let ids: Vec<String> = if by_id.is_empty() {
        if words.named.is_empty() && !named.contains(&"all") {
            return Err("which messages? By their ids, or all".into());
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
        return Err("no such message is on its way, `messages` lists those that are".into());
    }
    ids.iter().for_each(|id| act(stage, id));
    Ok(())
}
