//! Processes with keys and without, an attacker who has everything that was sent, and what each
//! believes.

use super::key::{KEY_BYTES, Secret};
use super::session::{SESSIONS_MAX, Silence};
use super::*;
use crate::message::{Answer, ClientMessage, Message, ToAcceptor, Voter};
use crate::net::frame::{ClusterCell, Decoder};
use crate::net::pack::Packer;
use crate::net::{DATAGRAM_BYTES_DEFAULT, Incoming, Outgoing};
use crate::types::{Ballot, BootId, Slot};
use datagrams::codec::{Body, Departure, Sink};
use datagrams::counters::Counters;
use std::net::Ipv4Addr;

const OURS: ClusterId = ClusterId(0xC1);
const N: usize = 3;

fn secret(byte: u8) -> Secret {
    Secret::new([byte; KEY_BYTES])
}

fn cluster_keys(bytes: &[u8]) -> Keys {
    Keys::Cluster(bytes.iter().map(|byte| secret(*byte)).collect())
}

/// One life of a process, and where it is.
struct Process {
    identity: Identity,
    decoder: Decoder,
    packer: Packer,
    at: Address,
}

struct Datagrams(Vec<(Endpoint, Vec<u8>)>);

impl Sink<Endpoint> for Datagrams {
    fn datagram(&mut self, to: Endpoint, datagram: &mut [u8], _: Departure) {
        self.0.push((to, datagram.to_vec()));
    }

    fn oversize(&mut self, _: Endpoint, _: u64, _: &[u8]) {
        unreachable!("all messages here are short");
    }

    fn length(&self, _: Endpoint) -> usize {
        DATAGRAM_BYTES_DEFAULT
    }
}

fn replica(id: u8) -> Party {
    Party::Replica(ReplicaId(id))
}

impl Process {
    fn new(me: Party, life: u64, keys: Option<&Keys>) -> Process {
        let cluster = ClusterCell::new();
        cluster.set(OURS);
        let guard = Guard::of(keys, N);
        let identity = Identity { n: N, rows: N, me, boot: BootId(life), cluster, guard };
        let decoder = Decoder::new(identity.clone(), Arc::new(Counters::new()));
        let port = match me {
            Party::Replica(id) => 7_000 + u16::from(id.0),
            Party::Client => 40_000,
        };
        let at = Address((Ipv4Addr::LOCALHOST, port).into());
        Process { packer: Packer::new(identity.clone()), identity, decoder, at }
    }

    /// What leaves when it sends one message: greetings first.
    fn sends(&mut self, to: u8) -> Vec<Vec<u8>> {
        let to = ReplicaId(to);
        let outgoing = match self.identity.me {
            Party::Replica(_) => {
                let (ballot, first) = (Ballot(4), Slot::ZERO);
                let prepare = ToAcceptor::Prepare { ballot, first, voter: Voter::default() };
                Outgoing::Peer { to, message: Message::Acceptor(prepare) }
            }
            Party::Client => Outgoing::Call { to, message: ClientMessage::Hello },
        };
        let mut made = Datagrams(Vec::new());
        self.packer.add(&outgoing, &mut made);
        self.packer.flush(&mut made);
        let mut leaving = Vec::new();
        for (to, mut datagram) in made.0 {
            let size = datagram.len();
            let Protected { leaves, greeting } = self.identity.protect(to, &mut datagram, size);
            leaving.extend(greeting);
            leaving.extend(leaves.then_some(datagram));
        }
        leaving
    }

    /// A datagram for a process that it has heard, with one message.
    fn answers(&mut self, to: &Process) -> Vec<u8> {
        let Party::Client = to.identity.me else { return self.sends(0).pop().expect("one") };
        let answer = Answer::Leader { ballot: Ballot(4) };
        let mut made = Datagrams(Vec::new());
        self.packer.add(&Outgoing::Answers { to: to.at, answers: vec![answer] }, &mut made);
        self.packer.flush(&mut made);
        let (to, mut datagram) = made.0.remove(0);
        let size = datagram.len();
        assert_eq!(self.identity.protect(to, &mut datagram, size), Protected::LEAVES);
        datagram
    }

