#!/usr/bin/env bash
# roff 1.1.1: an empty argument of a control line is left out, and the ones behind it move up.
#
# A good guess is that an empty string becomes "", as a manual page has to write it where one of the
# five arguments of TH is not given. In fact nothing is written for it. man counts arguments by what
# stands there: of a page without a date the source (a program's name and version) becomes the date.
# A single space as the argument is quoted, and keeps the place.
#
# Seen (roff 1.1.1): TH with "IT", "1", "", "it 2.0" gives `.TH IT 1  "it 2.0"`, three arguments; with
# " " it gives `.TH IT 1 " " "it 2.0"`. Fails if that changes.
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
roff = "=1.1.1"

[workspace]
TOML
cat > "$dir/src/main.rs" <<'RS'
fn main() {
    for date in ["", " "] {
        let page = roff::Roff::new().control("TH", ["IT", "1", date, "it 2.0"]).render();
        println!("{}", page.lines().find(|line| line.starts_with(".TH")).expect("a head"));
    }
}
RS
out=$(cd "$dir" && cargo run --quiet)
echo "$out"
[ "$out" = '.TH IT 1  "it 2.0"
.TH IT 1 " " "it 2.0"' ]
