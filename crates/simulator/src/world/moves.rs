//! Replicas that get another address, and members whose addresses the log says (M9).
//!
//! A replica's host moves: its process ends, and comes back where only its own cluster file says it
//! is. It reaches the others, and none of them it, until the operator's change is applied there. A
//! life that begins goes by the old cluster file again, until its roles have told it better.
//!
//! Once faults have stopped, operators have written the new addresses into all files: what lags may
//! lag behind the change, too. Each process must know by then what its own log says.

use super::*;
use multipaxos::members::{Configuration, Member, Moved};
use seeds::stream;

/// One run with changes of members in so many has members that move.
const ONE_IN: u8 = 3;

/// One attempt at a change in so many is one to move, if nothing else is under way.
const MOVES_ONE_IN: u8 = 3;

/// Where replicas are, and where others look for them: each at its first, second, ... home.
#[derive(Debug)]
pub(super) struct Moves {
    draws: Rng,
    /// By replica id.
    homes: Vec<u8>,
    /// By replica id, and then by that of the peer.
    routes: Vec<Vec<u8>>,
}

/// The address of a replica at its first, second, ... home.
fn address(id: ReplicaId, home: u8) -> Address {
    Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, home, id.0)), 1))
}

impl Moves {
    /// The moves of this seed, if members change and some move.
    pub(super) fn draw(seed: u64, places: usize) -> Option<Moves> {
        let mut draws = stream(seed, "moves");
        let comes = draws.u8(0..ONE_IN) == 0;
        let (homes, routes) = (vec![0; places], vec![vec![0; places]; places]);
        comes.then_some(Moves { draws, homes, routes })
    }

    fn home(&self, id: ReplicaId) -> Address {
        address(id, self.homes[id.index()])
    }

    /// Whether this member is where the members say.
    fn is_there(&self, member: &Member) -> bool {
        member.address.unwrap_or(address(member.id, 0)) == self.home(member.id)
    }
}

impl World {
    /// Where a replica sends from.
    pub(super) fn address(&self, id: ReplicaId) -> Address {
        self.moves.as_ref().map_or(address(id, 0), |moves| moves.home(id))
    }

    /// Whether what `from` sends to `to` goes where that is.
    pub(super) fn knows_the_way(&self, from: ReplicaId, to: ReplicaId) -> bool {
        let Some(moves) = self.moves.as_ref().filter(|_| self.faults_on) else { return true };
        moves.routes[from.index()][to.index()] == moves.homes[to.index()]
    }

    /// The same of clients, which go by an old cluster file.
    pub(super) fn clients_know_the_way(&self, to: ReplicaId) -> bool {
        let Some(moves) = self.moves.as_ref().filter(|_| self.faults_on) else { return true };
        moves.homes[to.index()] == 0
    }

    /// A life begins, with an old cluster file.
    pub(super) fn forgets_the_ways(&mut self, id: ReplicaId) {
        if let Some(moves) = &mut self.moves {
            moves.routes[id.index()].fill(0);
        }
    }

    /// A replica's roles say where the members are that have moved.
    pub(super) fn learns_the_ways(&mut self, id: ReplicaId, all: &[Moved]) -> Step {
        let Some(moves) = &mut self.moves else {
            return match all {
                [] => Ok(()),
                _ => Err(Violation { what: "M9: nobody has moved".into(), slot: None }),
            };
        };
        for peer in (0..moves.homes.len() as u8).map(ReplicaId) {
            let moved = all.iter().find(|moved| moved.id == peer);
            let to = moved.map_or(address(peer, 0), |moved| moved.to);
            let home = (0..=moves.homes[peer.index()]).find(|home| address(peer, *home) == to);
            let Some(home) = home else {
                let what = format!("M9: replica {id} says that {peer} is at {to:?}");
                return Err(Violation { what, slot: None });
            };
            let route = &mut moves.routes[id.index()][peer.index()];
            let is_news = std::mem::replace(route, home) != home;
            if let Some(wire) = &mut self.nodes[id.index()].wire
                && is_news
            {
                wire.moved(peer);
            }
        }
        self.trace(|| format!("replica {id} hears of moves: {all:?}"));
        Ok(())
    }

    /// The member that is elsewhere than the members say, as it should be said.
    pub(super) fn away(&self, members: &Configuration) -> Option<Member> {
        let moves = self.moves.as_ref()?;
        let away = members.members().iter().find(|member| !moves.is_there(member))?;
        Some(Member { address: Some(moves.home(away.id)), ..*away })
    }

    /// Whether a member is where the members say.
    pub(super) fn is_there(&self, member: &Member) -> bool {
        self.moves.as_ref().is_none_or(|moves| moves.is_there(member))
    }

    /// Whether a replica may be removed: no file says where one is that has moved and is no member.
    pub(super) fn has_moved(&self, id: ReplicaId) -> bool {
        self.moves.as_ref().is_some_and(|moves| moves.homes[id.index()] > 0)
    }

    /// The host of this member may move. Returns whether it does.
    pub(super) fn moves_away(&mut self, id: ReplicaId) -> bool {
        let Some(moves) = &mut self.moves else { return false };
        if moves.draws.u8(0..MOVES_ONE_IN) > 0 || moves.homes[id.index()] == u8::MAX {
            return false;
        }
        moves.homes[id.index()] += 1;
        let to = moves.home(id);
        self.trace(|| format!("replica {id} moves to {to:?}"));
        if self.nodes[id.index()].process.is_some() {
            self.end_life(id, Death::Killed);
            self.restart_later(id);
        }
        true
    }

    /// M9: each process looks for a member where its own log says.
    pub(super) fn know_the_ways(&self) -> Step {
        let Some(moves) = &self.moves else { return Ok(()) };
        for node in &self.nodes {
            let learner = node.process.as_ref().and_then(Process::learner);
            let moved = learner.into_iter().flat_map(|it| it.configuration().moved());
            for Moved { id, to } in moved {
                let route = address(id, moves.routes[node.id.index()][id.index()]);
                if route != to {
                    let what = format!(
                        "M9: replica {} looks for {id} at {route:?}, not at {to:?}",
                        node.id
                    );
                    return Err(Violation { what, slot: None });
                }
            }
        }
        Ok(())
    }
}