    /// How many messages it finds in a datagram, and what it answers at once.
    fn opens(
        &mut self,
        from: Address,
        datagram: &[u8],
    ) -> Result<(usize, Vec<Vec<u8>>), DropReason> {
        let mut messages: Vec<Incoming> = Vec::new();
        let opened = self.decoder.open(from, datagram, &mut messages)?;
        let answers = match opened.body {
            Body::Handshake(answers) => answers,
            _ => Vec::new(),
        };
        let sent = messages.iter().filter(|incoming| {
            matches!(
                incoming,
                Incoming::Peer { .. } | Incoming::Client { .. } | Incoming::Answer { .. }
            )
        });
        Ok((sent.count(), answers))
    }

    fn takes(&mut self, from: Address, datagram: &[u8]) -> Result<usize, DropReason> {
        self.opens(from, datagram).map(|(messages, _)| messages)
    }
}

/// Lets two processes talk until they are silent, beginning with what `a` has sent. Returns how
/// many messages each has taken, and all datagrams.
fn talk(a: &mut Process, b: &mut Process, first: Vec<Vec<u8>>) -> ([usize; 2], Vec<Vec<u8>>) {
    let (mut taken, mut seen) = ([0, 0], Vec::new());
    let mut queue: Vec<(bool, Vec<u8>)> = first.into_iter().map(|it| (true, it)).collect();
    while !queue.is_empty() {
        let (by_a, datagram) = queue.remove(0);
        let (from, to) = if by_a { (a.at, &mut *b) } else { (b.at, &mut *a) };
        let (messages, answers) = to.opens(from, &datagram).expect("it is genuine");
        taken[usize::from(by_a)] += messages;
        seen.push(datagram);
        queue.extend(answers.into_iter().map(|answer| (!by_a, answer)));
    }
    (taken, seen)
}

/// Two replicas that have heard each other.
fn met() -> (Process, Process) {
    let keys = cluster_keys(&[1]);
    let (mut a, mut b) =
        (Process::new(replica(0), 10, Some(&keys)), Process::new(replica(1), 20, Some(&keys)));
    let first = a.sends(1);
    talk(&mut a, &mut b, first);
    let back = b.sends(0);
    talk(&mut b, &mut a, back);
    (a, b)
}

#[test]
fn the_first_message_waits_for_the_handshake_and_arrives() {
    let keys = cluster_keys(&[1]);
    let client = Keys::Client { number: 9, secret: secret(1).of_client(9) };
    let mut b = Process::new(replica(1), 20, Some(&keys));
    let others = [
        Process::new(replica(0), 10, Some(&keys)),
        Process::new(Party::Client, 11, Some(&client)),
        Process::new(Party::Client, 11, Some(&keys.clone().for_client(77))),
    ];
    for mut a in others {
        let first = a.sends(1);
        assert_eq!(first.len(), 1, "a greeting");
        let (taken, seen) = talk(&mut a, &mut b, first);
        assert_eq!(taken, [0, 1]);
        assert_eq!(seen.len(), 3, "greeting, ticket, message");
        assert!(seen[1].len() <= seen[0].len(), "no answer is longer than its question");
        let second = a.sends(1);
        let (taken, seen) = talk(&mut a, &mut b, second);
        assert_eq!((taken, seen.len()), ([0, 1], 1), "the session lasts");
        let back = b.answers(&a);
        assert_eq!(a.takes(b.at, &back), Ok(1), "and goes both ways");
        assert_eq!(a.takes(b.at, &back), Err(DropReason::Replay));
    }
}

