//! For each rule of the verdict: a log that breaks only this rule is caught.

use driver::verdict::{ChatLog, Completion, SentLine, Summary, compare, judge};
use std::time::Duration;

const CLEAN: &str = "0 0 0 a\n1 - - NOP\n2 1 0 x\n3 0 1 b\n";

fn log(replica: usize, text: &str) -> ChatLog {
    ChatLog { replica, bytes: Some(text.into()), live: true }
}

fn absent(replica: usize) -> ChatLog {
    ChatLog { replica, bytes: None, live: true }
}

fn killed(log: ChatLog) -> ChatLog {
    ChatLog { live: false, ..log }
}

fn all(text: &str) -> Vec<ChatLog> {
    (0..3).map(|replica| log(replica, text)).collect()
}

fn sent(client: u64, text: &str, from_ms: u64, done: Option<(u64, u64, u64)>) -> SentLine {
    let completed =
        done.map(|(seq, slot, at)| Completion { seq, slot, at: Duration::from_millis(at) });
    SentLine { client, text: text.into(), sent: Duration::from_millis(from_ms), completed }
}

/// The lines and completions that belong to the log [`CLEAN`].
fn clients() -> Vec<SentLine> {
    vec![
        sent(0, "a", 0, Some((0, 0, 10))),
        sent(0, "b", 20, Some((1, 3, 30))),
        sent(1, "x", 0, Some((0, 2, 25))),
    ]
}

fn violation(logs: &[ChatLog], sent: &[SentLine]) -> String {
    judge(logs, sent).unwrap_err().to_string()
}

