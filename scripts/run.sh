#!/bin/sh
# Starts a cluster of three replicas on this host and a client on it, in the
# foreground: the terminal (or the pipe) is the client's. Ends everything when the
# client ends or on Ctrl-C; the exit code is the client's.
#
#   scripts/run.sh BIN_DIR LOG_DIR [client options]
#
# Chat logs go to LOG_DIR/learner<id>.txt, what the replicas say to
# LOG_DIR/replica<id>.err. Replicas keep no durable state yet: each run is a new chat,
# and they keep the logs of the one before as learner<id>.txt.1, .2, ….
set -u

bin=$1
log_dir=$2
shift 2

f=1
config=configs/three.txt
wait_s_max=10
pids=

running() { kill -0 "$1" 2>/dev/null; }

# Ends all replicas: asked first, forced after five seconds.
stop() {
    trap '' INT TERM HUP
    for pid in $pids; do kill -TERM "$pid" 2>/dev/null; done
    tenths=50
    for pid in $pids; do
        while running "$pid" && [ "$tenths" -gt 0 ]; do
            sleep 0.1
            tenths=$((tenths - 1))
        done
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    pids=
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

mkdir -p "$log_dir" || exit 64

for id in 0 1 2; do
    "$bin/replica" --f $f --config_path $config --log_dir "$log_dir" --replica_id $id \
        --die_with_parent </dev/null >/dev/null 2>"$log_dir/replica$id.err" &
    pids="$pids $!"
done

# Until every replica has warmed up. One that ends instead is shown. One that only
# takes long is left to it: the client says whom it cannot reach.
tenths=$((wait_s_max * 10))
while [ "$tenths" -gt 0 ]; do
    warm=0
    id=0
    for pid in $pids; do
        if ! running "$pid"; then
            echo "replica $id did not start:" >&2
            tail -n 3 "$log_dir/replica$id.err" >&2
            exit 1
        fi
        if grep -q 'warm-up complete' "$log_dir/replica$id.err"; then warm=$((warm + 1)); fi
        id=$((id + 1))
    done
    [ "$warm" -eq 3 ] && break
    sleep 0.1
    tenths=$((tenths - 1))
done

# Only for whoever types.
if [ -t 0 ] && [ -t 1 ]; then
    echo "three replicas run, their chat logs are $log_dir/learner<id>.txt; type lines, Ctrl-D ends" >&2
fi
"$bin/client" --f $f --config_path $config --die_with_parent "$@"
exit $?
