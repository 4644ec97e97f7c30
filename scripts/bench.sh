#!/bin/sh
# Prints a table of measurements, one row for each durability and number of sessions.
# Each row is a run of its own, with a cluster of its own.
#
#   scripts/bench.sh PROGRAM "N..." "DURABILITY..." [OPTION...]
#
# PROGRAM is bench or floor; OPTIONs go to it.
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
