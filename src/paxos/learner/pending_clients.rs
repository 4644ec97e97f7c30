//! Clients that wait at this replica, and requests that are held for whoever leads.
//!
//! One entry a session. A request that can be served is passed to the proposer that
//! leads, here or elsewhere, again whenever another leads, and at growing intervals,
//! until it is applied or its client has gone.

use super::*;
use std::collections::VecDeque;

/// Clients whose commands were proposed here in one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The first slot that was not passed yet.
    next: Slot,
    first: Slot,
    values: Values,
    /// From `next` on.
    origins: VecDeque<Origin>,
}

impl Asked {
    fn end(&self) -> Slot {
        self.first.plus(self.values.len() as u64)
    }

    /// Passes all slots up to `slot`, and says who asked for what is proposed there.
    fn pass(&mut self, slot: Slot) -> Option<(Address, ValueRef<'_>)> {
        let mut count = slot.next().since(self.next) as usize;
        let mut asked = None;
        while let Some(origin) = self.origins.front_mut()
            && count > 0
        {
            let passed = count.min(origin.count);
            (count, origin.count) = (count - passed, origin.count - passed);
            asked = origin.asked;
            if origin.count == 0 {
                self.origins.pop_front();
            }
        }
        self.next = self.next.max(slot.next());
        let index = slot.since(self.first) as usize;
        asked.map(|(origin, _)| (origin, self.values.get(index)))
    }
}

impl Learner {
    /// These commands are proposed here: whoever asked is answered when they are
    /// applied, or at once if they were applied before this side heard of them.
    pub(super) fn await_origins(
        &mut self,
        run: &Run,
        origins: Vec<Origin>,
        out: &mut Outbox<Record>,
    ) {
        let before = self.asked.range(..=run.first).next_back();
        if before.is_some_and(|(_, asked)| asked.end() > run.first) {
            // Sent again.
            return;
        }
        let mut asked = Asked {
            next: run.first,
            first: run.first,
            values: run.values.clone(),
            origins: origins.into(),
        };
        while asked.next < self.applied.min(asked.end()) {
            // The votes, and the values from the own acceptor, were here first.
            let Some((origin, ValueRef::Command(command))) = asked.pass(asked.next) else {
                continue;
            };
            self.tell_fate(origin, command, out);
        }
        if !self.waiting.is_empty() {
            let mut index = asked.next.since(run.first) as usize;
            for Origin { count, asked } in &asked.origins {
                let commands = run.values.slice(index..index + count);
                index += count;
                for command in commands.iter().filter_map(ValueRef::command) {
                    if asked.is_some() {
                        self.stop_waiting(command.session);
                    }
                }
            }
        }
        self.asked.insert(asked.first, asked);
    }

    /// A command is applied, for the first time or once more: whoever asked for it is
    /// answered.
    pub(super) fn answer(
        &mut self,
        now: Time,
        slot: Slot,
        command: CommandRef<'_>,
        client_seq: Option<u64>,
        out: &mut Outbox<Record>,
    ) {
        if let Some(origin) = self.origin_of(slot, command) {
            match client_seq {
                Some(client_seq) => {
                    let CommandRef { session, seq, .. } = command;
                    out.answer(origin, Answer::Complete { session, seq, slot, client_seq });
                }
                None => self.tell_fate(origin, command, out),
            }
        }
        if !self.waiting.is_empty() {
            self.answer_waiting(now, command, out);
        }
    }

