//! Commands as lines of the log, and back.
//!
//! A line is UTF-8, and a command is any bytes. So each byte of a command becomes the character
//! with its number: a command of ASCII stands in the log as it is, and any other byte takes two
//! (and what people read shows Latin-1). To read it back costs nothing for ASCII.
//!
//! A line that somebody else has written, as by the program `client`, may hold characters above
//! U+00FF. Each becomes the bytes of its UTF-8. That is the same on every replica, which is all that
//! is asked of it.

use super::COMMAND_BYTES_MAX;
use crate::types::Line;
use std::borrow::Cow;

/// The line of a command; none if the command is longer than [`COMMAND_BYTES_MAX`].
pub fn line_of(command: &[u8]) -> Option<Line> {
    if command.len() > COMMAND_BYTES_MAX {
        return None;
    }
    Some(match std::str::from_utf8(command) {
        Ok(text) if command.is_ascii() => text.into(),
        _ => command.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
    })
}

/// The command that a line is, which is UTF-8.
pub fn bytes_of(line: &[u8]) -> Cow<'_, [u8]> {
    if line.is_ascii() {
        return Cow::Borrowed(line);
    }
    let text = std::str::from_utf8(line).expect("a line was checked when it came");
    let mut bytes = Vec::with_capacity(line.len());
    for character in text.chars() {
        match u8::try_from(u32::from(character)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LINE_BYTES_MAX;

    #[test]
    fn every_command_is_read_back_from_its_line() {
        let all: Vec<u8> = (0..=255).collect();
        for command in [&b""[..], b"get x", &all, "é€\u{1F600}".as_bytes(), &[0xFF; 9]] {
            let line = line_of(command).expect("short");
            assert_eq!(&bytes_of(line.as_bytes())[..], command);
        }
        assert_eq!(&*line_of(b"get x").expect("short"), "get x");
    }

    #[test]
    fn the_longest_command_fits_a_line_whatever_its_bytes_are() {
        let longest = line_of(&[0xFF; COMMAND_BYTES_MAX]).expect("it fits");
        assert_eq!(longest.len(), LINE_BYTES_MAX);
        assert_eq!(line_of(&[b'x'; COMMAND_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_line_of_somebody_else_is_some_command() {
        assert_eq!(&bytes_of("a€é".as_bytes())[..], b"a\xE2\x82\xAC\xE9");
    }
}
