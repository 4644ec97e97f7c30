#!/usr/bin/env bash
# Measures what a rolling restart costs. Starts three replicas on this host and clients that send
# without pause, and restarts each replica in turn by SIGTERM, the leader first. Prints how long
# lines took before that, and meanwhile: p50, p99, the longest; and how many did not complete.
#
#   scripts/rolling_restart.sh BIN_DIR [ROUNDS [CLIENTS [OPTIONS of the replicas]]]
set -u

bin=$1
rounds=${2:-2}
clients=${3:-4}
options=("${@:4}")
cluster=(--config_path configs/three.txt)
dir=$(mktemp -d)
declare -A pids
trap '{ kill -9 "${pids[@]}" "${feeds[@]}"; wait; } 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
feeds=()

start() {
    "$bin/replica" "${cluster[@]}" --log_dir "$dir" --replica_id "$1" "${options[@]}" \
        </dev/null 2>>"$dir/replica$1.err" &
    pids[$1]=$!
}

# Waits until replica $1 has said that its warm-up is complete $2 times.
warm() {
    for _ in $(seq 200); do
        [ "$(grep -c 'warm-up complete' "$dir/replica$1.err")" -ge "$2" ] && return
        sleep 0.05
    done
    tail -n 3 "$dir"/*.err >&2
    exit 1
}

for id in 0 1 2; do start $id; done
for id in 0 1 2; do warm $id 1; done
for client in $(seq "$clients"); do
    # `yes` ends when the client has been told to, and then the client ends well.
    { timeout -s TERM "$((8 + 6 * rounds))" yes hello |
        "$bin/client" "${cluster[@]}" --client_id "$client" --timeout 30 2>>"$dir/clients.err" |
        while read -r _; do echo "${EPOCHREALTIME/./}"; done >"$dir/times$client"
        [ "${PIPESTATUS[1]}" = 0 ] || echo "client $client" >>"$dir/failed"; } &
    feeds+=($!)
done
sleep 5
began=${EPOCHREALTIME/./}
for round in $(seq "$rounds"); do
    for id in 0 1 2; do
        kill -TERM "${pids[$id]}"
        wait "${pids[$id]}" 2>/dev/null || echo "replica $id: exit code $?" >>"$dir/failed"
        start $id
        warm $id $((round + 1))
        sleep 0.5
    done
done
ended=${EPOCHREALTIME/./}
wait "${feeds[@]}"
for client in $(seq "$clients"); do
    awk -v began="$began" -v ended="$ended" 'NR > 1 && $1 < ended {
        print ($1 < began ? "before" : "meanwhile"), $1 - last } { last = $1 }' "$dir/times$client"
done | sort -k1,1 -k2,2n | awk '
    function say() { if (count) printf "%-9s %7d lines  p50 %6d us  p99 %6d us  longest %7d us\n",
        when, count, us[int(count / 2) + 1], us[int(count * 0.99) + 1], us[count] }
    $1 != when { say(); when = $1; count = 0 }
    { us[++count] = $2 }
    END { say() }'
echo "$rounds rounds of three restarts in $(((ended - began) / 1000)) ms; handed over" \
    "$(cat "$dir"/replica*.err | grep -c 'leads now (ballot') times;" \
    "a leader was missed $(cat "$dir"/replica*.err | grep -c 'the leader, has been silent') times;" \
    "failed: $(cat "$dir/failed" 2>/dev/null | tr '\n' ' ' | grep . || echo none)"
