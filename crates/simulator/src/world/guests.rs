//! The clients of a run: the lines that they send, and the answers that they get.
//!
//! In some runs with real datagrams several are in one process, as the sessions of a bench or of a
//! program that uses the library are: they have one address, one codec, and one window for each path.
//! They die together.

use super::*;
use seeds::stream;

/// In one of so many runs with real datagrams several clients are in one process.
const TOGETHER_ONE_IN: u8 = 3;

/// The most clients of a process.
const TOGETHER_MAX: usize = 64;

impl World {
    /// How many of so many clients each process has.
    pub(super) fn clients_of_a_process(&mut self, clients: usize) -> usize {
        let mut draws = stream(self.seed, "processes");
        let (comes, count) = (draws.u8(0..TOGETHER_ONE_IN) == 0, draws.usize(2..=TOGETHER_MAX));
        if !comes || !self.wired || clients < 2 {
            return 1;
        }
        self.reach.count(Situation::ClientsTogether);
        count.min(clients)
    }

    pub(super) fn submit_later(&mut self, client: usize) {
        let visitor = &self.clients[client];
        let wait = self.streams.workload.u64(0..=2 * visitor.every_us);
        let life = visitor.life;
        self.queue.add(self.now.plus_us(wait), Event::Submit { client, life });
    }

    pub(super) fn submit(&mut self, client: usize, life: u32) -> Step {
        let visitor = &mut self.clients[client];
        if visitor.life != life || !self.faults_on && visitor.farewell {
            return Ok(());
        }
        visitor.farewell = !self.faults_on;
        if visitor.role.is_busy() {
            self.submit_later(client);
            return Ok(());
        }
        let session = self.streams.workload.u64(1..);
        let long = self.streams.workload.u8(0..20) == 0;
        let padding = match (&self.environment, long, self.wired) {
            (Some(environment), ..) => {
                let (least, most) = environment.workload.line_bytes;
                self.streams.workload.usize(least..=most)
            }
            (None, false, _) => 0,
            (None, true, false) => LONG_LINE_BYTES,
            (None, true, true) => FRAGMENTED_LINE_BYTES,
        };
        let line = match &mut self.hosting {
            Some(hosting) => hosting.next_line(&mut self.streams.commands),
            None => visitor.next_line(padding),
        };
        visitor.submitted_at = self.now;
        self.cost.submits(line.len(), self.nodes.len());
        self.trace(|| match line.len() {
            ..=80 => format!("client {client} submits {line:?}"),
            bytes => format!("client {client} submits a line of {bytes} bytes"),
        });
        self.turn_client(client, Some(client::Input::Submit { line, session }))?;
        self.submit_later(client);
        Ok(())
    }

    pub(super) fn turn_client(&mut self, client: usize, input: Option<client::Input>) -> Step {
        let now = self.now;
        let draws = &mut self.streams.workload;
        let (envelopes, outcomes) = self.clients[client].turn(now, draws, input);
        for outcome in outcomes {
            match outcome {
                Outcome::Complete { seq, slot, response, .. } => {
                    self.lines += 1;
                    self.clients[client].response = Some(response);
                    let Some((session, command)) = self.clients[client].in_flight.take() else {
                        continue;
                    };
                    self.trace(|| format!("client {client}: complete in slot {slot}"));
                    let waited_us = now.since_us(self.clients[client].submitted_at);
                    self.cost.waited(waited_us, self.nodes.len());
                    self.checker.completed(session, command, slot, seq)?;
                    if let Some(since) = self.waiting_since.take() {
                        self.cost.first_us = Some(now.since_us(since));
                    }
                    if self.options.partition.is_some() && self.faults_on {
                        self.gap_us = self.gap_us.max(now.since_us(self.completed_at));
                        self.completed_at = now;
                    }
                }
                Outcome::Expired { .. } | Outcome::GaveUp { .. } => self.begin_client(client),
                Outcome::OtherCluster { .. } => unreachable!("the world has one cluster"),
                Outcome::Waiting { .. } => {}
            }
        }
        let life = self.clients[client].life;
        let address = address_of(client, life);
        for envelope in envelopes {
            let Envelope::Call { to, message } = envelope else {
                unreachable!("a client only calls")
            };
            match &message {
                ClientMessage::Hello => {}
                ClientMessage::Status(_)
                | ClientMessage::Follow(_)
                | ClientMessage::Mark { .. }
                | ClientMessage::Members(_) => {
                    unreachable!("only the operator and readers ask")
                }
                ClientMessage::Request(request) => {
                    for command in request.iter() {
                        self.clients[client].in_flight = Some((command.session, command.seq));
                        self.checker.submitted(&command.to_command());
                    }
                }
                ClientMessage::Inquiry(inquiry) => {
                    self.checker.inquired(inquiry.session, inquiry.seq)?;
                }
            }
            self.hash.add(&message);
            let (host, _) = self.clients[client].process;
            let (from, at) = (Party::Client(host as u64), Party::Replica(to));
            self.record_leaving(from, at, || Payload::Call(message.clone()));
            if let Some(wire) = &mut self.clients[host].wire {
                let frames = wire.send(now, &[Outgoing::Call { to, message }]);
                self.send_calls(host, frames);
                self.expect_client_wire(host);
            } else if !self.out[to.index()] && self.clients_know_the_way(to) {
                self.send_whole(|| Event::Arrive {
                    to,
                    arrival: Arrival::Client(address, message.clone()),
                });
            }
        }
        let visitor = &mut self.clients[client];
        if let Some(deadline) = visitor.deadline() {
            let at = deadline.max(now.plus_us(1));
            if visitor.timer_at.is_none_or(|timer| timer > at) {
                visitor.timer_at = Some(at);
                self.queue.add(at, Event::ClientTimer { client, life });
            }
        }
        Ok(())
    }

    pub(super) fn wire_client(&mut self, client: usize) {
        self.cost.begins(self.nodes.len());
        let boot = BootId(self.streams.workload.u64(1..));
        let n = self.nodes.len();
        let (datagram_max, has_batches) = (self.datagram_max, self.kernels.is_some());
        self.clients[client].wire = self.wired.then(|| {
            let seal = self.seal.as_ref();
            Wire::sealed(n, message::Party::Client, boot, datagram_max, seal)
                .with_batches(has_batches)
        });
    }

    /// Starts a client's process anew. Its clients have the same ids.
    pub(super) fn begin_client(&mut self, client: usize) {
        let (host, count) = self.clients[client].process;
        let n = (self.founders(), self.nodes.len());
        self.wire_client(host);
        for client in host..host + count {
            self.clients[client].begin_anew(n);
            self.submit_later(client);
        }
    }
}
