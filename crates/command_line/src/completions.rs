//! Scripts by which a shell completes a program's options (`--completions SHELL`).
//!
//! They are made of what argh knows of the program, like its help. An option's metavariable says
//! what its value is: a `FILE` or `PAGE` is a file, a `DIR` a folder, and some have [`WORDS`] of
//! their own. (The generators of argh_complete 0.1.19 know nothing of metavariables: their scripts
//! for zsh and fish propose no file anywhere.)

use crate::help::visible;
use crate::with_underscores;
use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind};
use std::str::FromStr;

/// The shells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl FromStr for Shell {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "bash" => Ok(Shell::Bash),
            "zsh" => Ok(Shell::Zsh),
            "fish" => Ok(Shell::Fish),
            _ => Err("not one of bash, zsh, fish"),
        }
    }
}

const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The values that options with these metavariables take.
pub const WORDS: &[(&str, &[&str])] = &[
    ("FORMAT", &["text", "json"]),
    ("LAYOUT", &["per-role", "one"]),
    ("LEVEL", &["off", "error", "warn", "info", "debug", "trace"]),
    ("MODE", &["sync", "os", "none"]),
    ("SHELL", SHELLS),
];

/// The kind of value that an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// It has none.
    None,
    File,
    Folder,
    Words(&'static [&'static str]),
    /// Anything.
    Other,
}

/// An option, without dashes before it.
struct Completed {
    name: String,
    value: Value,
    text: &'static str,
}

fn value(kind: &FlagInfoKind<'_>) -> Value {
    let FlagInfoKind::Option { arg_name } = kind else { return Value::None };
    match *arg_name {
        "FILE" | "PAGE" => Value::File,
        "DIR" => Value::Folder,
        name => match WORDS.iter().find(|(of, _)| *of == name) {
            Some((_, words)) => Value::Words(words),
            None => Value::Other,
        },
    }
}

fn options(info: &CommandInfoWithArgs) -> Vec<Completed> {
    let of = |flag: &FlagInfo<'static>| Completed {
        name: with_underscores(flag.long.trim_start_matches('-')),
        value: value(&flag.kind),
        text: flag.description,
    };
    let mut options: Vec<Completed> = visible(info).map(of).collect();
    for (name, value, text) in [
        ("help", Value::None, "print the help"),
        ("version", Value::None, "print the version"),
        ("man", Value::None, "print the manual page"),
        ("completions", Value::Words(SHELLS), "print completions for this shell"),
    ] {
        options.push(Completed { name: name.to_owned(), value, text });
    }
    options
}

/// The script of a program for a shell, without a line feed at its end.
pub(crate) fn script(shell: Shell, program: &str, info: &CommandInfoWithArgs) -> String {
    let (options, takes_files) = (options(info), !info.positionals.is_empty());
    match shell {
        Shell::Bash => bash(program, &options, takes_files),
        Shell::Zsh => zsh(program, &options, takes_files),
        Shell::Fish => fish(program, &options, takes_files),
    }
}

fn bash(program: &str, options: &[Completed], takes_files: bool) -> String {
    let mut text = format!(
        "_multipaxos_{program}() {{\n    local word=${{COMP_WORDS[COMP_CWORD]}}\n    \
         case ${{COMP_WORDS[COMP_CWORD-1]}} in\n"
    );
    let mut case = |names: &str, generate: &str| {
        text +=
            &format!("    {names}) mapfile -t COMPREPLY < <(compgen {generate} -- \"$word\") ;;\n");
    };
    let mut free = Vec::new();
    for Completed { name, value, .. } in options {
        match value {
            Value::None => {}
            Value::File => case(&format!("--{name}"), "-f"),
            Value::Folder => case(&format!("--{name}"), "-d"),
            Value::Words(words) => case(&format!("--{name}"), &format!("-W '{}'", words.join(" "))),
            Value::Other => free.push(format!("--{name}")),
        }
    }
    if !free.is_empty() {
        text += &format!("    {}) ;;\n", free.join("|"));
    }
    let names: Vec<String> = options.iter().map(|option| format!("--{}", option.name)).collect();
    let files = if takes_files { "-f " } else { "" };
    text += &format!(
        "    *) mapfile -t COMPREPLY < <(compgen {files}-W '{}' -- \"$word\") ;;\n    esac\n}}\n\
         complete -o filenames -F _multipaxos_{program} {program}",
        names.join(" ")
    );
    text
}

