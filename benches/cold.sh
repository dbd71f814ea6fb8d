#!/usr/bin/env bash
# Does a disk that is slow to give keep the others waiting? One client asks for 1 KiB as fast as it can: alone, beside a
# download of 1 GiB that is in memory, and beside the same download out of the disk. What is told are its answers and
# how long they took. The server is on the last core, both clients on the first.
#
# The file is dropped from the page cache before each cold download. As root, on a system with the blkio controller of
# cgroup v1 or the io controller of v2, the server's disk is held down to the given rate too.
#
# Needs: bash, curl, python3, taskset, cargo, and 1 GiB of disk in FOLDER.
set -euo pipefail

rate=100 rounds=3 seconds=4 idle=spin folder='' ours=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        echo "benches/cold.sh [--rate MB/s (100)] [--rounds N (3)] [--seconds S (4)] [--idle HOW (spin)] [--folder FOLDER] [--wouldblock FILE]"
        exit 0
        ;;
    --rate | --rounds | --seconds | --idle | --folder | --wouldblock)
        [ $# -gt 1 ] || { echo "$1 needs a value; see --help" >&2 && exit 2; }
        case $1 in
        --rate) rate=$2 ;;
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
        --idle) idle=$2 ;;
        --folder) folder=$2 ;;
        --wouldblock) ours=$2 ;;
        esac
        shift
        ;;
    *) echo "unknown: $1; see --help" >&2 && exit 2 ;;
    esac
    shift
done

project=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "$ours" ]; then
    cargo build --release --quiet --manifest-path "$project/Cargo.toml"
    ours=${CARGO_TARGET_DIR:-$project/target}/release/wouldblock
fi
asker=$(cargo bench --quiet --manifest-path "$project/Cargo.toml" --bench limit --no-run --message-format=json |
    python3 -c 'import json, sys
messages = list(map(json.loads, sys.stdin))
print(next(m["executable"] for m in messages if m.get("target", {}).get("name") == "limit" and m.get("executable")))')
last=$(($(nproc) - 1))
# Not in /tmp, which may be memory.
work=$(mktemp -d "${folder:-${CARGO_TARGET_DIR:-$project/target}}/cold.XXXXXX")
server='' group='' download=''
stop() {
    [ -z "$download" ] || kill "$download" 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    wait 2>/dev/null || true
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

echo "making 1 GiB in $work" >&2
head -c 1073741824 /dev/urandom >"$work/large"
head -c 1024 /dev/urandom >"$work/1k"
sync "$work/large"

# The disk's number is that of its whole device: partitions cannot be held down.
device=$(df --output=source "$work" | tail -n 1)
device=$(readlink -f "/sys/class/block/$(basename "$device")" 2>/dev/null || true)
[ ! -e "$device/partition" ] || device=$(dirname "$device")
number=$(cat "$device/dev" 2>/dev/null || true)
held="the disk as fast as it is"
if [ "$(id -u)" -eq 0 ] && [ -n "$number" ]; then
    if [ -w /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device ]; then
        group=/sys/fs/cgroup/blkio/wouldblock-cold
        mkdir -p "$group" && echo "$number $((rate * 1000000))" >"$group/blkio.throttle.read_bps_device"
    elif grep -qw io /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; then
        group=/sys/fs/cgroup/wouldblock-cold
        mkdir -p "$group" && echo "$number rbps=$((rate * 1000000))" >"$group/io.max"
    fi
    [ -z "$group" ] || held="the disk held down to $rate MB/s"
fi

taskset -c "$last" "$ours" "$work" --port 0 --quiet --idle "$idle" 2>"$work/said" &
server=$!
[ -z "$group" ] || echo "$server" >"$group/cgroup.procs"
for _ in $(seq 100); do
    url=$(sed -n 's/^serving .* on \(http:.*\)/\1/p' "$work/said" | head -n 1)
    [ -z "$url" ] || break
    sleep 0.05
done
address=${url#http://} address=${address%/}

drop() {
    python3 -c 'import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)' "$work/large"
}
ask() {
    taskset -c 0 "$asker" --ask "$address" /1k 1024 1 1 "$seconds" </dev/null | tail -n 1 |
        python3 -c 'import json, sys
seen = json.load(sys.stdin)
rate = seen["requests"] * 1e6 / seen["microseconds"]
print("%-6s %9.0f requests/s   p50 %6.1f µs   p99 %6.1f µs" % (sys.argv[1], rate, seen["p50"], seen["p99"]))' "$1"
}
beside() { # name, curl's flags
    local name=$1
    shift
    taskset -c 0 curl -s -o /dev/null "$@" "${url}large" &
    download=$!
    sleep 0.3
    ask "$name"
    kill -0 "$download" 2>/dev/null || echo "       the download was over before the time was"
    kill "$download" 2>/dev/null || true
    wait "$download" 2>/dev/null || true
    download=''
}

echo "one client asks for 1 KiB, $idle; $held"
for _ in $(seq "$rounds"); do
    ask alone
    cat "$work/large" >/dev/null
    beside warm --limit-rate "${rate}M"
    drop
    beside cold
done
kill -INT "$server"
wait "$server" || true
server=''
grep '^disk' "$work/said" || echo "no turn waited for the disk: nothing was cold"