#[test]
fn nothing_that_was_sent_before_is_taken_again() {
    let (mut a, mut b) = met();
    let sent = a.sends(1).remove(0);
    assert_eq!(b.takes(a.at, &sent), Ok(1));
    for _ in 0..3 {
        assert_eq!(b.takes(a.at, &sent), Err(DropReason::Replay));
    }
    // From elsewhere neither.
    assert_eq!(b.takes(Address((Ipv4Addr::LOCALHOST, 9).into()), &sent), Err(DropReason::Replay));
    // Late is not again.
    let (early, late) = (a.sends(1).remove(0), a.sends(1).remove(0));
    assert_eq!(b.takes(a.at, &late), Ok(1));
    assert_eq!(b.takes(a.at, &early), Ok(1));
    assert_eq!(b.takes(a.at, &early), Err(DropReason::Replay));
}

#[test]
fn nothing_is_taken_that_was_changed_cut_or_sent_elsewhere() {
    let (mut a, mut b) = met();
    let keys = cluster_keys(&[1]);
    let mut c = Process::new(replica(2), 30, Some(&keys));
    let greeting = c.sends(1);
    talk(&mut c, &mut b, greeting);
    let greeting = c.sends(0);
    talk(&mut c, &mut a, greeting);
    let sent = a.sends(1).remove(0);
    for bit in 0..8 * sent.len() {
        let mut changed = sent.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(b.takes(a.at, &changed).is_err(), "bit {bit}");
    }
    for bytes in 0..sent.len() {
        assert!(b.takes(a.at, &sent[..bytes]).is_err(), "{bytes} bytes");
    }
    let mut longer = sent.clone();
    longer.push(0);
    assert_eq!(b.takes(a.at, &longer), Err(DropReason::Tag));
    // Back to its sender, and on to another replica.
    for (to, process) in [(0, &mut a), (2, &mut c)] {
        assert!(process.takes(b.at, &sent).is_err());
        let mut readdressed = sent.clone();
        readdressed[7] = to;
        assert!(process.takes(b.at, &readdressed).is_err());
        (readdressed[6], readdressed[7]) = (1, to);
        assert!(process.takes(b.at, &readdressed).is_err());
    }
    // In another's name.
    let mut renamed = sent.clone();
    renamed[6] = 2;
    assert!(b.takes(c.at, &renamed).is_err());
    assert_eq!(b.takes(a.at, &sent), Ok(1), "nothing of that has harmed it");
}

#[test]
fn nothing_of_a_former_life_of_either_end_is_taken() {
    let keys = cluster_keys(&[1]);
    let (mut a, mut b) = met();
    let former: Vec<Vec<u8>> = (0..20).flat_map(|_| a.sends(1)).collect();
    // The receiver restarts. It greets, and draws the sender's new datagrams.
    let mut b2 = Process::new(replica(1), 21, Some(&keys));
    let all_refuse = |b: &mut Process, from, datagrams: &[Vec<u8>]| {
        for datagram in datagrams {
            assert!(matches!(b.takes(from, datagram), Ok(0) | Err(_)));
        }
    };
    all_refuse(&mut b2, a.at, &former);
    let back = b2.sends(0);
    let (taken, _) = talk(&mut b2, &mut a, back);
    assert_eq!(taken, [0, 1]);
    let next = a.sends(1);
    assert!(next.len() == 2, "it goes by the old session, and greets the new life");
    let _ = b2.opens(a.at, &next[1]);
    let (_, answers) = b2.opens(a.at, &next[0]).expect("a greeting");
    talk(&mut b2, &mut a, answers);
    let next = a.sends(1);
    let (taken, _) = talk(&mut a, &mut b2, next);
    assert_eq!(taken, [0, 1]);
    all_refuse(&mut b2, a.at, &former);
    // The sender restarts.
    let unheard = a.sends(1).remove(0);
    let mut a2 = Process::new(replica(0), 11, Some(&keys));
    let first = a2.sends(1);
    let (taken, _) = talk(&mut a2, &mut b2, first);
    assert_eq!(taken, [0, 1]);
    all_refuse(&mut b2, a.at, &former);
    // It was delayed, and belongs to a life that is over.
    assert_eq!(b2.takes(a.at, &unheard), Err(DropReason::Boot));
    assert_eq!(b.takes(a.at, &former[0]), Ok(1), "a former life of both would have taken it");
}

