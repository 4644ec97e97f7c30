#!/bin/sh
# A table of measurements: scripts/bench.sh <bench or floor> "<Ns>" "<durabilities>"
# [its options]. Every row is a cluster of its own, judged afterwards.
set -eu
program=$1 ns=$2 durabilities=$3
shift 3
shown=
for durability in $durabilities; do
    for n in $ns; do
        table=$("$program" --outstanding "$n" --durability "$durability" "$@")
        if [ -z "$shown" ]; then
            printf '%s\n' "$table"
            shown=yes
        else
            printf '%s\n' "$table" | tail -n 1
        fi
    done
done