    /// Who asked for what was proposed in `slot`, if that is this command.
    fn origin_of(&mut self, slot: Slot, command: CommandRef<'_>) -> Option<Address> {
        while let Some(mut entry) = self.asked.first_entry()
            && *entry.key() <= slot
        {
            let asked = entry.get_mut();
            let passed = slot.next() >= asked.end();
            if slot < asked.end() {
                let found = asked.pass(slot);
                let same =
                    |(_, value): &(Address, ValueRef<'_>)| *value == ValueRef::Command(command);
                let origin = found.filter(same).map(|(origin, _)| origin);
                if passed {
                    entry.remove();
                }
                return origin;
            }
            entry.remove();
        }
        None
    }

    /// What became of a command whose slot was applied.
    fn tell_fate(&self, origin: Address, command: CommandRef<'_>, out: &mut Outbox<Record>) {
        if let Status::Complete { slot, client_seq } = self.chat.status(command, self.applied) {
            let CommandRef { session, seq, .. } = command;
            out.answer(origin, Answer::Complete { session, seq, slot, client_seq });
        }
    }

    /// The command (or one below it) of a session is applied: whoever waited for it
    /// is answered.
    fn answer_waiting(&mut self, now: Time, command: CommandRef<'_>, out: &mut Outbox<Record>) {
        let Some(waiting) = self.waiting.get_mut(&command.session) else { return };
        let (origin, session, seq) = (waiting.origin, command.session, waiting.seq);
        match self.chat.status(CommandRef { seq, ..command }, self.applied) {
            Status::Complete { slot, client_seq } => {
                out.answer(origin, Answer::Complete { session, seq, slot, client_seq });
                self.stop_waiting(session);
            }
            Status::Past | Status::Expired => self.stop_waiting(session),
            Status::Next => {
                // It was ahead of this log until now.
                waiting.retry_at = now;
                self.next_tick = now;
            }
            Status::Ahead => {}
        }
    }

    /// Whether the (one) command of a request would take effect.
    pub(super) fn is_next(&self, request: &Request) -> bool {
        request.iter().any(|command| self.chat.status(command, self.applied) == Status::Next)
    }

    fn wait(&mut self, now: Time, origin: Address, request: &Request) {
        let Some(command) = request.iter().next() else { return };
        let (CommandRef { session, seq, .. }, bytes) = (command, command.line.len());
        // A copy: it must not keep alive all that has come with it, for it may wait long.
        let request = Request { commands: ValueRef::Command(command).into(), after: request.after };
        self.stop_waiting(session);
        if self.waiting.len() >= WAITING_MAX || self.waiting_bytes + bytes > WAITING_BYTES_MAX {
            return;
        }
        self.waiting_bytes += bytes;
        let retry_us = FORWARD_RETRY_US;
        let retry_at = now.plus_us(retry_us);
        let waiting = Waiting { origin, seq, heard_at: now, request, retry_at, retry_us };
        self.waiting.insert(session, waiting);
    }

    pub(super) fn stop_waiting(&mut self, session: Session) {
        if let Some(waiting) = self.waiting.remove(&session) {
            let lines = waiting.request.iter().map(|command| command.line.len());
            self.waiting_bytes -= lines.sum::<usize>();
        }
    }

    /// The proposer could not propose these commands at once.
    pub(super) fn handle_held(
        &mut self,
        now: Time,
        origin: Address,
        request: &Request,
        direct: bool,
        out: &mut Outbox<Record>,
    ) {
        let mut open = false;
        for index in 0..request.commands.len() {
            open |= self.hold(now, origin, request.only(index), direct, out);
        }
        if open
            && direct
            && !self.is_leader()
            && let Some(ballot) = self.leader
        {
            out.answer(origin, Answer::Leader { ballot });
        }
    }

    /// One command alone; says whether its fate is open.
    fn hold(
        &mut self,
        now: Time,
        origin: Address,
        request: Request,
        direct: bool,
        out: &mut Outbox<Record>,
    ) -> bool {
        let Some(command) = request.iter().next() else { return false };
        let CommandRef { session, seq, .. } = command;
        let pass_on = match self.chat.status(command, self.applied) {
            Status::Complete { slot, client_seq } => {
                out.answer(origin, Answer::Complete { session, seq, slot, client_seq });
                return false;
            }
            Status::Past => return false,
            Status::Expired if self.applied >= request.after => {
                out.answer(origin, Answer::Expired { session, seq });
                return false;
            }
            // This log is not that far, or a client talks nonsense. It is held for the
            // first case: the leader may have died before it could tell what it had
            // decided. Until it is the session's next it makes nobody suspect anyone.
            Status::Expired | Status::Ahead => direct && !self.is_leader(),
            Status::Next => direct || self.is_leader(),
        };
        self.wait(now, origin, &request);
        if pass_on {
            self.pass_on(origin, request, out);
        }
        true
    }

    /// To the proposer that leads, here or elsewhere.
    pub(super) fn pass_on(&self, origin: Address, request: Request, out: &mut Outbox<Record>) {
        let Some(leader) = self.leader else { return };
        let to = leader.owner(self.settings.n);
        if to == self.settings.id {
            out.tell(Notice::Proposer(proposer::Input::RequestIsNext { origin, request }));
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
            if !self.is_leader() || self.is_next(&request) {
                self.pass_on(origin, request, out);
            }
        }
    }
}
