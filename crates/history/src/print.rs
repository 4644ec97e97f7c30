//! Describes everything that happens, in lines that a person can follow. What roles say and save is
//! described in [`multipaxos::words`].

use crate::events::{Event, Loss};
use multipaxos::message::Run;
use multipaxos::paxos::acceptor::Record;

pub use multipaxos::words::*;

/// The line of a trace for an event. Heartbeats have none: they are too many.
pub fn event(event: &Event) -> Option<String> {
    let is_told = |id: &str| !id.starts_with('h');
    Some(match event {
        Event::Sent { id, from, to, text, .. } if is_told(id) => {
            format!("{id} {from}->{to} {text}")
        }
        Event::Arrived { id } if is_told(id) => format!("{id} arrives"),
        Event::Repeated { id } if is_told(id) => format!("{id} arrives again, as a copy"),
        Event::Lost { id, loss: Loss::LinkIsCut } if is_told(id) => {
            format!("{id} is lost: the link is cut")
        }
        Event::Promised { replica, ballot } => {
            format!("{replica} {}", saved(&Record::Promise(*ballot)))
        }
        Event::Accepted { replica, ballot, first, values } => {
            let (ballot, first, values) = (*ballot, *first, values.clone());
            format!("{replica} {}", saved(&Record::Accept(Run { ballot, first, values })))
        }
        Event::Leads { replica, ballot } => format!("{replica} leads with ballot {ballot}"),
        Event::Resigned { replica } => format!("{replica} no longer leads"),
        _ => return None,
    })
}
