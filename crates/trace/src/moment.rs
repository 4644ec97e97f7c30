//! A moment on the time line of all traces, as a user writes it.

use std::str::FromStr;

/// Microseconds since the first process began: `12.3s`, `450ms`, or `12.3`, which are seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let (number, unit_us) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(number), _) => (number, 1e3),
            (None, Some(number)) => (number, 1e6),
            (None, None) => (text, 1e6),
        };
        let us = number.trim().parse::<f64>().ok().map(|number| (number * unit_us).round());
        us.filter(|us| (0.0..1e18).contains(us))
            .map(|us| Moment(us as u64))
            .ok_or_else(|| "not a time such as 12.3s or 450ms".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_milliseconds_are_understood_and_the_rest_is_refused() {
        for (text, us) in [("12.3s", 12_300_000), ("450ms", 450_000), ("2", 2_000_000), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Moment(us)), "{text}");
        }
        for text in ["", "s", "-1s", "soon", "NaN", "inf", "1e30"] {
            let why = text.parse::<Moment>().expect_err(text);
            assert_eq!(why, "not a time such as 12.3s or 450ms");
        }
    }
}
