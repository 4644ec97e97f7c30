#!/bin/sh
# A table of measurements: scripts/bench.sh <folder of the programs> "<Ns>" "<durabilities>"
# [options of bench]. Every row is a cluster of its own, judged afterwards.
set -eu
bin=$1 ns=$2 durabilities=$3
shift 3
shown=
for durability in $durabilities; do
    for n in $ns; do
        table=$("$bin/bench" --outstanding "$n" --durability "$durability" "$@")
        if [ -z "$shown" ]; then
            printf '%s\n' "$table"
            shown=yes
        else
            printf '%s\n' "$table" | tail -n 1
        fi
    done
done
