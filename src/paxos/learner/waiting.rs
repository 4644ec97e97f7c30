//! Clients that wait at this replica, and requests that are held for whoever leads.
//!
//! One entry a session. A request that can be served is passed to the proposer that
//! leads, here or elsewhere, again whenever another leads, and at growing intervals,
//! until it is applied or its client has gone.

use super::*;

impl Learner {
    pub(super) fn wait(
        &mut self,
        now: Time,
        session: Session,
        seq: u64,
        origin: Address,
        request: Option<Request>,
    ) {
        self.stop_waiting(session);
        let bytes = request.as_ref().map_or(0, |request| request.command.line.len());
        if self.waiting.len() >= WAITING_MAX || self.waiting_bytes + bytes > WAITING_BYTES_MAX {
            return;
        }
        self.waiting_bytes += bytes;
        let waiting = Waiting {
            origin,
            seq,
            heard_at: now,
            request,
            retry_at: now.plus_us(FORWARD_RETRY_US),
            retry_us: FORWARD_RETRY_US,
        };
        self.waiting.insert(session, waiting);
    }

    pub(super) fn stop_waiting(&mut self, session: Session) {
        if let Some(waiting) = self.waiting.remove(&session) {
            self.waiting_bytes -= waiting.request.map_or(0, |request| request.command.line.len());
        }
    }

    pub(super) fn handle_held(
        &mut self,
        now: Time,
        origin: Address,
        request: Request,
        direct: bool,
        out: &mut Outbox<Record>,
    ) {
        let command = &request.command;
        let (session, seq) = (command.session, command.seq);
        match self.chat.status(command, self.applied) {
            Status::Complete { slot, client_seq } => {
                out.answer(origin, Answer::Complete { session, seq, slot, client_seq });
                return;
            }
            Status::Past => return,
            Status::Expired
                if self.applied >= request.after || self.settings.planted.has(Bug::StaleExpiry) =>
            {
                return out.answer(origin, Answer::Expired { session, seq });
            }
            // This log is not that far, or a client talks nonsense. It is held for the
            // first case: the leader may have died before it could tell what it had
            // decided. Until it is the session's next it makes nobody suspect anyone.
            Status::Expired | Status::Ahead => {
                self.wait(now, session, seq, origin, Some(request.clone()));
                if direct && !self.is_leader() {
                    self.pass_on(origin, request, out);
                }
            }
            Status::Next => {
                self.wait(now, session, seq, origin, Some(request.clone()));
                if direct || self.is_leader() {
                    self.pass_on(origin, request, out);
                }
            }
        }
        if direct
            && !self.is_leader()
            && let Some(ballot) = self.leader
        {
            out.answer(origin, Answer::Leader { ballot });
        }
    }

    /// To the proposer that leads, here or elsewhere.
    pub(super) fn pass_on(&self, origin: Address, request: Request, out: &mut Outbox<Record>) {
        let Some(leader) = self.leader else { return };
        let to = leader.owner(self.settings.n);
        if to == self.settings.id {
            out.tell(Notice::Proposer(proposer::Input::Servable { origin, request }));
        } else {
            out.send(to, Message::Proposer(ToProposer::Forward { origin, request }));
        }
    }

    /// Another leads: what is held goes there without waiting its turn.
    pub(super) fn follow(&mut self, now: Time, ballot: Ballot) {
        if self.leader.is_none_or(|leader| leader < ballot) {
            self.leader = Some(ballot);
            for waiting in self.waiting.values_mut() {
                waiting.retry_at = now;
                waiting.retry_us = FORWARD_RETRY_US;
            }
            self.next_tick = now;
        }
    }

    pub(super) fn retry_waiting(&mut self, now: Time, out: &mut Outbox<Record>) {
        let gone = |waiting: &Waiting| now.since_us(waiting.heard_at) > WAITING_US;
        let due: Vec<Session> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.retry_at <= now)
            .map(|(session, _)| *session)
            .take(FORWARD_BURST_MAX)
            .collect();
        for session in due {
            let Some(waiting) = self.waiting.get_mut(&session) else { continue };
            if gone(waiting) {
                self.stop_waiting(session);
                continue;
            }
            waiting.retry_us = (2 * waiting.retry_us).min(FORWARD_RETRY_MAX_US);
            waiting.retry_at = now.plus_us(waiting.retry_us);
            let (origin, request) = (waiting.origin, waiting.request.clone());
            // To propose it before it is next would waste a slot.
            if let Some(request) = request
                && (!self.is_leader()
                    || self.chat.status(&request.command, self.applied) == Status::Next)
            {
                self.pass_on(origin, request, out);
            }
        }
    }
}
