#!/usr/bin/env bash
# rustyline 19.0.0 without its feature buffer-redux: what is typed ahead of the next line is lost.
#
# A good guess is that keys stay with the terminal until a line editor asks for them, as they do for
# a program that reads whole lines. In fact the editor reads as much as has come into a buffer of its
# own, and a new buffer is made for each line. So when two lines come in one read (typed while the
# program was busy, or sent by another program), the first is returned and the second is gone. With
# the feature buffer-redux, which is not one of the default features, the rest of the buffer is kept
# for the next line.
#
# Seen (rustyline 19.0.0, Linux 6.18, a pseudo-terminal): two lines in one write give "read one" and
# no "read two"; with buffer-redux both. Needs python3 for the pseudo-terminal. Fails if that changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[features]
keeps = ["rustyline/buffer-redux"]

[dependencies]
rustyline = { version = "=19.0.0", default-features = false }

[workspace]
TOML
cat > "$dir/src/main.rs" <<'RS'
fn main() {
    let mut editor = rustyline::DefaultEditor::new().expect("an editor");
    while let Ok(line) = editor.readline("> ") {
        println!("read {line}");
    }
}
RS
cat > "$dir/type.py" <<'PY'
import os, pty, select, sys, time

pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""


def see(enough, seconds):
    global seen
    end = time.monotonic() + seconds
    while not enough() and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                return


see(lambda: b"> " in seen, 10)
os.write(terminal, b"one\rtwo\r")
see(lambda: b"read two" in seen, 3)
os.write(terminal, b"\x04")
see(lambda: False, 1)
print(" ".join(word for word in ("one", "two") if b"read " + word.encode() in seen))
PY
cd "$dir"
cargo build --quiet
without=$(python3 type.py target/debug/probe)
cargo build --quiet --features keeps
with=$(python3 type.py target/debug/probe)
echo "without buffer-redux: $without"
echo "with buffer-redux: $with"
[ "$without" = "one" ]
[ "$with" = "one two" ]
