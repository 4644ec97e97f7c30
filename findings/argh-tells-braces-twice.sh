#!/usr/bin/env bash
# argh 0.1.19: in what ArgsInfo tells of an option, every brace of its description stands twice.
#
# A good guess is that `get_args_info` gives an option's doc comment as it is written. In fact the
# description is prepared for a format string first, where a brace is written twice, and
# `get_args_info` gives it in that form; the help that argh prints itself shows it once. A program
# that makes its own help, manual page or completions of `get_args_info` has to halve the braces, or
# to leave them out.
#
# Seen (argh 0.1.19): the comment has {"id": 1}; the help shows {"id": 1}, and ArgsInfo tells
# {{"id": 1}}. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[dependencies]
argh = "=0.1.19"

[workspace]
TOML
cat > "$dir/src/main.rs" <<'RS'
use argh::{ArgsInfo, FromArgs};

/// Takes requests.
#[derive(FromArgs, ArgsInfo)]
#[allow(dead_code)]
struct Options {
    /// each line is like {"id": 1}
    #[argh(switch)]
    json: bool,
}

fn main() {
    let help = Options::from_args(&["probe"], &["--help"]).err().expect("help").output;
    let shown = help.lines().find(|line| line.contains("each line")).expect("the option");
    println!("help: {}", shown.trim());
    let info = Options::get_args_info();
    let told = info.flags.iter().find(|flag| flag.long == "--json").expect("the option");
    println!("info: {}", told.description);
}
RS
out=$(cd "$dir" && cargo run --quiet)
echo "$out"
grep -q '^help: .*each line is like {"id": 1}$' <<< "$out"
grep -qx 'info: each line is like {{"id": 1}}' <<< "$out"
