//! The figures, as the document and README print them.

#[cfg(doc)]
use crate::sections::LAYOUTS;
use crate::table::wrapped;
use std::fmt::Write as _;

/// A row of README's table.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: String,
    /// With each layout of threads, in the order of [`LAYOUTS`].
    pub(crate) values: [String; 2],
    /// With the default layout.
    pub(crate) command: String,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// At most ten.
    pub(crate) figures: Vec<Figure>,
    /// The sections of the document, as text.
    pub(crate) sections: String,
}

impl Measured {
    pub(crate) fn figure(
        &mut self,
        what: impl Into<String>,
        values: [String; 2],
        command: impl Into<String>,
    ) {
        self.figures.push(Figure { what: what.into(), values, command: command.into() });
    }

    /// A section: its title, what it says, the command, the table.
    pub(crate) fn section(&mut self, title: &str, prose: &str, command: &str, table: &str) {
        let _ = write!(self.sections, "\n## {title}\n\n");
        for part in [wrapped(prose), indented(command), table.trim_matches('\n').to_owned()] {
            if !part.trim().is_empty() {
                let _ = write!(self.sections, "{part}\n\n");
            }
        }
        self.sections.truncate(self.sections.trim_end().len());
        self.sections.push('\n');
    }
}

/// As Markdown shows it word for word.
pub(crate) fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { String::new() } else { format!("    {line}") };
    let lines: Vec<String> = text.trim_end().lines().map(line).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_its_parts_apart_and_leaves_out_what_is_empty() {
        let mut measured = Measured::default();
        measured.section("A", "Prose.", "bench", "| x |\n|---|\n");
        measured.section("B", "Prose.", "", "\n    printed\n");
        let expected =
            "\n## A\n\nProse.\n\n    bench\n\n| x |\n|---|\n\n## B\n\nProse.\n\n    printed\n";
        assert_eq!(measured.sections, expected);
    }
}
