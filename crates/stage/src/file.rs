//! The format of a script, and how it is compared and written again.
//!
//! A script is a header of `#` lines and then blocks: commands, a line `---`, what they
//! printed, an empty line. Comments may stand between commands.

use super::commands::Session;
use std::fs;
use std::path::{Path, PathBuf};

/// How many lines of output an error shows.
const SHOWN_LINES: usize = 12;

const SEPARATOR: &str = "---";

/// A script as it stands in its file.
#[derive(Debug)]
pub struct Script {
    /// Where it stands.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
    /// Each block: its lines before the separator, and the number of the first.
    blocks: Vec<(usize, Vec<String>)>,
}

/// Every script below `folder`, in order of their paths.
pub fn all(folder: &Path) -> Vec<Script> {
    let mut scripts = Vec::new();
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    names.sort();
    for path in names {
        if path.is_dir() {
            scripts.extend(all(&path));
        } else if path.extension().is_none() {
            scripts.push(Script::read(path));
        }
    }
    scripts
}

impl Script {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut blocks = Vec::new();
        let mut block = Vec::new();
        let mut first = 1;
        let mut in_output = false;
        for (number, line) in (1..).zip(text.lines()) {
            match (in_output, line) {
                (true, "") => {
                    in_output = false;
                    first = number + 1;
                }
                (true, _) => {}
                (false, SEPARATOR) => {
                    in_output = true;
                    blocks.push((first, std::mem::take(&mut block)));
                }
                (false, _) => block.push(line.to_string()),
            }
        }
        if block.iter().any(|line| !line.trim().is_empty()) {
            // Commands that have not been run yet.
            blocks.push((first, block));
        }
        Script { path, text, blocks }
    }

    /// The folder and the name.
    pub fn name(&self) -> String {
        let name = |path: Option<&std::ffi::OsStr>| {
            path.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        format!(
            "{}/{}",
            name(self.path.parent().and_then(Path::file_name)),
            name(self.path.file_name())
        )
    }

    /// The comment at the top.
    pub fn header(&self) -> Vec<&str> {
        self.text.lines().take_while(|line| line.starts_with('#')).collect()
    }

    /// What the file should be: its commands with what they print now. An error says
    /// which command cannot be carried out, and what was printed last.
    pub fn run(&self) -> Result<String, String> {
        let mut session = Session::new();
        let mut text = String::new();
        for (index, (first, lines)) in self.blocks.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            let mut printed = Vec::new();
            for (number, line) in (*first..).zip(lines) {
                text.push_str(line);
                text.push('\n');
                let command = line.trim();
                if command.is_empty() || command.starts_with('#') {
                    continue;
                }
                match session.run(command) {
                    Ok(lines) => printed.extend(lines),
                    Err(why) => {
                        let last = printed.len().saturating_sub(SHOWN_LINES);
                        return Err(format!(
                            "{}:{number}: {command}: {why}\nprinted just before:\n  {}\n",
                            self.path.display(),
                            printed[last..].join("\n  ")
                        ));
                    }
                }
            }
            text.push_str(SEPARATOR);
            text.push('\n');
            if printed.is_empty() {
                printed.push("ok".into());
            }
            for line in printed {
                text.push_str(&line);
                text.push('\n');
            }
        }
        Ok(text)
    }
}

/// What differs, with a few lines around it.
pub fn difference(old: &str, new: &str) -> String {
    const AROUND: usize = 3;
    const SHOWN_MAX: usize = 60;
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The longest common subsequence, by the textbook: scripts are short.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines: Vec<(char, usize, &str)> = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', i + 1, old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(('-', i + 1, old[i]));
            i += 1;
        } else {
            lines.push(('+', i + 1, new[j]));
            j += 1;
        }
    }
    let changed: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].0 != ' ').collect();
    let near = |at: usize| changed.iter().any(|change| change.abs_diff(at) <= AROUND);
    let mut text = String::new();
    let mut last = None;
    for at in (0..lines.len()).filter(|at| near(*at)).take(SHOWN_MAX) {
        let (mark, number, line) = lines[at];
        if last.is_some_and(|last| last + 1 < at) {
            text.push_str("   ...\n");
        }
        last = Some(at);
        text.push_str(&format!("{number:>4} {mark} {line}\n"));
    }
    text
}
