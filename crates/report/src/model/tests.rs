//! Histories made by hand, and what the page is told of them.

use super::*;
use crate::page;
use multipaxos::message::Request;
use multipaxos::types::Value;
use multipaxos::values::Values;

const R0: ReplicaId = ReplicaId(0);
const R1: ReplicaId = ReplicaId(1);

fn heading() -> Heading {
    let (title, verdict, command) = ("a run".into(), "ok".into(), "simulate --seed 1".into());
    Heading { title, verdict, is_good: true, command, is_cut: false, axis: Axis::Time }
}

fn line(text: &str) -> Values {
    Values::from(&Value::Command(Request::new(7, 1, 0, text).command()))
}

/// Replica 0 leads and sends an accept and a heartbeat; the heartbeat is lost, and replica 1
/// ends and begins again.
fn history() -> History {
    let mut history = History::new(2);
    let decided = history::Mark { ballot: Ballot(0), slots: SlotRange::default() };
    let (first, values) = (Slot(3), line("</script><b>hi"));
    let accept =
        Said::Accept { ballot: Ballot(4), first, values: values.clone(), decided: decided.clone() };
    let sent = |id: &str, to, said| Event::Sent {
        id: id.into(),
        from: Party::Replica(R0),
        to,
        said,
        text: format!("{id} in words"),
    };
    for (us, event) in [
        (0, Event::Began { replica: R0, votes: true, applied: Slot(3) }),
        (0, Event::Began { replica: R1, votes: true, applied: Slot(3) }),
        (10, Event::Leads { replica: R0, ballot: Ballot(4) }),
        (20, sent("a1", Party::Replica(R1), accept)),
        (25, sent("h1", Party::Replica(R1), Said::Heartbeat { decided })),
        (30, Event::Arrived { id: "a1".into() }),
        (35, Event::Repeated { id: "a1".into() }),
        (40, Event::Accepted { replica: R1, ballot: Ballot(4), first, values: values.clone() }),
        (41, Event::Accepted { replica: R0, ballot: Ballot(4), first, values: values.clone() }),
        (45, Event::Applied { replica: R0, first, values, effects: vec![true] }),
        (50, Event::Ended { replica: R1, cannot_sync: false }),
        (70, Event::Began { replica: R1, votes: true, applied: Slot(3) }),
        (80, sent("c1", Party::Client(7), Said::Other)),
        (90, Event::Lost { id: "h1".into(), loss: Loss::ByNetwork }),
    ] {
        history.push(us, event);
    }
    history
}

#[test]
fn a_page_is_told_of_messages_reigns_gaps_and_slots() {
    let model = serde_json::to_value(Model::new(&heading(), &history())).expect("JSON");
    let is = |pointer: &str, expected: &str| {
        let value = model.pointer(pointer).map(ToString::to_string);
        assert_eq!(value.as_deref(), Some(expected), "{pointer}");
    };
    is("/lanes", r#"["replica 0","replica 1","client 7"]"#);
    is("/messages/0", r#"["a1",0,1,20,30,"","a1 in words",4,3,4,[35]]"#);
    is("/messages/1", r#"["h1",0,1,25,null,"lost","h1 in words",0,null,null,[]]"#);
    is("/messages/2/2", "2");
    is("/reigns", "[[0,10,90,4]]");
    is("/gaps", "[[1,50,70]]");
    is("/slots/0/slot", "3");
    is("/slots/0/accepted", r#"["1 at 4","0 at 4"]"#);
    is("/slots/0/applied", r#"["0: 0 ms"]"#);
    is("/logs/0/lines", r#"["client 7: \"</script><b>hi\""]"#);
    is("/logs/1/lines", "[]");
    assert!(model["slots"][0]["story"].as_array().is_some_and(|story| story.len() > 2));
}

#[test]
fn logs_are_compared_whole_although_long_lines_are_shortened() {
    let with_lines = |lines: [&str; 2]| {
        let mut history = History::new(2);
        for (replica, text) in [R0, R1].into_iter().zip(lines) {
            let (first, effects) = (Slot(5), vec![true]);
            history.push(1, Event::Applied { replica, first, values: line(text), effects });
        }
        let (logs, differs) = logs(&history);
        assert_eq!(logs[0].lines, logs[1].lines, "as they are shown");
        differs
    };
    let long = "a long line that is shortened, ";
    let [one, other] = ["x", "y"].map(|end| format!("{long}{end}"));
    assert_eq!(with_lines([&one, &other]), Some(5));
    assert_eq!(with_lines([&one, &one]), None);
}

#[test]
fn slots_without_a_row_are_counted() {
    let mut history = history();
    let (replica, ballot, first) = (R0, Ballot(4), Slot(10));
    let values = Values::from(&vec![Value::Noop; STORIES_MAX][..]);
    history.push(100, Event::Accepted { replica, ballot, first, values });
    let model = Model::new(&heading(), &history);
    assert_eq!((model.slots.len(), model.slots_left_out), (STORIES_MAX, 1));
}

#[test]
fn many_clients_share_a_lane() {
    let with_clients = |clients: u64| {
        let mut history = history();
        for client in 100..99 + clients {
            let (id, from) = (format!("c{client}"), Party::Replica(R0));
            let (to, said, text) = (Party::Client(client), Said::Other, "hi".into());
            history.push(100, Event::Sent { id, from, to, said, text });
        }
        Lanes::new(&history)
    };
    let most = CLIENT_LANES_MAX as u64;
    assert_eq!(with_clients(most).names().len(), 2 + CLIENT_LANES_MAX);
    let many = with_clients(most + 1);
    assert_eq!(many.names(), ["replica 0", "replica 1", "9 clients"]);
    assert_eq!(many.of(Party::Client(100)), 2);
}

#[test]
fn where_hardly_any_time_passes_each_event_is_a_step() {
    let heading = Heading { axis: Axis::Steps, ..heading() };
    let model = serde_json::to_value(Model::new(&heading, &history())).expect("JSON");
    assert_eq!(model["messages"][0][3], 3_000);
    assert_eq!(model["messages"][0][4], 4_000, "the heartbeat between gets no step");
    assert_eq!(model["end_us"], 12_000);
    assert_eq!(model["in_steps"], true);
}

#[test]
fn what_a_line_says_cannot_leave_the_data_of_the_page() {
    let page = page(&heading(), &history());
    assert_eq!(page.matches("</script>").count(), 2, "of the data and of the script");
    assert!(page.contains(r"\u003c/script>\u003cb>hi"));
    for placeholder in ["{{css}}", "{{js}}", "{{data}}"] {
        assert!(!page.contains(placeholder), "{placeholder}");
    }
    let fetches = ["http://", "https://", "src=", "href=", "@import", "url("];
    assert!(fetches.iter().all(|it| !page.contains(it)), "the page needs no network");
}
