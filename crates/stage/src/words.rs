//! Splits a command into words, numbers and times.

use multipaxos::types::LINE_BYTES_MAX;
use std::ops::RangeInclusive;

/// The largest number in a command.
pub(crate) const NUMBER_MAX: u64 = 1_000_000_000;

/// The longest time that one command may let pass.
const SPAN_MAX_US: u64 = 600_000_000;

/// Why a command cannot be carried out.
pub(crate) type Done = Result<(), String>;

/// A command, split into words.
#[derive(Debug)]
pub(crate) struct Words {
    /// The words without a name.
    pub(crate) plain: Vec<String>,
    /// The words of the form `name=value`.
    pub(crate) named: Vec<(String, String)>,
    /// The text in quotes.
    pub(crate) quoted: Option<String>,
}

/// What follows an opening quote, and how often the text in it is meant: `5000*"x"` is long.
fn quote(text: &str) -> Result<Option<(usize, &str)>, String> {
    if let Some(after) = text.strip_prefix('"') {
        return Ok(Some((1, after)));
    }
    let Some((times, after)) = text.split_once("*\"") else { return Ok(None) };
    if times.is_empty() || !times.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match times.parse() {
        Ok(times) if times <= LINE_BYTES_MAX => Ok(Some((times, after))),
        _ => Err(format!("{times} times is too often: a line has at most {LINE_BYTES_MAX} bytes")),
    }
}

impl Words {
    pub(crate) fn cut(text: &str) -> Result<Words, String> {
        let mut words = Words { plain: Vec::new(), named: Vec::new(), quoted: None };
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some((times, after)) = quote(rest)? {
                let (inside, after) = after.split_once('"').ok_or("a quote is not closed")?;
                words.quoted = Some(inside.repeat(times));
                rest = after.trim_start();
                continue;
            }
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match word.split_once('=') {
                Some((name, value)) => words.named.push((name.into(), value.into())),
                None => words.plain.push(word.into()),
            }
            rest = after.trim_start();
        }
        Ok(words)
    }

    /// The number with this name.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let found = self.named.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| parse(value)).transpose()
    }

    /// Checks that the command has at most `plain` words, a quoted text only if `quoted`, and no
    /// other names than these.
    pub(crate) fn only(&self, plain: usize, quoted: bool, names: &[&str]) -> Done {
        if let Some((name, _)) = self.named.iter().find(|(name, _)| !names.contains(&name.as_str()))
        {
            return Err(format!("{name}= means nothing here"));
        }
        if let Some(word) = self.plain.get(plain) {
            return Err(format!("{word} means nothing here"));
        }
        match &self.quoted {
            Some(line) if !quoted => Err(format!("\"{line}\" means nothing here")),
            _ => Ok(()),
        }
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    /// The word at `index`. The error calls it `what`.
    pub(crate) fn word(&self, index: usize, what: &str) -> Result<&str, String> {
        self.plain.get(index).map(String::as_str).ok_or(format!("which {what}?"))
    }

    /// Whether `word` is at `index`. Any other word there is an error.
    pub(crate) fn may_say(&self, index: usize, word: &str) -> Result<bool, String> {
        match self.plain.get(index) {
            None => Ok(false),
            Some(said) if said == word => Ok(true),
            Some(said) => Err(format!("{said} means nothing here")),
        }
    }
}

pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number <= NUMBER_MAX);
    number.ok_or_else(|| format!("{text} is not a number from 0 to {NUMBER_MAX}"))
}

pub(crate) fn within(what: &str, number: u64, range: RangeInclusive<u64>) -> Result<u64, String> {
    match range.contains(&number) {
        true => Ok(number),
        false => {
            Err(format!("{what} {number}: not a number from {} to {}", range.start(), range.end()))
        }
    }
}

/// Reads a time such as `50ms` or `2s`. Returns microseconds.
pub(crate) fn span(text: &str) -> Result<u64, String> {
    let unit = |text: &str| match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => Some((number.parse::<u64>().ok()?, 1_000)),
        (None, Some(number)) => Some((number.parse::<u64>().ok()?, 1_000_000)),
        (None, None) => None,
    };
    let Some((number, unit_us)) = unit(text) else {
        return Err(format!("{text} is not a time such as 50ms or 2s"));
    };
    let us = number.checked_mul(unit_us).filter(|us| *us <= SPAN_MAX_US);
    us.ok_or_else(|| format!("{text} is longer than {} s", SPAN_MAX_US / 1_000_000))
}
