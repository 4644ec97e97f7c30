#!/bin/sh
# Starts three replicas and a client on this host. The client has the terminal, or the
# pipe. The replicas end when the client ends, or on Ctrl-C. The exit code is the
# client's.
#
#   scripts/run.sh [--fresh] BIN_DIR LOG_DIR [CLIENT OPTION]...
#
# LOG_DIR gets all files: chat logs (learner<id>.txt), data directories (replica<id>/),
# the replicas' stderr (replica<id>.err), the ports of this run (cluster.txt). The next
# run there goes on with the same chat, because the replicas find their state. With
# --fresh the folder is first renamed to LOG_DIR.1, .2, ….
#
# The ports are those of configs/three.txt, or three others if one of those is in use.
# Two runs never share a port or a folder:
#   - a run locks run.lock in LOG_DIR for as long as it uses the folder;
#   - a run locks /tmp from the time when it chooses ports until its replicas have them.
set -u

fresh=
if [ "${1-}" = --fresh ]; then
    fresh=yes
    shift
fi
bin=$1
log_dir=${2%/}
shift 2

own=configs/three.txt
config=$log_dir/cluster.txt
warm_up_s_max=10
pids=

say() { printf '%s\n' "$*" >&2; }

# The make command ($1) for a folder ($2).
make_command() {
    if [ "$2" = logs/run ]; then echo "make $1"; else echo "make $1 LOG_DIR=$2"; fi
}

count() { if [ "$1" -eq 1 ]; then echo "1 line"; else echo "$1 lines"; fi; }

running() { kill -0 "$1" 2>/dev/null; }

# Ends all replicas: asks them first, and kills them after five seconds.
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

# Takes the folder for this run. The lock is on descriptor 9, which the replicas
# inherit: it lasts as long as any of them.
take_folder() {
    mkdir -p "$log_dir" || exit 64
    if ! : 2>/dev/null >>"$log_dir/run.lock"; then
        say "$log_dir: cannot write"
        exit 64
    fi
    exec 9>>"$log_dir/run.lock"
    if ! flock -n 9; then
        say "$log_dir: a chat runs here already; join it with" \
            "'$bin/client --config_path $config'," \
            "or start another with '$(make_command run "$log_dir-2")'"
        exit 1
    fi
}

# How many lines the longest chat log has.
count_lines() {
    most=0
    for log in "$log_dir"/learner[0-2].txt; do
        [ -f "$log" ] || continue
        # A NOP is a slot without a line of the chat.
        lines=$(grep -cv '^[0-9]* - - NOP$' "$log")
        [ "$lines" -gt "$most" ] && most=$lines
    done
    echo "$most"
}

# Renames the folder, so that a new chat can begin.
put_aside() {
    number=1
    while [ -e "$log_dir.$number" ]; do number=$((number + 1)); done
    if ! mv "$log_dir" "$log_dir.$number"; then
        say "$log_dir: cannot rename it to $log_dir.$number"
        exit 1
    fi
    say "the old chat ($(count "$1")) is now in $log_dir.$number;" \
        "'$(make_command run "$log_dir.$number")' goes on with it"
}

# Whether none of these UDP ports is in use on this host, at any address.
are_free() {
    for port; do
        hex=$(printf '%04X' "$port")
        if cat /proc/net/udp /proc/net/udp6 2>/dev/null | grep -q "^ *[0-9]*: [0-9A-F]*:$hex "; then
            return 1
        fi
    done
}

# Sets the three ports: those of configs/three.txt, or the first three in a row that are
# free.
choose_ports() {
    # shellcheck disable=SC2046
    set -- $(awk '!/^#/ && NF == 2 { print $2 }' "$own")
    wanted="$*"
    while ! are_free "$@"; do
        next=$(($1 + 10))
        if [ "$next" -gt 32000 ]; then
            say "no three UDP ports in a row are free on this host"
            exit 1
        fi
        set -- "$next" $((next + 1)) $((next + 2))
    done
    ports="$*"
    [ "$ports" = "$wanted" ] || say "not all of the ports $wanted are free: this run takes $ports"
}

if ! command -v flock >/dev/null; then
    say "scripts/run.sh needs the program flock, which is part of util-linux"
    exit 1
fi
take_folder
lines=$(count_lines)
if [ -n "$fresh" ] && [ "$lines" -gt 0 ]; then
    put_aside "$lines"
    lines=0
    take_folder
fi
if [ "$lines" -eq 0 ]; then
    say "a new chat begins in $log_dir"
elif [ -d "$log_dir/replica0" ] || [ -d "$log_dir/replica1" ] || [ -d "$log_dir/replica2" ]; then
    say "the chat in $log_dir goes on ($(count "$lines") so far);" \
        "'$(make_command run-fresh "$log_dir")' begins a new one"
else
    say "a new chat begins in $log_dir, where no replica has its state any more;" \
        "they keep the old chat logs as learner<id>.txt.1, .2, …"
fi

exec 8</tmp
flock -w 30 8
choose_ports
{
    echo "# The three replicas of the last 'make run' in this folder."
    for port in $ports; do echo "127.0.0.1 $port"; done
} >"$config"
for id in 0 1 2; do
    "$bin/replica" --config_path "$config" --log_dir "$log_dir" --replica_id $id \
        --die_with_parent </dev/null >/dev/null 2>"$log_dir/replica$id.err" 8<&- &
    pids="$pids $!"
done

# Waits until every replica has warmed up. If a replica ends instead, shows its last lines.
# After warm_up_s_max seconds the client starts anyway: it says if no replica answers.
tenths=$((warm_up_s_max * 10))
while [ "$tenths" -gt 0 ]; do
    warm=0
    id=0
    for pid in $pids; do
        if ! running "$pid"; then
            say "replica $id did not start:"
            tail -n 3 "$log_dir/replica$id.err" >&2
            exit 1
        fi
        if grep -q ': warm-up complete$' "$log_dir/replica$id.err"; then warm=$((warm + 1)); fi
        id=$((id + 1))
    done
    [ "$warm" -eq 3 ] && break
    sleep 0.1
    tenths=$((tenths - 1))
done
exec 8<&-

# These lines are only for a user at a terminal.
if [ -t 0 ] && [ -t 1 ]; then
    say "three replicas run; their chat logs are $log_dir/learner<id>.txt"
    say "another client: $bin/client --config_path $config"
    say "type lines; Ctrl-D ends the client and the replicas"
fi
"$bin/client" --config_path "$config" --die_with_parent "$@"
code=$?

# A follower learns of the last line with the next heartbeat. The chat logs are the same
# within a second, unless a replica has died.
tenths=10
while [ "$tenths" -gt 0 ]; do
    cmp -s "$log_dir/learner0.txt" "$log_dir/learner1.txt" &&
        cmp -s "$log_dir/learner0.txt" "$log_dir/learner2.txt" && break
    sleep 0.1
    tenths=$((tenths - 1))
done
exit $code
