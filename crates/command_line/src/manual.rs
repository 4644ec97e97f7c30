//! A program's manual page (`--man`), made of what argh knows of it, like its help.

use crate::help::{CALLED, HELP_ROWS, Program, heading, shown, visible};
use argh::CommandInfoWithArgs;
use roff::{Inline, Roff, bold, italic, roman};

/// The page in the language of man, without a line feed at its end.
pub(crate) fn page(program: Program<'_>, info: &CommandInfoWithArgs) -> String {
    let name = program.name;
    let mut page = Roff::new();
    let version = concat!("multipaxos ", env!("CARGO_PKG_VERSION"));
    // roff 1.1.1 leaves an empty argument out, and the version would become the date.
    page.control("TH", [&*name.to_uppercase(), "1", " ", version, "multipaxos"]);
    let (first, _) = info.description.split_once(". ").unwrap_or((info.description, ""));
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {}", in_the_middle(first)))]);
    page.control("SH", ["SYNOPSIS"]);
    let mut synopsis = vec![bold(name), roman(" ["), italic("OPTION"), roman("]...")];
    for word in info.positionals.iter().filter(|word| !word.hidden) {
        synopsis.extend([roman(" ["), italic(word.name), roman("]...")]);
    }
    page.text(synopsis);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(info.description)]);
    page.control("SH", ["OPTIONS"]);
    for word in info.positionals.iter().filter(|word| !word.hidden) {
        item(&mut page, word.name, word.description);
    }
    for flag in visible(info) {
        if let Some(heading) = heading(program.groups, flag) {
            page.control("SS", [heading]);
        }
        item(&mut page, &shown(flag), flag.description);
    }
    page.control("SS", ["Help"]);
    for (option, text) in HELP_ROWS {
        item(&mut page, option, text);
    }
    page.control("PP", []);
    page.text([roman("Options take dashes as well as underscores.")]);
    page.control("SH", ["EXIT STATUS"]);
    for code in info.error_codes {
        item(&mut page, &code.code.to_string(), code.description);
    }
    page.control("SH", ["EXAMPLES"]);
    for example in info.examples {
        page.control("PP", []);
        page.control("nf", []);
        for line in example.lines() {
            page.text([roman(line.replace(CALLED, name))]);
        }
        page.control("fi", []);
    }
    page.render().trim_end().to_owned()
}

/// A term and what it means.
fn item(page: &mut Roff, term: &str, text: &str) {
    page.control("TP", []);
    let term: Vec<Inline> = match term.split_once(' ') {
        Some((option, value)) if !option.ends_with(',') => {
            vec![bold(option), roman(" "), italic(value)]
        }
        _ => vec![bold(term)],
    };
    page.text(term);
    page.text([roman(text)]);
}

/// A sentence as it stands behind a dash: its first letter small, without a full stop.
fn in_the_middle(sentence: &str) -> String {
    let mut letters = sentence.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use argh::{ArgsInfo, FromArgs};

    /// Does something. And more.
    #[derive(FromArgs, ArgsInfo, Debug)]
    #[expect(dead_code, reason = "it is only described")]
    #[argh(example = "Like this:\n  {command_name} --log_dir x", error_code(0, "good"))]
    struct It {
        /// a folder (default none)
        #[argh(option, arg_name = "DIR")]
        log_dir: Option<String>,
        /// more of it
        #[argh(switch)]
        more: bool,
        /// for tests
        #[argh(switch, hidden_help)]
        secret: bool,
    }

    #[test]
    fn a_page_has_all_that_the_help_has() {
        let groups = &[("More", "more")];
        let program = Program { name: "it", called: "bin/it", groups };
        let page = page(program, &It::get_args_info());
        for part in [
            ".TH IT 1 \" \" \"multipaxos ",
            "\n.SH NAME\nit \\- does something\n",
            "\n.SH DESCRIPTION\nDoes something. And more.\n",
            "\n.TP\n\\fB\\-\\-log_dir\\fR \\fIDIR\\fR\na folder (default none)\n",
            "\n.SS More\n.TP\n\\fB\\-\\-more\\fR\nmore of it\n",
            "\n.TP\n\\fB\\-h, \\-\\-help\\fR\nprint this help\n",
            "\n.SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\ngood\n",
            "\n.nf\nLike this:\n  it \\-\\-log_dir x\n.fi",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("secret"), "{page}");
    }
}
