#!/usr/bin/env bash
# Plants the bugs of bugs/*.patch in a copy of the tree, one at a time, and demands that
# each is caught by what its header names. docs/bugs.md tells what they are.
#
#   scripts/bugs.sh [NAME...]        these, or all: each with its first catcher
#   scripts/bugs.sh --sample         as many as fit into SECONDS_MAX=120, others each time
#   scripts/bugs.sh --show NAME      what its catcher prints with the bug
#   scripts/bugs.sh --search NAME    a seed of the simulator that catches it: SEEDS=40000
#   scripts/bugs.sh --refresh [NAME...]   writes the patches anew, where lines around what
#                                    they change have changed or moved; builds nothing
#
# NAME is the name of a patch or a part of it. ALL_CATCHERS=1 takes every catcher that a
# header names; CATCHERS=model (or seed, script, schedule, test, fuzz) those of a kind.
#
# A catcher must pass in the copy without a bug, and must fail with it: a patch that does
# not apply or does not compile is not caught. The copy and what is built of it stay in
# target/bugs (BUGS_DIR), so that a bug costs the compilation of what it changes.
# Exit code 1: a bug was not caught. 2: called in a way that makes no sense.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

die() {
    echo "scripts/bugs.sh: $*" >&2
    exit 2
}

dir=${BUGS_DIR:-$PWD/target/bugs}
tree=$dir/tree
log=$dir/log
export CARGO_TARGET_DIR=$dir/build RUST_BACKTRACE=0
cargo=${CARGO:-cargo}
# Nothing in this profile is optimised but the dependencies: most catchers run for less
# time than it takes to compile what a patch changes.
profile=(--locked --quiet --profile mutants)
catcher_seconds_max=${CATCHER_SECONDS_MAX:-600}

# --- the copy ------------------------------------------------------------------------

# Makes the copy the same as the tree. A file that is the same already keeps its time, so
# that nothing is compiled again because of it.
copy_tree() {
    local name list=$dir/list
    mkdir -p "$tree"
    if git rev-parse --show-toplevel > /dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard > "$list"
    else
        # Not a checkout, but the files of one.
        find . \( -name target -o -name logs \) -prune -o -type f -printf '%P\0' > "$list"
    fi
    local -A wanted=()
    while IFS= read -r -d '' name; do
        [ -f "$name" ] || continue
        wanted[$name]=1
        if ! cmp -s "$name" "$tree/$name"; then
            mkdir -p "$(dirname "$tree/$name")"
            cp -f "$name" "$tree/$name"
            touch "$tree/$name"
        fi
    done < "$list"
    while IFS= read -r -d '' name; do
        name=${name#./}
        [ -n "${wanted[$name]:-}" ] || rm -f "$tree/$name"
    done < <(cd "$tree" && find . -type f -print0)
}

# Applies a patch to the copy, or takes it back (-R). git must not take the copy for a
# folder of the repository around it, where it would leave out all paths.
change_copy() {
    (cd "$tree" && GIT_CEILING_DIRECTORIES=$dir git apply "$@") >> "$log" 2>&1
}

# --- catchers ------------------------------------------------------------------------

# What catches a bug is one line of its header: a kind and its words.
#
#   script FOLDER/NAME               the golden script prints something else
#   seed SEED [OPTION...]            the run of the simulator fails
#   model TEST                       the model check finds a law broken
#   schedule PACKAGE TEST            the threads go wrong in some order
#   fuzz TEST                        some input that is drawn breaks a role
#   test PACKAGE TARGET TEST         any other test; TARGET is lib or a file in tests/
#
# Behind it may stand variables for its environment: NAME=value.
catchers_of() {
    sed -n '/^--- /q; s/^Caught-by: //p' "$1"
}

# Splits a catcher into what is to be run: the array `test_of` for cargo, `test_name`,
# `variables`; or, for a run of the simulator, `run`.
read_catcher() {
    local words=() word
    variables=() run=() test_of=() test_name=
    for word in $1; do
        case $word in
        [A-Z]*=*) variables+=("$word") ;;
        *) words+=("$word") ;;
        esac
    done
    set -- "${words[@]}"
    local kind=$1
    shift
    case $kind in
    script)
        test_of=(-p stage --test scripts) test_name=every_script_prints_what_it_did
        variables+=("SCRIPT=$1")
        ;;
    seed)
        test_of=(-p simulator --bin simulate)
        run=("$CARGO_TARGET_DIR/mutants/simulate" --seed "$@")
        ;;
    model)
        test_of=(-p multipaxos --test model_check)
        test_name=no_law_is_broken_where_a_planted_bug_would_break_it
        variables+=("BUG=$1")
        ;;
    schedule) test_of=(-p "$1" --lib) test_name=$2 ;;
    fuzz) test_of=(-p multipaxos --test fuzz) test_name=$1 ;;
    test)
        case $2 in
        lib) test_of=(-p "$1" --lib) ;;
        *) test_of=(-p "$1" --test "$2") ;;
        esac
        test_name=$3
        ;;
    *) die "no such catcher: $kind" ;;
    esac
}