#[test]
fn one_that_wakes_is_heard_although_the_other_has_forgotten_its_session() {
    let (mut a, mut b) = met();
    // Each time `a` sleeps, `b` calls until it greets, and then finds answers.
    for _ in 0..2 * SESSIONS_MAX {
        let mail: Vec<Vec<u8>> = (0..Silence::PEER.every).flat_map(|_| b.sends(0)).collect();
        let opened: Vec<_> = mail.iter().filter_map(|it| a.opens(b.at, it).ok()).collect();
        assert_eq!(
            opened.iter().map(|(messages, _)| messages).sum::<usize>(),
            Silence::PEER.every as usize
        );
        let tickets = opened.iter().flat_map(|(_, answers)| answers);
        let begun = tickets.filter(|ticket| b.takes(a.at, ticket).is_ok());
        assert_eq!(begun.count(), 1, "the first");
    }
    let woken = a.sends(1);
    assert_eq!(talk(&mut a, &mut b, woken).0, [0, 1]);
    let back = b.sends(0);
    assert_eq!(talk(&mut b, &mut a, back).0, [0, 1]);
}

#[test]
fn a_greeting_or_a_ticket_that_is_repeated_leads_to_nothing() {
    let keys = cluster_keys(&[1]);
    let (mut a, mut b) =
        (Process::new(replica(0), 10, Some(&keys)), Process::new(replica(1), 20, Some(&keys)));
    let first = a.sends(1);
    let (_, seen) = talk(&mut a, &mut b, first);
    let [greeting, ticket, message] = &seen[..] else { panic!("{} datagrams", seen.len()) };
    let (messages, answers) = b.opens(a.at, greeting).expect("a genuine greeting");
    assert_eq!((messages, answers.len()), (0, 1));
    assert_eq!(a.takes(b.at, &answers[0]), Err(DropReason::Replay), "it has not greeted again");
    assert_eq!(a.takes(b.at, ticket), Err(DropReason::Replay));
    assert_eq!(b.takes(a.at, message), Err(DropReason::Replay));
    // Another life of the one who greeted.
    let mut a2 = Process::new(replica(0), 11, Some(&keys));
    a2.sends(1);
    assert_eq!(a2.takes(b.at, ticket), Err(DropReason::Replay));
    let used = a.sends(1);
    assert_eq!(talk(&mut a, &mut b, used).0, [0, 1], "the session goes on");
}

#[test]
fn a_client_key_sends_nothing_in_a_replicas_name_or_in_another_clients() {
    let keys = cluster_keys(&[1]);
    let client_keys = Keys::Client { number: 9, secret: secret(1).of_client(9) };
    let mut b = Process::new(replica(1), 20, Some(&keys));
    let mut client = Process::new(Party::Client, 11, Some(&client_keys));
    let hello = client.sends(1);
    talk(&mut client, &mut b, hello);
    // A frame with a vote, by the session that the client has.
    let vote = |mut forger: Process| {
        let mut made = Datagrams(Vec::new());
        let prepare =
            ToAcceptor::Prepare { ballot: Ballot(3), first: Slot::ZERO, voter: Voter::default() };
        let (to, message) = (ReplicaId(1), Message::Acceptor(prepare));
        forger.packer.add(&Outgoing::Peer { to, message }, &mut made);
        forger.packer.flush(&mut made);
        made.0.remove(0).1
    };
    // It is as long as a genuine one: it has room for a proof, which it does not have yet.
    let unproven = vote(Process::new(replica(0), 10, Some(&keys)));
    let state = client.identity.guard.0.clone().expect("it has a key");
    let mut forged = unproven.clone();
    let (key, claim) = {
        let mut peer = state.peer(ReplicaId(1));
        departing(peer.outward().expect("a session"), 1)
    };
    for number in [0, 9] {
        for life in [10, 11_u64] {
            forged[16..24].copy_from_slice(&life.to_le_bytes());
            prove(&mut forged, number, claim, &key);
            assert_eq!(b.takes(client.at, &forged), Err(DropReason::Tag));
        }
    }
    // A replica that has the client's key for the cluster's.
    let stolen = Keys::Cluster(vec![secret(1).of_client(9)]);
    let mut forger = Process::new(replica(0), 10, Some(&stolen));
    let greeting = forger.sends(1).remove(0);
    assert_eq!(b.takes(forger.at, &greeting), Err(DropReason::Tag));
    // A client that takes another number.
    let other = Keys::Client { number: 10, secret: secret(1).of_client(9) };
    let mut thief = Process::new(Party::Client, 12, Some(&other));
    let greeting = thief.sends(1).remove(0);
    assert_eq!(b.takes(thief.at, &greeting), Err(DropReason::Tag));
    assert_eq!(b.takes(client.at, &unproven), Err(DropReason::Tag), "nor without a proof");
}

