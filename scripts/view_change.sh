#!/usr/bin/env bash
# Measures how long a view change takes. Each run starts three replicas on this host and
# a client that sends without pause, kills the primary with kill -9, and measures the
# time until the next line is complete. Prints a line for each run, and the median.
#
#   scripts/view_change.sh BIN_DIR [RUNS [OPTIONS of the replicas]]
set -u

bin=$1
runs=${2:-10}
options=("${@:3}")
cluster=(--config_path configs/three.txt)
dir=$(mktemp -d)
pids=()
stop() {
    # Waits until the replicas have ended, so that their ports are free. The redirection
    # keeps bash from reporting each.
    { kill -9 "${pids[@]}"; wait "${pids[@]}"; } 2>/dev/null
    pids=()
}
trap 'stop; rm -rf "$dir" "$dir.ms"' EXIT
trap 'exit 130' INT TERM

for run in $(seq "$runs"); do
    rm -rf "${dir:?}"/*
    for id in 0 1 2; do
        "$bin/replica" "${cluster[@]}" --log_dir "$dir" --replica_id $id --rand_seed "$run$id" \
            "${options[@]}" </dev/null 2>"$dir/replica$id.err" &
        pids+=($!)
    done
    tenths=100
    until [ "$(cat "$dir"/*.err | grep -c 'warm-up complete')" = 3 ]; do
        if [ $((tenths -= 1)) = 0 ]; then
            tail -n 2 "$dir"/*.err >&2
            exit 1
        fi
        sleep 0.1
    done
    { yes hello | timeout 3 "$bin/client" "${cluster[@]}" 2>/dev/null |
        while read -r _; do echo "${EPOCHREALTIME/./}"; done; } >"$dir/times" &
    client=$!
    sleep "1.$((RANDOM % 10))"
    killed=${EPOCHREALTIME/./}
    kill -9 "${pids[0]}"
    wait "$client" "${pids[0]}" 2>/dev/null
    # The longest gap between two lines is the view change. Lines in flight may still
    # complete before it.
    awk -v killed="$killed" 'NR > 1 && $1 - last > gap { gap = $1 - last; end = $1 }
        { last = $1 } END { printf "%d ms\n", (end - killed) / 1000 }' "$dir/times" |
        tee -a "$dir.ms"
    stop
done
sort -n "$dir.ms" | awk '{ ms[NR] = $1 } END {
    printf "median %d ms of %d runs, at most %d ms\n",
        (ms[int((NR + 1) / 2)] + ms[int(NR / 2) + 1]) / 2, NR, ms[NR] }'
