//! The format of a script. Runs a script, and writes it again.
//!
//! A script is a header of `#` lines, followed by blocks. A block consists of commands, a line
//! `---`, the lines that the commands printed, and an empty line. Comments may be between
//! commands. Commands that have not been run yet may be at the end without a `---`. When they
//! are run, a block ends after each command that prints something.

use super::commands::Session;
use history::History;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The number of output lines that an error shows.
const SHOWN_LINES: usize = 12;

const SEPARATOR: &str = "---";

/// The text of a script.
#[derive(Debug)]
pub struct Script {
    /// The path of its file.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
    /// The lines of each block before the separator.
    blocks: Vec<Vec<Line>>,
    /// The lines at the end that have not been run yet.
    rest: Vec<Line>,
}

/// A command or a comment, and the number of its line.
type Line = (usize, String);

/// A command that cannot be carried out, so that the script ends there.
#[derive(Debug)]
pub struct Stuck {
    path: PathBuf,
    /// The script as it should be, up to that command.
    pub text: String,
    line: usize,
    why: String,
}

/// `file:line: what is wrong`.
impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.why)
    }
}

impl Stuck {
    /// The error with the last lines that were printed.
    pub fn with_context(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let last = lines.len().saturating_sub(SHOWN_LINES);
        format!("{self}\njust before:\n  {}\n", lines[last..].join("\n  "))
    }
}

/// Reads all scripts below `folder`, in the order of their paths.
///
/// # Panics
///
/// If the folder or a script cannot be read.
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
            scripts.push(Script::read(&path).unwrap_or_else(|error| panic!("{error}")));
        }
    }
    scripts
}

/// The command on a line of a script, if the line has one.
pub fn command_of(line: &str) -> Option<&str> {
    let command = line.trim();
    (!command.is_empty() && !command.starts_with('#')).then_some(command)
}

/// Appends a block to `text`.
pub fn write_block(text: &mut String, lines: &[&str], printed: &[String]) {
    if !text.is_empty() {
        text.push('\n');
    }
    let ok = ["ok".to_owned()];
    let printed = if printed.is_empty() { &ok } else { printed };
    let printed = printed.iter().map(String::as_str);
    for line in lines.iter().copied().chain([SEPARATOR]).chain(printed) {
        text.push_str(line);
        text.push('\n');
    }
}

impl Script {
    /// Reads a script from a file.
    ///
    /// # Errors
    ///
    /// A line that names the file, and says why it cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Script::parse(path.to_owned(), text))
    }

    /// Splits a text into blocks. Errors name it by `path`.
    pub fn parse(path: PathBuf, text: String) -> Self {
        let mut blocks = Vec::new();
        let mut block: Vec<Line> = Vec::new();
        let mut in_output = false;
        for (number, line) in (1..).zip(text.lines()) {
            match (in_output, line) {
                (true, "") => in_output = false,
                (true, _) => {}
                (false, SEPARATOR) => {
                    in_output = true;
                    blocks.push(std::mem::take(&mut block));
                }
                (false, _) => block.push((number, line.to_owned())),
            }
        }
        block.retain(|(_, line)| !line.trim().is_empty());
        Script { path, text, blocks, rest: block }
    }

    /// The name of the script: its folder and its file.
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

    /// The comment at the top of the script.
    pub fn header(&self) -> Vec<&str> {
        self.text.lines().take_while(|line| line.starts_with('#')).collect()
    }

    /// The commands and comments, with the numbers of their lines.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.blocks
            .iter()
            .flatten()
            .chain(&self.rest)
            .map(|(number, line)| (*number, line.as_str()))
    }

    /// Runs the script. Returns the text that the file should have: its commands with what they
    /// print now.
    ///
    /// # Errors
    ///
    /// The first command that cannot be carried out. The commands after it expect its effect, so
    /// they are not run.
    pub fn run(&self) -> Result<String, Stuck> {
        let mut run = Run { script: self, session: Session::default(), text: String::new() };
        run.all()?;
        Ok(run.text)
    }

    /// Runs the script as far as it can be run, and returns what has happened as well.
    pub fn play(&self) -> (Result<String, Stuck>, Option<History>) {
        let mut run = Run { script: self, session: Session::default(), text: String::new() };
        let done = run.all();
        (done.map(|()| run.text), run.session.into_history())
    }
}

/// The state of a script that runs.
struct Run<'a> {
    script: &'a Script,
    session: Session,
    text: String,
}

impl Run<'_> {
    /// Runs all commands.
    fn all(&mut self) -> Result<(), Stuck> {
        let script = self.script;
        for block in &script.blocks {
            self.block(block)?;
        }
        let mut rest = script.rest.as_slice();
        while !rest.is_empty() {
            let length = self.loose(rest)?;
            rest = &rest[length..];
        }
        Ok(())
    }

    /// Runs all commands of a block.
    fn block(&mut self, block: &[Line]) -> Result<(), Stuck> {
        let mut printed = Vec::new();
        for index in 0..block.len() {
            printed.extend(self.command(block, index, &printed)?);
        }
        self.write(block, &printed);
        Ok(())
    }

    /// Runs commands until one prints something. Returns the number of lines that it used.
    fn loose(&mut self, lines: &[Line]) -> Result<usize, Stuck> {
        for index in 0..lines.len() {
            let printed = self.command(lines, index, &[])?;
            if !printed.is_empty() || index + 1 == lines.len() {
                self.write(&lines[..=index], &printed);
                return Ok(index + 1);
            }
        }
        Ok(lines.len())
    }

    /// Runs the command on line `index` of a block that has printed this much, if the line has a
    /// command.
    fn command(
        &mut self,
        block: &[Line],
        index: usize,
        printed: &[String],
    ) -> Result<Vec<String>, Stuck> {
        let (number, line) = &block[index];
        let Some(command) = command_of(line) else { return Ok(Vec::new()) };
        self.session.run(command).map_err(|why| {
            if index > 0 {
                self.write(&block[..index], printed);
            }
            let (path, text) = (self.script.path.clone(), std::mem::take(&mut self.text));
            Stuck { path, text, line: *number, why }
        })
    }

    fn write(&mut self, lines: &[Line], printed: &[String]) {
        let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        write_block(&mut self.text, &lines, printed);
    }
}

/// The lines that differ, with a few lines around them.
pub fn difference(old: &str, new: &str) -> String {
    const AROUND: usize = 3;
    const SHOWN_MAX: usize = 60;
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The longest common subsequence in the textbook's form: scripts are short.
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
