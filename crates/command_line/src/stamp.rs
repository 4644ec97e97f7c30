//! The time before each line of a log, in UTC and with the date: logs of several hosts are read
//! side by side, and some runs last for months.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-28T12:34:56.789Z`, now.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    text(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The same for a time in milliseconds since 1970.
fn text(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{s:02}.{:03}Z", ms % 1_000)
}

/// The date that comes this many days after 1 January 1970: year, month and day. Months and days
/// count from 1.
fn date(days: u64) -> (u64, u64, u64) {
    // The calendar repeats every 400 years, and a year that begins in March has its leap day
    // at the end. Day 0 of that count is 1 March of year 0.
    let days = days + 719_468;
    let (cycles, of_cycle) = (days / 146_097, days % 146_097);
    let (leaps, centuries) = (of_cycle / 1_460, of_cycle / 36_524);
    let year_of_cycle = (of_cycle + centuries - leaps - of_cycle / 146_096) / 365;
    let of_year = of_cycle + year_of_cycle / 100 - 365 * year_of_cycle - year_of_cycle / 4;
    // Of five months from March on, which have 153 days, and again, and the rest.
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * cycles + year_of_cycle + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_the_date_and_the_time_in_utc() {
        // As `date -u -d @S` says.
        for (s, stamp) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (951_868_800, "2000-03-01T00:00:00.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (1_795_869_296, "2026-11-28T12:34:56.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(text(s * 1_000 + 7), stamp);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let lengths = |year: u64| {
            let leap =
                year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut expected = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(date(days), expected);
            let (year, month, day) = expected;
            expected = match (month, day == lengths(year)[month as usize - 1]) {
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
                (_, false) => (year, month, day + 1),
            };
        }
    }
}