#[track_caller]
fn caught(text: &str, expected: &str) {
    let said = violation(&all(text), &clients());
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn a_clean_log_is_counted() {
    assert_eq!(judge(&all(CLEAN), &clients()), Ok(Summary { lines: 3, noops: 1 }));
}

#[test]
fn a_killed_replica_may_have_a_prefix_that_ends_inside_a_line_or_nothing() {
    for prefix in [killed(log(0, "0 0 0 a\n1 -")), killed(log(0, "")), killed(absent(0))] {
        let logs = [prefix, log(1, CLEAN), log(2, CLEAN)];
        assert_eq!(judge(&logs, &clients()), Ok(Summary { lines: 3, noops: 1 }));
    }
}

#[test]
fn a_killed_replica_that_disagrees_is_a_violation() {
    let logs = [killed(log(0, "0 0 0 a\n1 1 0 x\n")), log(1, CLEAN), log(2, CLEAN)];
    assert_eq!(
        violation(&logs, &clients()),
        "slot 1: the chat logs differ\n  learner1.txt | 1 - - NOP\n  learner0.txt | 1 1 0 x"
    );
}

#[test]
fn a_live_replica_that_is_behind_is_a_violation() {
    let logs = [log(0, CLEAN), log(1, "0 0 0 a\n1 - - NOP\n2 1 0 x\n"), log(2, CLEAN)];
    assert_eq!(
        violation(&logs, &clients()),
        "slot 3: the chat logs differ\n  learner0.txt | 3 0 1 b\n  learner1.txt | (the log ends here)"
    );
}

#[test]
fn live_logs_that_differ_only_in_the_last_line_feed_are_a_violation() {
    let logs = [log(0, CLEAN), log(1, CLEAN.trim_end()), log(2, CLEAN)];
    assert!(violation(&logs, &clients()).starts_with("slot 3: the chat logs differ"));
}

#[test]
fn absent_and_empty_logs_never_agree() {
    assert_eq!(violation(&[absent(0), absent(1), absent(2)], &clients()), "learner0.txt is absent");
    let logs = [log(0, CLEAN), log(1, CLEAN), absent(2)];
    assert_eq!(violation(&logs, &clients()), "learner2.txt is absent");
    caught("", "slot 0: a completed line is not in the log");
}

#[test]
fn nobody_alive_is_no_agreement() {
    assert_eq!(violation(&[killed(log(0, CLEAN))], &clients()), "no replica lived to the end");
}

#[test]
fn a_gap_in_the_slots_is_a_violation() {
    caught("0 0 0 a\n2 1 0 x\n3 0 1 b\n", "slot 1: slots are not contiguous");
    caught("1 0 0 a\n", "slot 0: slots are not contiguous");
}

#[test]
fn a_client_whose_lines_are_not_numbered_in_turn_is_a_violation() {
    caught(
        "0 0 0 a\n1 - - NOP\n2 1 0 x\n3 0 2 b\n",
        "slot 3: client 0's lines are not numbered in turn: expected 1",
    );
}

#[test]
fn malformed_lines_are_violations() {
    for (line, what) in [
        ("0 0 0", "not \"<slot> <client> <seq> <message>\""),
        ("", "not \"<slot> <client> <seq> <message>\""),
        ("00 0 0 a", "the slot is not a number"),
        ("0 +0 0 a", "the client id is not a number"),
        ("0 0  a", "the client's seq is not a number"),
        ("0 - - nop", "a slot without a client holds something other than NOP"),
        ("0 0 0 a\\", "a backslash with no escape behind it"),
        ("0 0 0 \\t", "a backslash with no escape behind it"),
        ("0 0 0 \\u{41}", "\\u{41} is no control character in plain hex"),
        ("0 0 0 \\u{a}", "\\u{a} is no control character in plain hex"),
        ("0 0 0 \\u{01}", "\\u{01} is no control character in plain hex"),
        ("0 0 0 \\u1b", "\\u without {hex} behind it"),
        ("0 0 0 a\tb", "a control character is not escaped: \\t"),
    ] {
        caught(&format!("{line}\n"), &format!("slot 0: {what}"));
    }
    let bytes = Some(b"0 0 0 \xff\n".to_vec());
    let logs = [ChatLog { replica: 0, bytes, live: true }];
    assert!(violation(&logs, &clients()).starts_with("slot 0: not UTF-8"));
    let unended = [log(0, "0 0 0 a")];
    assert!(violation(&unended, &clients()).starts_with("slot 0: the last line has no line feed"));
}

#[test]
fn escapes_are_read_back_and_an_empty_message_keeps_its_space() {
    let text = "0 7 0 \\\\ \\n \\r \\u{1b} \\u{9} é\n1 7 1 \n";
    let sent =
        [sent(7, "\\ \n \r \u{1b} \t é", 0, Some((0, 0, 1))), sent(7, "", 2, Some((1, 1, 3)))];
    assert_eq!(judge(&all(text), &sent), Ok(Summary { lines: 2, noops: 0 }));
}

#[test]
fn a_completed_line_that_is_missing_is_a_violation() {
    assert_eq!(
        violation(&all("0 0 0 a\n1 - - NOP\n2 1 0 x\n3 - - NOP\n"), &clients()),
        "slot 3: a completed line is not in the log\n  \
         client 0 was told | 3 0 1 b\n  learner0.txt      | 3 - - NOP"
    );
}

#[test]
fn a_line_that_stands_twice_is_a_violation() {
    caught("0 0 0 a\n1 0 1 a\n2 1 0 x\n3 0 2 b\n", "slot 1: a line is in the log twice");
}

#[test]
fn a_line_that_nobody_sent_is_a_violation() {
    let stranger = "0 0 0 a\n1 9 0 a\n2 1 0 x\n3 0 1 b\n";
    caught(stranger, "slot 1: a line is in the log that no client sent");
    let changed = "0 0 0 a\n1 - - NOP\n2 1 0 X\n3 0 1 b\n";
    caught(changed, "slot 2: a line is in the log that no client sent");
}

#[test]
fn a_sent_line_that_was_never_completed_may_stand_or_not() {
    let mut sent = clients();
    sent.push(self::sent(1, "y", 40, None));
    assert!(judge(&all(CLEAN), &sent).is_ok());
    assert!(judge(&all(&format!("{CLEAN}4 1 1 y\n")), &sent).is_ok());
}

#[test]
fn a_clients_lines_out_of_order_are_a_violation() {
    // Neither line is complete, so only their order can be at fault.
    let sent = [sent(0, "a", 0, None), sent(0, "b", 1, None)];
    let said = violation(&all("0 0 0 b\n1 0 1 a\n"), &sent);
    assert!(said.starts_with("slot 1: a client's lines are not in the order sent"), "{said}");
}

#[test]
fn a_line_elsewhere_than_its_client_was_told_is_a_violation() {
    let mut sent = clients();
    sent[2].completed = Some(Completion { seq: 0, slot: 1, at: Duration::from_millis(25) });
    let said = violation(&all(CLEAN), &sent);
    let expected = "slot 1: a line has another slot or number than its client was told";
    assert!(said.starts_with(expected), "{said}");
    sent[2].completed = Some(Completion { seq: 1, slot: 2, at: Duration::from_millis(25) });
    let said = violation(&all(CLEAN), &sent);
    assert!(said.starts_with("slot 2: a line has another slot or number"), "{said}");
}

#[test]
fn a_line_completed_before_another_was_sent_stands_above_it() {
    // In CLEAN, x has slot 2 and b has slot 3. Here b is complete before x is sent.
    let mut sent = clients();
    sent[2].sent = Duration::from_millis(31);
    sent[2].completed = Some(Completion { seq: 0, slot: 2, at: Duration::from_millis(40) });
    let said = violation(&all(CLEAN), &sent);
    let expected = "slot 2: sent only after slot 3 was completed, and yet it is in a lower slot\n";
    assert!(said.starts_with(expected), "{said}");
    // If b completes at the instant at which x is sent, they may have overlapped.
    sent[2].sent = Duration::from_millis(30);
    assert!(judge(&all(CLEAN), &sent).is_ok());
}

#[test]
fn a_comparison_lets_logs_fall_short_and_says_so() {
    let logs = [log(0, CLEAN), log(1, CLEAN), log(2, "0 0 0 a\n1 -")];
    let found = compare(&logs).unwrap();
    assert_eq!((found.summary, found.identical), (Summary { lines: 3, noops: 1 }, 2));
    let said = |logs: &[ChatLog]| {
        let short = compare(logs).unwrap().short;
        short.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(said(&logs), ["learner2.txt is 3 lines behind, and ends inside a line"]);
    let logs = [log(0, CLEAN), log(1, CLEAN), absent(2)];
    assert_eq!(said(&logs), ["learner2.txt is absent"]);
    // All were killed, and the last line is nowhere but at the leader.
    let (last, _) = CLEAN.trim_end().rsplit_once('\n').unwrap();
    let logs = [log(0, CLEAN), log(1, &format!("{last}\n")), log(2, "")];
    let expected = ["learner1.txt is 1 line behind", "learner2.txt is 4 lines behind"];
    assert_eq!(said(&logs), expected);
}

#[test]
fn logs_that_are_absent_are_no_agreement() {
    let said = compare(&[log(0, CLEAN), absent(1), absent(2)]).unwrap_err().to_string();
    assert_eq!(said, "only 1 of 3 chat logs are there: no majority");
    let said = compare(&all("")).unwrap_err().to_string();
    assert_eq!(said, "every chat log is empty");
}

#[test]
fn a_comparison_names_the_first_slot_that_differs() {
    let other = CLEAN.replace("2 1 0 x", "2 1 0 y");
    let said = compare(&[log(0, CLEAN), log(1, CLEAN), log(2, &other)]).unwrap_err().to_string();
    assert_eq!(
        said,
        "slot 2: the chat logs differ\n  learner0.txt | 2 1 0 x\n  learner2.txt | 2 1 0 y"
    );
}

#[test]
fn a_comparison_reads_the_format_too() {
    let said = compare(&all("0 0 0 a\n1 0 0 b\n")).unwrap_err().to_string();
    assert!(said.starts_with("slot 1: client 0's lines are not numbered in turn"), "{said}");
}
