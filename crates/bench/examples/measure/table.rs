//! Medians, ranges, and how they are shown.

use std::fmt::Write as _;

/// The least, the middle and the most of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) middle: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// # Panics
    ///
    /// If there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Spread {
        let mut all: Vec<f64> = figures.into_iter().collect();
        all.sort_by(f64::total_cmp);
        let n = all.len();
        assert!(n > 0, "no figures");
        let middle = (all[(n - 1) / 2] + all[n / 2]) / 2.0;
        Spread { least: all[0], middle, most: all[n - 1] }
    }

    /// The middle, and the range where there is one.
    pub(crate) fn shown(self, one: fn(f64) -> String) -> String {
        let (least, middle, most) = (one(self.least), one(self.middle), one(self.most));
        if least == most { middle } else { format!("{middle} ({least}–{most})") }
    }
}

/// `22.1 k`, `746 k`, `1.31 M`: three digits that count.
pub(crate) fn rate(number: f64) -> String {
    match number {
        n if n >= 999_500.0 => format!("{} M", three_digits(n / 1e6)),
        n if n >= 999.5 => format!("{} k", three_digits(n / 1e3)),
        n => three_digits(n),
    }
}

/// Three digits that count, and no more behind the point than that leaves.
pub(crate) fn three_digits(number: f64) -> String {
    match number.abs() {
        n if n >= 99.95 => format!("{number:.0}"),
        n if n >= 9.995 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

pub(crate) fn two_decimals(number: f64) -> String {
    format!("{number:.2}")
}

/// `205 µs`, `1.94 ms`.
pub(crate) fn time(us: f64) -> String {
    match us {
        us if us >= 999_500.0 => format!("{} s", three_digits(us / 1e6)),
        us if us >= 999.5 => format!("{} ms", three_digits(us / 1e3)),
        us => format!("{} µs", three_digits(us)),
    }
}

/// `1`, `4,096`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prose in lines of at most 95 characters.
pub(crate) fn wrapped(prose: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in prose.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 95 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A table in Markdown.
#[derive(Debug)]
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn new(header: &[&str]) -> Table {
        Table(format!("| {} |\n|{}\n", header.join(" | "), "---|".repeat(header.len())))
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_shown_with_its_range_if_there_is_one() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(spread, Spread { least: 1.0, middle: 2.0, most: 3.0 });
        assert_eq!(spread.shown(three_digits), "2.00 (1.00–3.00)");
        assert_eq!(Spread::of([5.0]).shown(three_digits), "5.00");
        assert_eq!(Spread::of([1.0, 2.0]).middle, 1.5);
        // Two figures that print alike are no range.
        assert_eq!(Spread::of([1.001, 1.002]).shown(two_decimals), "1.00");
    }

    #[test]
    fn numbers_have_three_digits_and_their_unit() {
        let shown = [12.3456, 999.6, 22_149.0, 745_900.0, 999_600.0, 1_312_345.0].map(rate);
        assert_eq!(shown, ["12.3", "1.00 k", "22.1 k", "746 k", "1.00 M", "1.31 M"]);
        assert_eq!(
            [44.26, 204.9, 1_944.0, 2_500_000.0].map(time),
            ["44.3 µs", "205 µs", "1.94 ms", "2.50 s"]
        );
        assert_eq!([1, 256, 4_096, 10_000_000].map(count), ["1", "256", "4,096", "10,000,000"]);
    }

    #[test]
    fn prose_is_cut_between_words() {
        let prose = "word ".repeat(40);
        let lines: Vec<String> = wrapped(&prose).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= 95), "{lines:?}");
        assert_eq!(lines.join(" "), prose.trim());
        assert_eq!(wrapped(""), "");
    }

    #[test]
    fn a_table_has_as_many_columns_in_each_line() {
        let mut table = Table::new(&["N", "lines a second"]);
        table.row(&["1".into(), "22.1 k".into()]);
        assert_eq!(table.text(), "| N | lines a second |\n|---|---|\n| 1 | 22.1 k |\n");
    }
}