#[test]
fn only_who_has_the_clusters_key_is_an_operator() {
    let keys = cluster_keys(&[1]);
    for (number, expected) in [(9, Admitted::Frame), (OPERATOR, Admitted::Operator)] {
        let mut b = Process::new(replica(1), 20, Some(&keys));
        let mut client = Process::new(Party::Client, 11, Some(&keys.clone().for_client(number)));
        let hello = client.sends(1);
        talk(&mut client, &mut b, hello);
        let datagram = client.sends(1).remove(0);
        assert_eq!(b.identity.admit(client.at, &datagram), Ok(expected));
        // By the session that it has, it names another number.
        let mut forged = client.sends(1).remove(0);
        let state = client.identity.guard.0.clone().expect("it has a key");
        let (key, claim) = {
            let mut peer = state.peer(ReplicaId(1));
            departing(peer.outward().expect("a session"), 1)
        };
        let other = if number == OPERATOR { 9 } else { OPERATOR };
        prove(&mut forged, other, claim, &key);
        assert_eq!(b.identity.admit(client.at, &forged), Err(DropReason::Tag));
    }
}

#[test]
fn a_clients_datagram_is_taken_from_where_the_client_is_and_from_nowhere_else() {
    let keys = cluster_keys(&[1]);
    let mut b = Process::new(replica(1), 20, Some(&keys));
    let mut client = Process::new(Party::Client, 11, Some(&keys.clone().for_client(9)));
    let hello = client.sends(1);
    let (_, seen) = talk(&mut client, &mut b, hello);
    let elsewhere = Address((Ipv4Addr::new(10, 0, 0, 9), 40_000).into());
    for datagram in &seen[1..] {
        assert!(b.takes(elsewhere, datagram).is_err());
    }
    let next = client.sends(1).remove(0);
    assert_eq!(b.takes(elsewhere, &next), Err(DropReason::Tag));
    assert_eq!(b.takes(client.at, &next), Ok(1));
}

#[test]
fn who_has_another_key_or_none_is_not_heard() {
    let ours = cluster_keys(&[1]);
    for (keys, heard) in [
        (Some(cluster_keys(&[1])), true),
        (Some(cluster_keys(&[2])), false),
        (None, false),
        // While keys are changed.
        (Some(cluster_keys(&[1, 2])), true),
        (Some(cluster_keys(&[2, 1])), false),
    ] {
        let mut a = Process::new(replica(0), 10, keys.as_ref());
        let mut b = Process::new(replica(1), 20, Some(&ours));
        let first = a.sends(1).remove(0);
        let opened = b.takes(a.at, &first);
        assert_eq!(opened.is_ok(), heard, "{opened:?}");
        assert!(heard || opened == Err(DropReason::Tag));
        // And the other way.
        let first = b.sends(0).remove(0);
        let opened = a.takes(b.at, &first);
        let knows = matches!(&keys, Some(Keys::Cluster(all)) if all.contains(&secret(1)));
        assert_eq!(opened.is_ok(), knows, "{opened:?}");
    }
}