fn zsh(program: &str, options: &[Completed], takes_files: bool) -> String {
    let mut text = format!("#compdef {program}\n_arguments -S");
    for Completed { name, value, text: said } in options {
        let action = match value {
            Value::None => String::new(),
            Value::File => ":file:_files".to_owned(),
            Value::Folder => ":folder:_files -/".to_owned(),
            Value::Words(words) => format!(":value:({})", words.join(" ")),
            Value::Other => ":value:( )".to_owned(),
        };
        let said = escaped(said, &['[', ']', ':', '\\'], '\\');
        text += &format!(" \\\n  '--{name}[{}]{action}'", said.replace('\'', "'\\''"));
    }
    if takes_files {
        text += " \\\n  '*:file:_files'";
    }
    text
}

fn fish(program: &str, options: &[Completed], takes_files: bool) -> String {
    let mut lines = Vec::new();
    if !takes_files {
        lines.push(format!("complete -c {program} -f"));
    }
    for Completed { name, value, text } in options {
        let value = match value {
            Value::None => String::new(),
            Value::File => " -r -F".to_owned(),
            Value::Folder => " -x -a '(__fish_complete_directories)'".to_owned(),
            Value::Words(words) => format!(" -x -a '{}'", words.join(" ")),
            Value::Other => " -x".to_owned(),
        };
        let text = escaped(text, &['\'', '\\'], '\\');
        lines.push(format!("complete -c {program} -l {name}{value} -d '{text}'"));
    }
    lines.join("\n")
}

/// The text on one line, with this before each of these letters.
fn escaped(text: &str, letters: &[char], with: char) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if letters.contains(&letter) {
            escaped.push(with);
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use argh::{ArgsInfo, FromArgs};

    /// A program for tests.
    #[derive(FromArgs, ArgsInfo, Debug)]
    #[expect(dead_code, reason = "it is only described")]
    struct Program {
        /// where it's kept: [here] (default none)
        #[argh(option, arg_name = "FILE")]
        data_file: Option<String>,
        /// a folder (default none)
        #[argh(option, arg_name = "DIR")]
        log_dir: Option<String>,
        /// how (default sync)
        #[argh(option, arg_name = "MODE")]
        durability: Option<String>,
        /// how often (default 1)
        #[argh(option, arg_name = "N")]
        count: Option<u64>,
        /// more of it
        #[argh(switch)]
        more: bool,
        /// for tests
        #[argh(switch, hidden_help)]
        secret: bool,
    }

    fn of(shell: Shell) -> String {
        script(shell, "it", &Program::get_args_info())
    }

    #[test]
    fn each_shell_is_told_what_each_option_takes_and_nothing_of_hidden_ones() {
        for (shell, parts) in [
            (
                Shell::Bash,
                &[
                    "--data_file) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;",
                    "--log_dir) mapfile -t COMPREPLY < <(compgen -d -- \"$word\") ;;",
                    "(compgen -W 'sync os none' -- \"$word\")",
                    "    --count) ;;",
                    "-W '--data_file --log_dir --durability --count --more --help --version --man",
                ][..],
            ),
            (
                Shell::Zsh,
                &[
                    "'--data_file[where it'\\''s kept\\: \\[here\\] (default none)]:file:_files'",
                    "'--log_dir[a folder (default none)]:folder:_files -/'",
                    "'--durability[how (default sync)]:value:(sync os none)'",
                    "'--count[how often (default 1)]:value:( )'",
                    "'--more[more of it]' \\\n",
                ],
            ),
            (
                Shell::Fish,
                &[
                    "-l data_file -r -F -d 'where it\\'s kept: [here] (default none)'",
                    "-l log_dir -x -a '(__fish_complete_directories)'",
                    "-l durability -x -a 'sync os none'",
                    "-l count -x -d",
                    "-l more -d 'more of it'",
                ],
            ),
        ] {
            let script = of(shell);
            for part in parts {
                assert!(script.contains(part), "{part}\n{script}");
            }
            assert!(!script.contains("secret"), "{script}");
        }
    }
}
