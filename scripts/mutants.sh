#!/bin/sh
# Mutation testing: changes the code in one place at a time, and runs the tests to see
# whether one of them fails.
#
#   scripts/mutants.sh GROUP SHARD [OPTION...]
#
# GROUP is slots, paxos, client, storage, durable, datagrams, round_trip, seldom, table or
# codec: some files, and the tests that should notice a change there. SHARD is a part of the
# mutants, such as 0/8. OPTIONs go to cargo-mutants. MUTANTS_LONG=1 also runs the tests of the
# group that take seconds, for the mutants that the other tests miss.
#
# The script works in a copy of the tree, MUTANTS_TREE, and keeps it, so that a mutant
# builds only what it changes. In the copy the library has only the modules that the group
# needs, and the tests of tests/ are modules of it. So only one test binary is built.
set -eu

group=$1
shard=$2
shift 2
cd "$(dirname "$0")/.."
tree=${MUTANTS_TREE:-target/mutants/tree}
long=${MUTANTS_LONG:-}

base='types aside quorum values message slot_set runs requesters retransmitter long_line chat
    marker client paxos'
all="$base seed storage net"
skip=
skip() { [ -n "$long" ] || for name; do skip="$skip --skip $name"; done; }

case $group in
slots)
    files='-f src/quorum.rs -f src/runs.rs -f src/slot_set.rs'
    modules=$base
    tests='paxos:: quorum:: runs:: slot_set:: roles_test::'
    mounted='roles'
    skip a_full_acceptor_takes_nothing_new two_rivals_that_campaign_at_once
    ;;
paxos)
    files='-f src/paxos/** -f src/chat/** -f src/requesters.rs -f src/retransmitter.rs'
    modules=$base
    tests='paxos:: chat:: requesters:: retransmitter:: roles_test::'
    mounted='roles'
    skip a_full_acceptor_takes_nothing_new
    ;;
client)
    files='-f src/client/** -f src/long_line.rs'
    modules=$base
    tests='client:: long_line:: roles_test::client'
    mounted='roles'
    ;;
storage)
    files='-f src/storage/**'
    modules=$all
    tests='storage:: storage_test::'
    mounted='storage'
    skip torn_at_every_byte left_and_stays_bounded a_power_cut_at_every_call \
        killed_cut_off_and_failed a_flipped_bit
    ;;
durable | datagrams | round_trip | seldom | table)
    # This group is a package, which is built and tested whole.
    files="-f crates/$group/src/**"
    modules=
    tests=
    mounted=
    ;;
codec)
    files='-f src/types.rs -f src/values/** -f src/message/**
        -f src/net/frame/** -f src/net/pack.rs'
    modules='types aside quorum values message slot_set runs requesters seed net'
    tests='types:: values:: message:: net::frame net::pack wire_test::'
    mounted='wire'
    skip a_flood_from bounded_in_bytes_and_number long_messages_of_many_senders \
        no_bytes_whatever on_real_sockets
    ;;
*)
    echo "scripts/mutants.sh: no group $group: slots, paxos, client, storage, durable, datagrams, round_trip, seldom, table or codec" >&2
    exit 2
    ;;
esac
if [ -n "$long" ]; then
    [ -z "$modules" ] || modules=$all mounted='roles storage wire'
    export CARGO_PROFILE_MUTANTS_OPT_LEVEL=1
fi

mkdir -p "$tree"
rm -rf "$tree/src" "$tree/tests" "$tree/crates"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"
[ -z "$modules" ] || {
    for module in $modules; do
        [ -e "$tree/src/$module.rs" ] || [ -e "$tree/src/$module/mod.rs" ] || continue
        echo "pub mod $module;"
    done
    # The tests of the roles keep their records in memory.
    case $modules in *storage* | *net*) ;; *) echo 'pub mod storage { pub mod memory; pub mod upkeep; }' ;; esac
    echo '#[cfg(test)] extern crate self as multipaxos;'
    for name in $mounted; do
        file=tests/parts/$name.rs
        [ -f "$file" ] || file=tests/$name/main.rs
        echo "#[cfg(test)] #[path = \"../$file\"] mod ${name}_test;"
    done
    # The tests of the roles find `common` at the root of their crate, which is the library
    # here.
    case $mounted in *roles*)
        echo '#[cfg(test)] #[path = "../tests/roles/common.rs"] mod common;'
        sed -i '/^mod common;$/d' "$tree/tests/roles/main.rs"
        ;;
    esac
} > "$tree/src/lib.rs"

unset CARGO_TARGET_DIR
export RUST_BACKTRACE=0
out=${MUTANTS_OUT:-target/mutants}/$group-$(echo "$shard" | tr / -)
mkdir -p "$out"
# No word of these lists has a space, and the shell must not expand their patterns.
set -f
# shellcheck disable=SC2086
exec cargo mutants --dir "$tree" --in-place --shard "$shard" --output "$out" \
    --timeout "${MUTANTS_TIMEOUT:-20}" --build-timeout 180 --colors never \
    $files "$@" -- -- $tests $skip
