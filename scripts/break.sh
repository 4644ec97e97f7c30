#!/usr/bin/env bash
# Shows how a mistake in the code breaks Paxos: the mistake as a diff, then the shortest
# execution in which two values are chosen, or in which a log or an answer is wrong.
#
#   scripts/break.sh          lists the mistakes, which are the patches in bugs/
#   scripts/break.sh NAME     one of them
#
# The model check (tests/model_check.rs) finds the execution: it goes through all states of
# a small cluster, nearest first. What it cannot find, since a bug lies outside the model,
# a golden script or a seed of the simulator shows. scripts/bugs.sh plants the bug, in a
# copy of the tree; the tree itself stays as it is.
# Exit code 1: nothing was found. 64: no such bug.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

width=92

# --- what a patch says ---------------------------------------------------------------

# The name without its number.
slug_of() {
    local name=${1##*/}
    name=${name%.patch}
    printf '%s' "${name#*-}"
}

# What stands above the diff.
header_of() {
    sed '/^--- /,$d' "$1"
}

title_of() {
    head -n 1 "$1"
}

lines_of() {
    header_of "$2" | sed -n "s/^$1: //p"
}

# The part of the code that a patch changes.
group_of() {
    case $(sed -n 's,^--- a/,,p' "$1") in
    *storage/* | crates/durable/*) echo storage ;;
    src/runtime/* | src/net/* | crates/datagrams/*) echo threads ;;
    *) echo protocol ;;
    esac
}

# What is wrong, in paragraphs.
text_of() {
    local text
    text=$(header_of "$1" | sed -e 1d -e '/^Rule: /d' -e '/^Caught-by: /d')
    printf '%s\n' "$text" | sed '/./,$!d'
}

has_model() {
    lines_of Caught-by "$1" | grep -q '^model '
}

# What shows a bug that the model does not: the first catcher.
shown_by() {
    lines_of Caught-by "$1" | head -n 1
}

# Breaks long lines, and sets what follows under the first word.
wrap() {
    awk -v width="$width" '
        {
            match($0, /^ *([0-9]+\. )?/)
            indent = sprintf("%" RLENGTH "s", "")
            line = $0
            while (length(line) > width) {
                at = width
                while (at > RLENGTH + 1 && substr(line, at, 1) != " ") at--
                if (at <= length(indent) + 1) break
                print substr(line, 1, at - 1)
                line = indent substr(line, at + 1)
            }
            print line
        }'
}

# --- the list ------------------------------------------------------------------------

# Patches of one group: those that the model tells (yes), those that it does not (no), or
# all of them (any).
list_group() {
    local group=$1 by_model=$2 heading=$3 patch
    printf '\n%s\n' "$heading"
    for patch in bugs/*.patch; do
        [ "$(group_of "$patch")" = "$group" ] || continue
        if has_model "$patch"; then
            [ "$by_model" != no ] || continue
            printf '  %-36s %s\n' "$(slug_of "$patch")" "$(title_of "$patch")"
        else
            [ "$by_model" != yes ] || continue
            printf '  %-36s %s\n' "$(slug_of "$patch")" "$(title_of "$patch")"
            [ "$by_model" != no ] || printf '  %-36s   shown by %s\n' '' "$(shown_by "$patch")"
        fi
    done
}

list_bugs() {
    echo 'Mistakes that break a replicated log. make break BUG=name shows how.'
    list_group protocol yes 'The protocol (the model check tells the shortest execution):'
    list_group protocol no 'The protocol, outside the model:'
    list_group storage any 'Storage (a test shows it):'
    list_group threads any 'Threads (an order in which they run shows it):'
}

# --- one bug -------------------------------------------------------------------------

# The name that is nearest in spelling.
nearest() {
    for patch in bugs/*.patch; do
        slug_of "$patch"
        echo
    done | awk -v wrong="$1" '
        function least(a, b) { return a < b ? a : b }
        BEGIN { wrong = tolower(wrong); gsub("_", "-", wrong); sub("^[0-9]+-", "", wrong) }
        {
            n = length(wrong); m = length($0)
            for (j = 0; j <= m; j++) above[j] = j
            for (i = 1; i <= n; i++) {
                here[0] = i
                for (j = 1; j <= m; j++) {
                    differs = substr(wrong, i, 1) != substr($0, j, 1)
                    here[j] = least(above[j - 1] + differs, 1 + least(above[j], here[j - 1]))
                }
                for (j = 0; j <= m; j++) above[j] = here[j]
            }
            far = above[m]
            # Part of a name is meant for that name.
            if (index($0, wrong)) far = 0
            if (best == "" || far < least_far) { best = $0; least_far = far }
        }
        END { print best }'
}

find_patch() {
    local name=$1 patch
    name=${name#bugs/}
    name=${name%.patch}
    for patch in bugs/*.patch; do
        if [ "$(slug_of "$patch")" = "$name" ] || [ "$patch" = "bugs/$name.patch" ]; then
            printf '%s' "$patch"
            return
        fi
    done
    return 1
}

# What a failed test said, without what the test harness says around it.
message() {
    awk '
        /^note: run with `RUST_BACKTRACE/ { on = 0 }
        on { print }
        /^thread .* panicked at / { on = 1 }'
}

show_rule() {
    local rule=$1
    printf '\nThe rule that the code broke, from docs/protocol.md:\n\n'
    awk -v heading="### $rule " '
        index($0, heading) == 1 { print "  " substr($0, 5); print ""; on = 1; next }
        on && /^$/ { if (said) exit; next }
        on { said = 1; print "  " $0 }' docs/protocol.md
}

show_bug() {
    local patch=$1 slug output code rule
    slug=$(slug_of "$patch")
    printf '%s: %s\n\n' "$slug" "$(title_of "$patch")"
    text_of "$patch"
    printf '\nThe mistake (%s):\n\n' "$patch"
    sed -n '/^--- /,$p' "$patch" | sed -e '/^+++ /d' -e 's,^--- a/,,' -e 's/^/  /'
    echo
    if has_model "$patch"; then
        tell_execution "$patch" "$slug"
    else
        show_catcher "$patch" "$slug"
    fi
    code=$?
    while IFS= read -r rule; do
        [ -z "$rule" ] || show_rule "$rule"
    done < <(lines_of Rule "$patch")
    return $code
}

say_building() {
    echo '(compiling a copy of the code with this mistake; the first time takes some minutes)' >&2
}

tell_execution() {
    local patch=$1 slug=$2 output
    say_building
    if ! output=$(CATCHERS=model scripts/bugs.sh --show "${patch##*/}"); then
        printf '%s\n' "$output" | tail -n 15
        echo "the model check has not found what $slug breaks" >&2
        return 1
    fi
    echo 'The shortest execution that it breaks, in a cluster of three that has just started. Ballots'
    echo '0 and 3 belong to replica 0, ballots 1 and 4 to replica 1, and ballot 2 to replica 2.'
    echo
    printf '%s\n' "$output" | awk -v slug="$slug" '
        /^note: run with `RUST_BACKTRACE/ { on = 0 }
        on && /^$/ && ended { on = 0 }
        on { print }
        on && /^This breaks / { ended = 1 }
        index($0, slug ": found in ") == 1 { on = 1 }' | wrap
}

# A bug outside the model: shows what its first catcher prints, if that takes seconds.
show_catcher() {
    local patch=$1 slug=$2 catcher output
    catcher=$(shown_by "$patch")
    echo 'The model check cannot show this: it has no clients, membership, files or threads, and asks'
    echo 'only whether something wrong happens, not whether something good does not.'
    case $catcher in
    'script '*)
        echo 'A golden script shows it. Without the mistake:'
        echo
        echo "    make play FILE=tests/scripts/${catcher#script }"
        echo
        echo 'With it, this differs (+ is what the mistake prints):'
        ;;
    'seed '*)
        echo "This run of the simulator shows it (seed ${catcher#seed }); without the mistake it passes:"
        echo
        echo "    target/release/simulate --seed ${catcher#seed }"
        echo
        echo 'With it:'
        ;;
    *)
        echo "The test \`${catcher##* }\` fails with it. This plants the mistake and prints what the test says:"
        echo
        echo "    scripts/bugs.sh --show ${patch##*/}"
        return 0
        ;;
    esac
    echo
    say_building
    if ! output=$(scripts/bugs.sh --show "${patch##*/}"); then
        printf '%s\n' "$output" | tail -n 15
        echo "nothing shows $slug" >&2
        return 1
    fi
    case $catcher in
    'script '*) printf '%s\n' "$output" | message | sed '/^If this is meant: /d' ;;
    *) printf '%s\n' "$output" ;;
    esac
}

case $# in
0) list_bugs ;;
1)
    if ! patch=$(find_patch "$1"); then
        echo "no bug is called $1: did you mean $(nearest "$1")?" >&2
        exit 64
    fi
    show_bug "$patch"
    ;;
*)
    echo 'one bug at a time: scripts/break.sh [NAME]' >&2
    exit 64
    ;;
esac
