//! A small Paxos cluster at a prompt, moved step by step.

use argh::{ArgsInfo, FromArgs};
use command_line::{EXIT_FAILED, parse_args, say, usage_error};
use report::{Axis, Heading};
use stage::file::Script;
use stage::play::session;
use std::fs;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::exit;

/// Move a small Paxos cluster step by step, and read what happens. The roles are those of
/// the real replicas; nothing arrives and no time passes unless a command says so.
///
/// At a terminal it asks for commands ("help" lists them). With FILEs, or a script on
/// stdin, it prints each script with what its commands print now, and ends at the first
/// command that cannot be carried out, with exit code 1.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    example = "At a prompt:\n  {command_name}",
    example = "A golden script, with what it prints now:\n  \
        {command_name} tests/scripts/normal/view_change",
    example = "The same to look at, in a browser:\n  \
        {command_name} --report view_change.html tests/scripts/normal/view_change",
    example = "A script on stdin:\n  \
        printf 'cluster\\nrequest \"hi\"\\nsettle\\nwhy 0\\n' | {command_name}",
    example = "A script of your own is written again:\n  \
        {command_name} --update tests/scripts/mine/my_script",
    error_code(0, "every command was carried out, and no invariant was broken"),
    error_code(1, "a command could not be carried out, or an invariant was broken"),
    error_code(64, "bad usage")
)]
struct Args {
    /// the scripts to run, in this order (default: stdin)
    #[argh(positional, arg_name = "FILE")]
    files: Vec<PathBuf>,
    /// write a page for a browser that shows what happened in FILE (default: none)
    #[argh(option, arg_name = "PAGE")]
    report: Option<PathBuf>,
    /// write each FILE again, with what its commands print now, instead of printing it
    #[argh(switch)]
    update: bool,
}

fn main() {
    let Args { files, report, update } = parse_args("play", &[]);
    end_on_assertion();
    if let Some(page) = report {
        let [file] = files.as_slice() else {
            usage_error("--report: of which script? (play --report PAGE FILE)")
        };
        if update {
            usage_error("--report: cannot go with --update");
        }
        exit(if write_page(file, &page) { 0 } else { EXIT_FAILED })
    }
    if files.is_empty() && update {
        usage_error("--update: which file? (play --update FILE)");
    }
    let fine = match files.is_empty() {
        // Run every file, even if an earlier one failed.
        false => files.iter().filter(|file| !run_file(file, update)).count() == 0,
        true if io::stdin().is_terminal() => {
            let prompt = io::stdout().is_terminal();
            let input = BufReader::new(io::stdin());
            end_if_closed(session(input, &mut io::stdout(), &mut io::stderr(), prompt));
            true
        }
        true => run_stdin(),
    };
    exit(if fine { 0 } else { EXIT_FAILED })
}

/// From here on a broken assertion of a role ends the process, as it ends a real replica.
fn end_on_assertion() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        exit(EXIT_FAILED)
    }));
}

/// Ends the process if stdout is closed, because nobody reads it any more.
fn end_if_closed(printed: io::Result<()>) {
    match printed {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            say(format!("play: {error}"));
            exit(EXIT_FAILED)
        }
    }
}

/// Runs a script and writes the page of what happened. Returns whether every command was carried
/// out, no invariant was broken, and the page is written.
fn write_page(file: &Path, page: &Path) -> bool {
    let script = Script::read(file).unwrap_or_else(|why| usage_error(why));
    let (done, history) = script.play();
    let Some(history) = history else {
        match done {
            Err(stuck) => say(stuck),
            Ok(_) => say("play: --report: the script makes no cluster"),
        }
        return false;
    };
    let broken = match &done {
        Err(stuck) => Some(stuck.to_string()),
        Ok(text) => text.lines().find(|line| line.contains("VIOLATION")).map(str::to_owned),
    };
    let heading = Heading {
        title: script.name(),
        is_good: broken.is_none(),
        verdict: broken.unwrap_or_else(|| "No invariant was broken.".into()),
        command: format!("play {}", file.display()),
        is_cut: false,
        axis: Axis::Steps,
    };
    if let Err(error) = fs::write(page, report::page(&heading, &history)) {
        say(format!("play: --report {}: {error}", page.display()));
        return false;
    }
    say(format!("page: {}", page.display()));
    if !heading.is_good {
        say(&heading.verdict);
    }
    heading.is_good
}

fn run_file(file: &Path, update: bool) -> bool {
    let script = Script::read(file).unwrap_or_else(|why| usage_error(why));
    if !update {
        return run(&script);
    }
    match script.run() {
        Err(stuck) => {
            say(format!("{stuck} ({} stays as it is)", file.display()));
            false
        }
        Ok(text) if text == script.text => {
            say(format!("{}: unchanged", file.display()));
            true
        }
        Ok(text) => {
            if let Err(error) = fs::write(file, text) {
                say(format!("{}: {error}", file.display()));
                return false;
            }
            say(format!("{}: written", file.display()));
            true
        }
    }
}

fn run_stdin() -> bool {
    let mut text = String::new();
    if let Err(error) = io::stdin().read_to_string(&mut text) {
        usage_error(format!("stdin: {error}"));
    }
    run(&Script::parse("stdin".into(), text))
}

/// Runs a script and prints it. Returns whether every command was carried out and no invariant
/// was broken.
fn run(script: &Script) -> bool {
    let (text, stuck) = match script.run() {
        Ok(text) => (text, None),
        Err(stuck) => (stuck.text.clone(), Some(stuck)),
    };
    end_if_closed(io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()));
    let fine = stuck.is_none() && !text.contains("VIOLATION");
    stuck.iter().for_each(say);
    fine
}
