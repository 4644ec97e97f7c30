//! A small Paxos cluster at a prompt, moved step by step.

use argh::FromArgs;
use multipaxos::config::{EXIT_FAILED, Parsed, parse, say, usage_error};
use stage::file::Script;
use stage::play::session;
use std::ffi::OsString;
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
#[derive(FromArgs)]
#[argh(
    example = "play",
    example = "play tests/scripts/normal/view_change",
    example = "printf 'cluster\\nrequest \"hi\"\\nsettle\\nwhy 0\\n' | play",
    example = "play --update tests/scripts/mine/my_script"
)]
struct Args {
    /// write each FILE again, with what its commands print now, instead of printing it
    #[argh(switch)]
    update: bool,
}

fn main() {
    let (files, args) = std::env::args_os().skip(1).partition::<Vec<_>, _>(is_file);
    let args: Args = match parse("play", &["update"], args) {
        Parsed::Run(args) => args,
        Parsed::Print(text) => {
            let _ = writeln!(io::stdout(), "{text}");
            exit(0)
        }
        Parsed::Refuse(why) => usage_error(why),
    };
    end_on_assertion();
    let files: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
    if files.is_empty() && args.update {
        usage_error("--update: which file? (play --update FILE)");
    }
    let fine = match files.is_empty() {
        // Each of them is run, whatever came of those before.
        false => files.iter().filter(|file| !run_file(file, args.update)).count() == 0,
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

/// What is no option is a file.
fn is_file(word: &OsString) -> bool {
    !word.as_encoded_bytes().starts_with(b"-")
}

/// A role that asserts something which is not so ends the process, as it would end a
/// replica.
fn end_on_assertion() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        exit(EXIT_FAILED)
    }));
}

/// Whoever has closed stdout wants no more.
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

/// Prints what the script does. Says whether all of it could be carried out and no
/// invariant was broken.
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