#[test]
fn a_key_is_changed_while_all_go_on() {
    let [old, both, both_new, new] = [&[1][..], &[1, 2], &[2, 1], &[2]].map(cluster_keys);
    for (a, b) in [(&old, &both), (&both, &both_new), (&both_new, &new)] {
        for (a, b) in [(a, b), (b, a)] {
            let (mut a, mut b) =
                (Process::new(replica(0), 1, Some(a)), Process::new(replica(1), 2, Some(b)));
            let first = a.sends(1);
            assert_eq!(talk(&mut a, &mut b, first).0, [0, 1]);
            let back = b.sends(0);
            assert_eq!(talk(&mut b, &mut a, back).0, [0, 1]);
        }
    }
}

#[test]
fn a_refusal_is_no_longer_than_what_draws_it() {
    let mut b = Process::new(replica(0), 1, Some(&cluster_keys(&[1])));
    let mut client = Process::new(Party::Client, 7, None);
    let mut asked = client.sends(0).remove(0);
    let bare = HEADER_BYTES + PROOF_BYTES;
    asked.truncate(bare - 1);
    assert_eq!(b.decoder.refusal(client.at, &asked, DropReason::Tag), None);
    asked.push(0);
    assert!(b.decoder.refusal(client.at, &asked, DropReason::Tag).is_some());
    let (mut refusal, to) = (Vec::new(), Party::Client);
    frame::begin(&mut refusal);
    frame::seal(&b.identity, to, ClusterId::NONE, BodyKind::Greeting, 1, &mut refusal);
    assert_eq!(refusal.len(), bare);
}

#[test]
fn a_datagram_has_room_for_its_proof() {
    let mut full = [None, Some(cluster_keys(&[1]))].map(|keys| {
        let mut a = Process::new(replica(0), 1, keys.as_ref());
        let prepare =
            ToAcceptor::Prepare { ballot: Ballot(4), first: Slot(5), voter: Voter::default() };
        let to = ReplicaId(1);
        let outgoing = Outgoing::Peer { to, message: Message::Acceptor(prepare) };
        let mut made = Datagrams(Vec::new());
        (0..10_000).for_each(|_| a.packer.add(&outgoing, &mut made));
        made.0.iter().map(|(_, datagram)| datagram.len()).collect::<Vec<_>>()
    });
    for lengths in &mut full {
        assert!(lengths.iter().all(|length| *length <= DATAGRAM_BYTES_DEFAULT), "{lengths:?}");
        assert!(lengths.iter().all(|length| *length > DATAGRAM_BYTES_DEFAULT - 30), "{lengths:?}");
    }
    assert!(full[0].len() < full[1].len(), "without a key more fits");
}

#[test]
fn a_client_whose_key_does_not_fit_is_told_once_a_second_by_a_bare_header() {
    let keys = cluster_keys(&[1]);
    for (mut client, mut b) in [
        (Process::new(Party::Client, 11, None), Process::new(replica(1), 20, Some(&keys))),
        (
            Process::new(Party::Client, 11, Some(&keys.clone().for_client(4))),
            Process::new(replica(1), 20, None),
        ),
        (
            Process::new(Party::Client, 11, Some(&cluster_keys(&[3]).for_client(5))),
            Process::new(replica(1), 20, Some(&keys)),
        ),
    ] {
        let asked = client.sends(1).remove(0);
        assert_eq!(b.takes(client.at, &asked), Err(DropReason::Tag));
        let refusal = b.decoder.refusal(client.at, &asked, DropReason::Tag);
        let (to, kind) = refusal.expect("the first time");
        assert_eq!((to, kind), (Endpoint::Client(client.at), BodyKind::Greeting));
        assert_eq!(b.decoder.refusal(client.at, &asked, DropReason::Tag), None);
        let mut bare = Vec::new();
        frame::begin(&mut bare);
        frame::seal(&b.identity, to.party(), ClusterId::NONE, kind, 1, &mut bare);
        let size = bare.len();
        assert!(b.identity.protect(to, &mut bare, size).leaves, "although there is no session");
        assert_eq!(client.takes(b.at, &bare), Err(DropReason::Tag));
    }
}