in_copy() {
    (cd "$tree" && exec env "$@")
}

# Builds what the catcher needs. Fails if it does not compile.
build_catcher() {
    if [ ${#run[@]} -gt 0 ]; then
        in_copy "$cargo" build "${profile[@]}" "${test_of[@]}" > "$log" 2>&1
    else
        in_copy "$cargo" test "${profile[@]}" "${test_of[@]}" --no-run > "$log" 2>&1
    fi
}

# Runs the catcher. Says in `verdict` whether it passes, fails, or neither.
run_catcher() {
    local command code
    if [ ${#run[@]} -gt 0 ]; then
        command=("${run[@]}")
    else
        command=("$cargo" test "${profile[@]}" "${test_of[@]}" -- --exact --include-ignored "$test_name")
    fi
    in_copy "${variables[@]}" timeout "$catcher_seconds_max" "${command[@]}" > "$log" 2>&1
    code=$?
    verdict="ends with code $code"
    if [ $code -eq 124 ]; then
        verdict="does not end in $catcher_seconds_max s"
    elif [ ${#run[@]} -gt 0 ]; then
        if [ $code -eq 0 ]; then
            verdict=passes
        elif [ $code -eq 1 ] && grep -q '^seed [0-9].* FAIL' "$log"; then
            verdict=fails
        fi
    elif [ $code -eq 0 ]; then
        verdict="runs no test"
        grep -q '^test result: ok\. [1-9]' "$log" && verdict=passes
    elif grep -q '^test result: FAILED' "$log"; then
        verdict=fails
    fi
}

# --- bugs ----------------------------------------------------------------------------

name_of() {
    basename "$1" .patch
}

# The catchers of a patch that are to be run, a line each.
wanted_catchers() {
    local all
    all=$(catchers_of "$1")
    if [ -n "${CATCHERS:-}" ]; then
        all=$(printf '%s\n' "$all" | grep "^$CATCHERS ") || true
    fi
    if [ -n "${ALL_CATCHERS:-}" ]; then
        printf '%s\n' "$all"
    else
        printf '%s\n' "$all" | head -n 1
    fi
}

# The patches that are named, or all.
chosen_patches() {
    local name found
    [ $# -gt 0 ] || set -- ''
    for name; do
        name=${name#bugs/}
        found=$(compgen -G "bugs/*${name%.patch}*.patch") || die "no bug is called $name: see bugs/"
        # A whole name is meant alone, also where another begins with it.
        [ -f "bugs/${name%.patch}.patch" ] && found=bugs/${name%.patch}.patch
        printf '%s\n' "$found"
    done
}

seconds_since() {
    local ms=$((${EPOCHREALTIME/[.,]/} / 1000 - $1 / 1000))
    printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

microseconds() {
    printf '%s' "${EPOCHREALTIME/[.,]/}"
}

tell() {
    printf '%-7s %-40s %s\n' "$1" "$2" "$3"
}

show_log() {
    tail -n "${1:-15}" "$log" | sed 's/^/        /'
}

# Whether a catcher passes in the copy as it is; asked once for each.
declare -A passes=()
is_clean() {
    local catcher=$1
    if [ -z "${passes[$catcher]:-}" ]; then
        read_catcher "$catcher"
        verdict="does not compile"
        build_catcher && run_catcher
        passes[$catcher]=$verdict
    fi
    verdict=${passes[$catcher]}
    [ "$verdict" = passes ]
}

# Plants one bug and runs its catchers. Fails if one does not notice.
try_bug() {
    local patch=$1 name catcher began missed=0
    name=$(name_of "$patch")
    if ! change_copy "$PWD/$patch"; then
        tell MISSED "$name" 'does not apply'
        show_log
        return 1
    fi
    while IFS= read -r catcher; do
        [ -n "$catcher" ] || continue
        began=$(microseconds)
        read_catcher "$catcher"
        verdict="does not compile"
        build_catcher && run_catcher
        if [ "$verdict" = fails ]; then
            tell caught "$name" "$catcher  $(seconds_since "$began") s"
        else
            tell MISSED "$name" "$catcher $verdict  $(seconds_since "$began") s"
            show_log
            missed=1
        fi
    done < <(wanted_catchers "$patch")
    change_copy -R "$PWD/$patch" || die "cannot take $name back"
    return $missed
}

# Runs the catchers of these patches without a bug.
check_clean() {
    local patch catcher began wrong=0
    local -A told=()
    began=$(microseconds)
    for patch; do
        while IFS= read -r catcher; do
            [ -n "$catcher" ] || continue
            is_clean "$catcher" && continue
            [ -n "${told[$catcher]:-}" ] && continue
            told[$catcher]=1 wrong=1
            tell WRONG 'without a bug' "$catcher $verdict"
            show_log
            # What does not compile fails for all of them.
            [ "$verdict" != "does not compile" ] || return 1
        done < <(wanted_catchers "$patch")
    done
    [ $wrong -eq 0 ] || return 1
    tell passed 'without a bug' "${#passes[@]} catchers  $(seconds_since "$began") s"
}

# --- what is asked for ---------------------------------------------------------------

run_bugs() {
    local patches missed=0 began patch
    began=$(microseconds)
    mapfile -t patches < <(chosen_patches "$@" | sort -u)
    [ -n "${patches[*]:-}" ] || exit 2
    check_clean "${patches[@]}" || exit 1
    for patch in "${patches[@]}"; do
        try_bug "$patch" || missed=$((missed + 1))
    done
    echo "${#patches[@]} bugs, $missed not caught, $(seconds_since "$began") s"
    [ $missed -eq 0 ]
}

# Begins at a place that the commit and the day decide, and goes on while there is time.
# What compiling the copy takes for the first time does not count.
run_sample() {
    local patches missed=0 tried=0 began patch from limit=${SECONDS_MAX:-120}
    mapfile -t patches < <(chosen_patches | sort -u)
    from=$(printf '%s %s' "$(git rev-parse HEAD 2> /dev/null)" "$(date +%F)" | cksum | cut -d ' ' -f 1)
    from=$((from % ${#patches[@]}))
    is_clean "$(wanted_catchers "${patches[$from]}")"
    began=$SECONDS
    patches=("${patches[@]:$from}" "${patches[@]:0:$from}")
    for patch in "${patches[@]}"; do
        [ $((SECONDS - began)) -lt "$limit" ] || break
        tried=$((tried + 1))
        if ! is_clean "$(wanted_catchers "$patch")"; then
            tell WRONG 'without a bug' "$(wanted_catchers "$patch") $verdict"
            show_log
            missed=$((missed + 1))
        elif ! try_bug "$patch"; then
            missed=$((missed + 1))
        fi
    done
    echo "$tried of ${#patches[@]} bugs from $(name_of "${patches[0]}") on, $missed not caught, $((SECONDS - began)) s"
    [ $missed -eq 0 ]
}

one_patch() {
    local found
    [ $# -eq 1 ] || die "which bug?"
    found=$(chosen_patches "$1") || exit 2
    [ "$(printf '%s\n' "$found" | wc -l)" -eq 1 ] || die "$1: which of these?" $'\n'"$found"
    patch=$found
}

show_bug() {
    local patch catcher
    one_patch "$@"
    catcher=$(wanted_catchers "$patch" | head -n 1)
    [ -n "$catcher" ] || die "$(name_of "$patch") has no such catcher"
    change_copy "$PWD/$patch" || die "$(name_of "$patch") does not apply"
    read_catcher "$catcher"
    verdict="does not compile"
    build_catcher && run_catcher
    cat "$log"
    change_copy -R "$PWD/$patch"
    [ "$verdict" = fails ]
}

search_seed() {
    local patch
    one_patch "$@"
    change_copy "$PWD/$patch" || die "$(name_of "$patch") does not apply"
    read_catcher "seed 1"
    if build_catcher; then
        in_copy "${run[0]}" --seeds "${SEEDS:-40000}" 2>> "$log" | grep --line-buffered -m 1 ' FAIL' \
            || echo "not caught by ${SEEDS:-40000} seeds"
    else
        show_log
    fi
    change_copy -R "$PWD/$patch"
}

# Applies each patch with less context, if it must be, and writes what it did as the patch.
refresh_patches() {
    local patch file files stale=0
    while IFS= read -r patch; do
        files=$(sed -n 's|^+++ b/||p' "$patch")
        if ! change_copy "$PWD/$patch" && ! change_copy -C1 "$PWD/$patch"; then
            tell STALE "$(name_of "$patch")" 'make it by hand: the lines that it changes have changed'
            stale=1
            continue
        fi
        {
            sed -n '/^--- a\//q; p' "$patch"
            for file in $files; do
                diff -u --label "a/$file" --label "b/$file" "$file" "$tree/$file"
            done
        } > "$dir/patch"
        cmp -s "$dir/patch" "$patch" || { tell written "$(name_of "$patch")" ''; cp "$dir/patch" "$patch"; }
        for file in $files; do cp "$file" "$tree/$file"; done
    done < <(chosen_patches "$@" | sort -u)
    return $stale
}

main() {
    mkdir -p "$dir"
    # One run at a time: another one would change the copy.
    exec 9> "$dir/lock"
    if command -v flock > /dev/null && ! flock -n 9; then
        echo "scripts/bugs.sh: waits for another run, which uses $dir" >&2
        flock 9
    fi
    : > "$log"
    copy_tree
    case ${1:-} in
    --sample) run_sample ;;
    --show) shift && show_bug "$@" ;;
    --search) shift && search_seed "$@" ;;
    --refresh) shift && refresh_patches "$@" ;;
    -*) die "no such option: $1" ;;
    *) run_bugs "$@" ;;
    esac
}

# One line, so that the shell has read everything before a long run begins.
main "$@"; exit
