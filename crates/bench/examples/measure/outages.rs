//! The sections of view changes, absences and restarts, and of the scenarios. Each runs its
//! commands and writes its tables.

use crate::measured::{Measured, indented};
use crate::run::{BIN, Runner};
use crate::sections::{LAYOUTS, Layout, Scale};
use crate::table::{Table, count, time};

pub(crate) fn view_change(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let runs = scale.view_changes;
    let mut table = Table::new(&["threads", "median", "at most"]);
    let mut values = Vec::new();
    for Layout { name, option } in LAYOUTS {
        let command = format!("scripts/view_change.sh {BIN} {runs}{option}");
        let text = runner.text(&command)?;
        let last = text.lines().last().unwrap_or("");
        let numbers = numbers(last);
        let [median, _, most] = numbers[..] else {
            return Err(format!("{command}: its last line is {last:?}"));
        };
        let [median, most] = [median, most].map(|ms| time(ms * 1e3));
        values.push(median.clone());
        table.row(&[name.to_owned(), median, most]);
    }
    measured.section(
        "View change",
        &format!(
            "From `kill -9` of the primary to the next completed line of a client that sends \
             without pause, synced, in {runs} runs. An election timeout is drawn from 300 to \
             600 ms."
        ),
        &format!("scripts/view_change.sh {BIN} {runs} --threads LAYOUT"),
        &table.text(),
    );
    measured.figure(
        "next line after a kill of the leader",
        <[String; 2]>::try_from(values).expect("one a layout"),
        format!("scripts/view_change.sh {BIN}"),
    );
    Ok(())
}

pub(crate) fn absence(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let lines = scale.absent;
    let options = "--outstanding 256 --durability os --unpinned";
    let command = format!("bench --absent {lines} {options} {}", scale.span);
    let text = runner.text(&command)?;
    if !text.lines().any(|line| line.starts_with("caught up")) {
        return Err(format!("{command}: the replica did not catch up"));
    }
    measured.section(
        "A replica that was away",
        "One of three is killed under load, misses lines, and comes back. The others must not \
         grow meanwhile but for the log itself.",
        &command,
        &indented(&text),
    );
    Ok(())
}

pub(crate) fn restart(
    runner: &mut Runner,
    scale: Scale,
    measured: &mut Measured,
) -> Result<(), String> {
    let lines = scale.restart;
    let command = format!("bench --restart --lines {lines} --outstanding 4096");
    let (mut texts, mut values) = (Vec::new(), Vec::new());
    for Layout { option, .. } in LAYOUTS {
        let command = format!("{command}{option}");
        let text = runner.text(&command)?;
        let rows: Vec<Vec<f64>> = text.lines().skip(1).map(numbers).collect();
        match rows.iter().rfind(|row| row.len() == 6).map(Vec::as_slice) {
            Some([_, _, _, _, _, first_line_ms]) => values.push(time(first_line_ms * 1e3)),
            _ => return Err(format!("{command}: it printed no row")),
        }
        texts.push(format!("{}\n\n{}", indented(&command), indented(&text)));
    }
    measured.section(
        "Restart",
        "All three are killed, and two started again, when a hundredth of the lines is on disk \
         and when all are. The time must not depend on the length of the log.",
        "",
        &texts.join("\n\n"),
    );
    measured.figure(
        format!("next line after a kill of all, {} on disk", count(lines)),
        <[String; 2]>::try_from(values).expect("one a layout"),
        command,
    );
    Ok(())
}

/// The figures of bad networks, which `hosts` measures in namespaces of its own.
pub(crate) fn bad_networks(runner: &mut Runner, measured: &mut Measured) -> Result<(), String> {
    let command = "hosts --figures";
    let table = runner.text(command)?;
    measured.section(
        "Bad networks",
        "Clusters with default options, each replica on a host of its own where a rate is named: \
         the kernel's token buckets limit what leaves it, a relay delays what replicas send each \
         other. When a leader dies, 1,000 clients have a line of 1,200 bytes in flight each; what \
         counts is the longest time without a completed line that was sent afterwards. Other \
         lines have 1 KiB. Of 100 % of a path, each line goes to both followers; of bytes sent, \
         100 % are the lines alone, once to each follower, without headers, votes and answers. \
         The goals are those that this project set itself.",
        command,
        &table,
    );
    Ok(())
}

pub(crate) fn scenarios(
    runner: &mut Runner,
    quick: bool,
    measured: &mut Measured,
) -> Result<(), String> {
    let mut table = Table::new(&["command", "all eight together"]);
    let commands = ["driver --pause_ms 20", "driver --pause_ms 20 --threads one", "driver"];
    for command in &commands[..if quick { 1 } else { 3 }] {
        let text = runner.text(command)?;
        let elapsed = |line: &str| -> Option<f64> {
            line.strip_suffix(" s")?.split_whitespace().last()?.parse().ok()
        };
        let seconds: f64 = text.lines().filter_map(elapsed).sum();
        table.row(&[format!("`{command}`"), format!("{seconds:.1} s")]);
    }
    let prose = "The sum of the column \"elapsed\": five replicas, synced, the verdict included. \
                 Clients pause up to 20 ms, and up to 100 ms, between lines of the stress test.";
    measured.section("Scenarios", prose, "", &table.text());
    Ok(())
}

/// The numbers in a line, in their order.
fn numbers(line: &str) -> Vec<f64> {
    line.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_what_programs_say() {
        assert_eq!(numbers("median 365 ms of 10 runs, at most 511 ms"), [365.0, 10.0, 511.0]);
        let line = "caught up with 1000000 lines under load in 1.3 s (774000 lines/s); equal 0.2 s";
        assert_eq!(numbers(line)[..3], [1_000_000.0, 1.3, 774_000.0]);
        assert_eq!(
            numbers("  10000   1.2   3, 2 back   380.5   410.2"),
            [1e4, 1.2, 3.0, 2.0, 380.5, 410.2]
        );
    }
}
