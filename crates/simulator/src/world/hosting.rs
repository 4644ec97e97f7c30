//! A run whose commands change a machine of the user.

use super::*;
use multipaxos::machine::{Host, Response, line_of};
use multipaxos::types::Line;
use std::fmt;

/// The machine that the replicas of a run have, and the commands that its clients send.
pub struct Hosting {
    pub(super) host: Host,
    commands: Commands,
}

/// Draws a command.
type Draw = dyn Fn(&mut Rng) -> Vec<u8>;

/// Where the commands of a run come from.
enum Commands {
    /// Each is drawn, by clients that come and go as in other runs.
    Drawn(Box<Draw>),
    /// The caller submits each, by clients of its own.
    ByHand,
}

impl fmt::Debug for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.host)
    }
}

impl Hosting {
    /// A machine as `host` makes it, and commands that `draw` draws.
    pub fn drawn(host: Host, draw: impl Fn(&mut Rng) -> Vec<u8> + 'static) -> Hosting {
        Hosting { host, commands: Commands::Drawn(Box::new(draw)) }
    }

    /// A machine as `host` makes it, and the commands that the caller submits.
    pub(crate) fn by_hand(host: Host) -> Hosting {
        Hosting { host, commands: Commands::ByHand }
    }

    pub(super) fn is_by_hand(&self) -> bool {
        matches!(self.commands, Commands::ByHand)
    }

    /// The next command, as the line that it is.
    pub(super) fn next_line(&self, rng: &mut Rng) -> Line {
        let Commands::Drawn(draw) = &self.commands else {
            unreachable!("no client submits itself")
        };
        line_of(&draw(rng)).expect("a command that is drawn is no longer than a command may be")
    }
}

impl World {
    /// The machine of a replica whose learner has had a turn must be in the state of all others.
    pub(super) fn check_machine(&self, id: ReplicaId, role: RoleName) -> Step {
        if self.hosting.is_none() || role != RoleName::Learner {
            return Ok(());
        }
        let process = self.nodes[id.index()].process.as_ref();
        let Some(learner) = process.and_then(Process::learner) else { return Ok(()) };
        let state = learner.chat().machine().unwrap_or_default();
        self.checker.is_in_state(id, learner.applied(), &state)
    }

    /// One more client, which submits what the caller says.
    pub(crate) fn add_client(&mut self) -> usize {
        let (client, n) = (self.clients.len(), (self.founders(), self.nodes.len()));
        self.clients.push(Visitor::new(ClientId(client as u64), 1, n, 0));
        client
    }

    /// Moves the world until this client has the answer to a command. None if `within_us` pass
    /// before; then the client dies, and what became of the command is not known.
    pub(crate) fn call(
        &mut self,
        client: usize,
        line: Line,
        within_us: u64,
    ) -> Result<Option<Option<Response>>, Violation> {
        let session = self.streams.workload.u64(1..);
        let deadline = self.now.plus_us(within_us);
        self.clients[client].response = None;
        self.turn_client(client, Some(client::Input::Submit { line, session }))?;
        while self.clients[client].response.is_none() {
            match self.queue.next_at().filter(|at| *at <= deadline) {
                Some(at) => self.run_until(at)?,
                None => {
                    let n = (self.founders(), self.nodes.len());
                    self.clients[client].begin_anew(n);
                    return Ok(None);
                }
            }
        }
        Ok(self.clients[client].response.take())
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&mut self, us: u64) -> Step {
        self.run_until(self.now.plus_us(us))
    }

    /// Kills a replica, or begins it again.
    pub(crate) fn set_running(&mut self, id: ReplicaId, runs: bool) -> Step {
        match (self.nodes[id.index()].process.is_some(), runs) {
            (true, false) => self.end_life(id, Death::Killed),
            (false, true) => self.begin_life(id)?,
            _ => {}
        }
        Ok(())
    }

    /// The state of a replica's machine, and the slot below which it has applied everything. None
    /// while it does not run.
    pub(crate) fn state_of(&self, id: ReplicaId) -> Option<(Slot, Vec<u8>)> {
        let learner = self.nodes[id.index()].process.as_ref()?.learner()?;
        Some((learner.applied(), learner.chat().machine()?))
    }
}
