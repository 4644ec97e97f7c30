//! The format of a chat log: its lines, entries and escapes.

use super::Violation;
use std::collections::HashMap;

/// The lines of a log, each with its line feed if it has one.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&b| b == b'\n')
}

/// A line for an error message: shortened, and without its line feed.
pub(super) fn shown(line: &[u8]) -> String {
    const CHARS_MAX: usize = 160;
    let (line, end) = match line.strip_suffix(b"\n") {
        Some(line) => (line, ""),
        None => (line, " (no line feed)"),
    };
    let text = String::from_utf8_lossy(line);
    let mut short: String = text.chars().take(CHARS_MAX).flat_map(visible).collect();
    if text.chars().count() > CHARS_MAX {
        short.push('…');
    }
    short + end
}

/// A character that a terminal can print.
fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// The entry of a slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Noop,
    Line { client: u64, seq: u64, text: String },
}

/// Reads a log. Every line must be well formed, slots count from 0 without a gap, and each
/// client's lines are numbered from 0.
pub(super) fn parse_log(name: &str, bytes: &[u8]) -> Result<Vec<Entry>, Violation> {
    let mut next_seq: HashMap<u64, u64> = HashMap::new();
    let mut entries = Vec::new();
    for (index, line) in lines(bytes).enumerate() {
        let expected = index as u64;
        let bad = |what: String| Violation::new(expected, what).show(name, shown(line));
        let (slot, entry) = parse_line(line).map_err(bad)?;
        if slot != expected {
            return Err(bad(format!("slots are not contiguous: expected slot {expected} here")));
        }
        if let Entry::Line { client, seq, .. } = &entry {
            let next = next_seq.entry(*client).or_default();
            if *seq != *next {
                let what =
                    format!("client {client}'s lines are not numbered in turn: expected {next}");
                return Err(bad(what));
            }
            *next += 1;
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_line(line: &[u8]) -> Result<(u64, Entry), String> {
    let line = line.strip_suffix(b"\n").ok_or("the last line has no line feed")?;
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let mut fields = line.splitn(4, ' ');
    let mut field = || fields.next().ok_or("not \"<slot> <client> <seq> <message>\"");
    let (slot, client, seq, message) = (field()?, field()?, field()?, field()?);
    let slot = number(slot).ok_or("the slot is not a number")?;
    if (client, seq) == ("-", "-") {
        return match message {
            "NOP" => Ok((slot, Entry::Noop)),
            _ => Err("a slot without a client holds something other than NOP".into()),
        };
    }
    let client = number(client).ok_or("the client id is not a number")?;
    let seq = number(seq).ok_or("the client's seq is not a number")?;
    let text = unescape(message)?;
    Ok((slot, Entry::Line { client, seq, text }))
}

/// A number in the form that the log uses: digits, no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical { text.parse().ok() } else { None }
}

/// Takes the escapes out of a message: `\\`, `\n`, `\r`, and `\u{hex}` for every other
/// control character. Each message has exactly one escaped form, and any other form is an
/// error. So two logs with the same messages have the same bytes.
fn unescape(message: &str) -> Result<String, String> {
    let mut text = String::with_capacity(message.len());
    let mut rest = message.chars();
    while let Some(c) = rest.next() {
        if c.is_control() {
            return Err(format!("a control character is not escaped: {}", c.escape_default()));
        }
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some('\\') => text.push('\\'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('u') => {
                let (hex, after) = rest
                    .as_str()
                    .strip_prefix('{')
                    .and_then(|rest| rest.split_once('}'))
                    .ok_or("\\u without {hex} behind it")?;
                let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
                let canonical = |c: &char| {
                    let plain = c.is_control() && !matches!(c, '\n' | '\r');
                    plain && format!("{:x}", u32::from(*c)).eq_ignore_ascii_case(hex)
                };
                let what = || format!("\\u{{{hex}}} is no control character in plain hex");
                text.push(c.filter(canonical).ok_or_else(what)?);
                rest = after.chars();
            }
            _ => return Err("a backslash with no escape behind it".into()),
        }
    }
    Ok(text)
}

/// Writes an entry in the form of the log.
pub(super) fn write(slot: usize, entry: &Entry) -> String {
    match entry {
        Entry::Noop => format!("{slot} - - NOP"),
        Entry::Line { client, seq, text } => {
            shown(format!("{slot} {client} {seq} {text}\n").as_bytes())
        }
    }
}

/// The number of whole lines in a log.
pub fn complete_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count()
}
