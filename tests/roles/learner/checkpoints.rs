//! When the learner makes checkpoints, and what the acceptor may then forget.

use super::*;

#[test]
fn the_acceptors_trim_mark_is_told_when_it_changes_and_with_every_reminder() {
    let mut seat = learner(3, R0);
    let told = |sent: &[Envelope]| told_acceptor(sent).len();
    assert_eq!(told(&seat.wait_us(1_000)), 1);
    assert_eq!(told(&seat.handle(page(R1, 0, &noops(8)))), 0, "made, not yet durable");
    assert_eq!(told(&seat.handle(page(R1, 8, &noops(7)))), 0);
    assert_eq!(told(&seat.handle(page(R1, 15, &noops(1)))), 1);
    assert_eq!(told(&seat.handle(page(R1, 16, &noops(1)))), 0);
}

#[test]
fn eight_mebibytes_of_lines_make_a_checkpoint_due() {
    let settings = multipaxos::paxos::Settings { checkpoint_slots: 10_000, ..settings(3, R0) };
    let mut seat =
        Seat::new(Learner::new(settings, membership(3, R0), Checkpoint::default()), Log::default());
    let line = "x".repeat((1 << 16) - COMMAND_BYTES);
    let lines: Vec<Value> = (0..260).map(|session| command(session, 0, &line)).collect();
    for (slot, line) in lines.iter().enumerate() {
        seat.handle(page(R1, slot as u64, std::slice::from_ref(line)));
    }
    assert_eq!(seat.storage.checkpoints, [Slot(128), Slot(256)], "each 8 MiB");
}

#[test]
fn with_very_many_sessions_checkpoints_lie_further_apart_up_to_a_bound() {
    let made = |sessions: u64, upto: u64| {
        let mut seat = learner(3, R0);
        let values: Vec<Value> = (0..sessions).map(|session| command(session, 0, "x")).collect();
        seat.handle(page(R1, 0, &values));
        assert_eq!(seat.role.chat().sessions() as u64, sessions);
        let made = seat.storage.checkpoints.len();
        let mut slot = sessions;
        while slot < upto {
            let count = 1_024 - slot % 1_024;
            seat.handle(page(R1, slot, &noops(count as usize)));
            slot += count;
        }
        seat.storage.checkpoints[made..].to_vec()
    };
    assert_eq!(made(2_051, 32_768), [Slot(16_384), Slot(32_768)]);
    assert_eq!(made(5_125, 40_960), [Slot(32_768)]);
}

#[test]
fn only_a_durable_checkpoint_lets_the_acceptor_forget_and_is_told_again_and_again() {
    let mut seat = learner(3, R2);
    // Replica 2 of 3 makes its checkpoints two thirds of a step above multiples of the step.
    let step = settings(3, R2).checkpoint_slots;
    let first = 2 * step / 3;
    let told_at = |seat: &mut Subject, from: u64, upto: u64, told: u64| {
        seat.handle(page(R0, from, &noops((upto - from) as usize)));
        for _ in 0..3 {
            let sent = seat.wait_us(HEARTBEAT_US);
            assert!(told_acceptor(&sent).contains(&acceptor::Input::Applied(Slot(told), None)));
        }
    };
    told_at(&mut seat, 0, first - 1, 0);
    // This checkpoint becomes durable only once the next one is made.
    told_at(&mut seat, first - 1, first, 0);
    told_at(&mut seat, first, first + step - 1, 0);
    told_at(&mut seat, first + step - 1, first + step, first);
    told_at(&mut seat, first + step, first + 2 * step + 1, first + step);
}

#[test]
fn what_is_applied_in_one_go_after_a_gap_is_covered_by_several_checkpoints() {
    let mut seat = learner(3, R0);
    let (step, count) = (settings(3, R0).checkpoint_slots, 10);
    for part in 1..count {
        seat.handle(page(R1, part * step, &noops(step as usize)));
    }
    seat.handle(page(R1, 0, &noops(step as usize)));
    assert_eq!(seat.role.applied(), Slot(count * step));
    // The last one becomes durable with the next, so all below the one before may go.
    let may_go = acceptor::Input::Applied(Slot((count - 1) * step), None);
    assert!(told_acceptor(&seat.wait_us(HEARTBEAT_US)).contains(&may_go));
}

#[test]
fn replicas_make_their_checkpoints_in_different_slots() {
    let made_at = |id| {
        let mut seat = learner(3, id);
        let step = settings(3, id).checkpoint_slots;
        (0..3 * step).for_each(|slot| drop(seat.handle(page(R0, slot, &noops(1)))));
        seat.storage.checkpoints
    };
    let all: Vec<Slot> = [R0, R1, R2].into_iter().flat_map(made_at).collect();
    let distinct: std::collections::BTreeSet<&Slot> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (9, 9), "{all:?}");
}

#[test]
fn the_parts_of_a_checkpoint_are_of_one_slot_and_bounded() {
    const CLIENTS: u64 = 50_000;
    const PAGE: u64 = 512;
    // As far apart as so many sessions make them.
    const DISTANCE: u64 = 32_768;
    let mut seat = learner(3, R0);
    let (mut made, mut parts, mut assembly, mut begun) = (0, 0, Assembly::default(), None);
    for slot in (0..4 * CLIENTS).step_by(PAGE as usize) {
        let line = |slot: u64| {
            // Each client has a line in turn, and the later ones go on by another session.
            let (client, round) = (slot * 7 % CLIENTS, slot / CLIENTS);
            Value::Command(Request::new(client, round.min(2), round / 3, "x").command())
        };
        seat.handle(page(R1, slot, &(slot..slot + PAGE).map(line).collect::<Vec<_>>()));
        let sessions = seat.role.chat().sessions() as u64;
        for part in seat.storage.parts.drain(..) {
            if part.is_first {
                assert_eq!(part.applied, seat.role.applied());
                begun = Some(seat.role.chat().clone());
            }
            let (since, count) = (seat.role.applied().since(part.applied), part.chat.sessions());
            let due = 2 * sessions * PAGE / DISTANCE + PART_SESSIONS as u64 + 100;
            // The last part has those that have changed: three for a slot at most.
            let changed = if part.is_last { 3 * since } else { 0 };
            assert!(count as u64 <= due + changed, "slot {slot}: {count} sessions");
            assert!(since <= DISTANCE / 2 + PAGE, "slot {slot}: {since} slots after it began");
            parts += 1;
            if let Some(checkpoint) = assembly.add(&part) {
                assert!(Some(checkpoint.chat) == begun.take(), "slot {slot}: another state");
                made += 1;
            }
        }
    }
    assert!(made >= 5 && parts > 10 * made / 2, "{made} checkpoints, {parts} parts");
}
