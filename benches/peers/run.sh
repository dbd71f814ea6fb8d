#!/usr/bin/env bash
# Our server beside nginx, lighttpd and h2o, and beside the limit of its own loop: the same files, the same load,
# on this machine's loopback. Servers on the last core, the client on the first. All servers of a scenario run at once and
# take turns of a fraction of a second (turns.py); every answer's status and length is checked. Nothing leaves this
# machine.
# What servers do, not how fast: features.py beside this file, from which the README's table of features is.
#
# Needs: bash, curl, python3, taskset (util-linux), cargo; wrk for `--client wrk`; and of nginx, lighttpd and h2o those
# that are to be compared. On Debian: apt-get install wrk curl nginx-light lighttpd h2o
set -euo pipefail

usage() {
    cat <<'TEXT'
benches/peers/run.sh [options]

  --quick             two seconds: does it work, and roughly what comes out (about 4 minutes)
  --seconds S         seconds measured of each server in each scenario (default 9), in turns of a quarter of a second,
                      with wrk of a second
  --scenario A,B      only these: 1k-1 1k-16 1k-64 1k-256 silent-16 100k-16 10m-4 new-16 pipelined-16
  --only A,B          only these: nginx lighttpd h2o spin backoff park limit
  --client C          spin: ours (default), which makes two system calls a request; wrk: wrk, which makes six
  --silent N          silent connections in silent-16 (default 10000; fewer if descriptors do not suffice)
  --wouldblock FILE   this binary of ours instead of building one
  --limit FILE        this binary of the bench `limit` instead of building one
  --out FOLDER        where table.md, results.json and plot.svg go (default benches/peers/results)
TEXT
}

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
seconds=9 turn=0.25 silent=10000 client=spin ours='' limit='' out="$here/results"
scenarios=1k-1,1k-16,1k-64,1k-256,silent-16,100k-16,10m-4,new-16,pipelined-16
servers=nginx,lighttpd,h2o,spin,backoff,park,limit
while [ $# -gt 0 ]; do
    case $1 in
    --quick) seconds=2 ;;
    -h | --help) usage && exit 0 ;;
    --seconds | --scenario | --only | --silent | --client | --wouldblock | --limit | --out)
        [ $# -gt 1 ] || { echo "$1 needs a value; see --help" >&2 && exit 2; }
        case $1 in
        --seconds) seconds=$2 ;;
        --scenario) scenarios=$2 ;;
        --only) servers=$2 ;;
        --silent) silent=$2 ;;
        --client) client=$2 ;;
        --wouldblock) ours=$2 ;;
        --limit) limit=$2 ;;
        --out) out=$2 ;;
        esac
        shift
        ;;
    *) echo "unknown: $1; see --help" >&2 && exit 2 ;;
    esac
    shift
done

tools=(curl python3 taskset)
case $client in spin) ;; wrk) tools+=(wrk) turn=1 ;; *) echo "unknown client: $client; see --help" >&2 && exit 2 ;; esac
for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || { echo "$tool is needed and not installed" >&2 && exit 2; }
done
wants() { case ",$servers," in *",$1,"*) true ;; *) false ;; esac; }
PATH=$PATH:/usr/sbin:/sbin

# ---- what is compared --------------------------------------------------------------------------------------------

if [ -z "$ours" ] && { wants spin || wants backoff || wants park; }; then
    cargo build --release --quiet --manifest-path "$project/Cargo.toml"
    ours=${CARGO_TARGET_DIR:-$project/target}/release/wouldblock
fi
if [ -z "$limit" ]; then
    limit=$(cargo bench --quiet --manifest-path "$project/Cargo.toml" --bench limit --no-run --message-format=json |
        python3 -c 'import json, sys
messages = list(map(json.loads, sys.stdin)) # all of them: cargo does not like a closed pipe
print(next(m["executable"] for m in messages if m.get("target", {}).get("name") == "limit" and m.get("executable")))')
fi
present=''
for server in ${servers//,/ }; do
    case $server in
    nginx | lighttpd | h2o) command -v "$server" >/dev/null || { echo "left out: $server is not installed" && continue; } ;;
    spin | backoff | park | limit) ;;
    *) echo "unknown server: $server; see --help" >&2 && exit 2 ;;
    esac
    present="$present $server"
done

ulimit -Sn "$(ulimit -Hn)"
room=$(ulimit -n)
if [ "$room" != unlimited ] && [ $((silent + 200)) -gt "$room" ]; then
    silent=$((room - 200))
    echo "only $silent silent connections: the limit of descriptors is $room"
fi
last=$(($(nproc) - 1))
if [ "$last" -gt 0 ]; then
    on_server=(taskset -c "$last") on_client=(taskset -c 0)
else
    on_server=() on_client=()
    echo "one core: server and client share it, and no figure says much about either"
fi

turns=$(awk "BEGIN { print int($seconds / $turn) }")
work=$(mktemp -d)
server_pid=''
stop_server() {
    [ -n "$server_pid" ] || return 0
    kill -TERM "$server_pid" 2>/dev/null || true
    for _ in $(seq 50); do
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=''
}
contenders=()
stop_contenders() {
    for server_pid in "${contenders[@]}"; do
        # shellcheck disable=SC2046
        kill -CONT $(tree_of "$server_pid") 2>/dev/null || true
        stop_server
    done
    contenders=()
}
trap 'stop_server; stop_contenders; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

mkdir -p "$work/root" "$out"
chmod 755 "$work" "$work/root" # nginx and h2o put their privileges down before they read
python3 - "$work/root" <<'PY'
import sys
for name, size in (("1k.txt", 1024), ("100k.txt", 100 * 1024), ("10m.txt", 10 * 1024 * 1024)):
    with open(f"{sys.argv[1]}/{name}", "wb") as file:
        file.write((b"0123456789abcdefghijklmnopqrstuvwxyz\n" * (size // 37 + 1))[:size])
PY

# ---- the servers, tuned as their manuals advise for small static files -------------------------------------------

as_root=''
[ "$(id -u)" -ne 0 ] || as_root='user: nobody'

configure() { # server port
    case $1 in
    nginx) cat >"$work/nginx-$2.conf" <<CONF ;;
daemon off;
worker_processes 1;
worker_rlimit_nofile $room;
pid $work/nginx-$2.pid;
error_log $work/nginx.log error;
events { worker_connections 16384; multi_accept on; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_header_timeout 600s;
    reset_timedout_connection on;
    open_file_cache max=1000 inactive=600s;
    open_file_cache_valid 60s;
    types { text/plain txt; }
    client_body_temp_path $work/nginx-body;
    proxy_temp_path $work/nginx-proxy;
    fastcgi_temp_path $work/nginx-fastcgi;
    uwsgi_temp_path $work/nginx-uwsgi;
    scgi_temp_path $work/nginx-scgi;
    server { listen 127.0.0.1:$2 backlog=4096; root $work/root; }
}
CONF
    lighttpd) cat >"$work/lighttpd-$2.conf" <<CONF ;;
server.document-root = "$work/root"
server.bind = "127.0.0.1"
server.port = $2
server.listen-backlog = 4096
server.errorlog = "$work/lighttpd.log"
server.max-fds = $room
server.max-connections = 16384
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 600
server.max-read-idle = 600
server.network-backend = "sendfile"
server.stat-cache-engine = "simple"
mimetype.assign = ( ".txt" => "text/plain" )
CONF
    h2o) cat >"$work/h2o-$2.conf" <<CONF ;;
listen: { host: 127.0.0.1, port: $2 }
num-threads: 1
num-name-resolution-threads: 1
max-connections: 16384
http1-request-timeout: 600
error-log: $work/h2o.log
$as_root
hosts:
  default:
    paths:
      /:
        file.dir: $work/root
        file.send-compressed: OFF
CONF
    esac
}

command_of() { # server port scenario; the command goes to the array `line`
    case $1 in
    nginx) line=(nginx -e "$work/nginx.log" -c "$work/nginx-$2.conf") ;;
    lighttpd) line=(lighttpd -D -f "$work/lighttpd-$2.conf") ;;
    h2o) line=(h2o -c "$work/h2o-$2.conf") ;;
    spin | backoff | park)
        line=("$ours" "$work/root" --bind 127.0.0.1 --port "$2" --quiet --idle "$1" --idle-timeout 600s)
        ;;
    limit)
        line=("$limit" --serve "$2")
        [ "$3" != new-16 ] || line+=(--close)
        ;;
    esac
}

# ---- one scenario --------------------------------------------------------------------------------------------------

# The limit copies its answer, which for large bodies is no limit: sendfile(2) does not.
applies() { # server scenario
    case $1,$2 in limit,100k-16 | limit,10m-4) false ;; *) true ;; esac
}

shape_of() { # scenario → file, connections, pipeline depth, whether each request has a connection of its own
    depth=1 close='' file=1k.txt
    case $1 in
    1k-*) connections=${1#1k-} ;;
    silent-16) connections=16 ;;
    100k-16) file=100k.txt connections=16 ;;
    10m-4) file=10m.txt connections=4 ;;
    new-16) connections=16 close=yes ;;
    pipelined-16) connections=16 depth=16 ;;
    *) echo "unknown scenario: $1; see --help" >&2 && exit 2 ;;
    esac
    size=$(stat -c %s "$work/root/$file")
}

tree_of() { # a process and its descendants
    local pid
    echo "$1"
    for pid in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree_of "$pid"; done
}

port=20000
free_port() {
    while port=$((port + 1)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
}

start() { # server scenario; says on standard error why it is left out
    local answer line
    free_port
    configure "$1" "$port"
    command_of "$1" "$port" "$2"
    "${on_server[@]}" "${line[@]}" >"$work/$1.out" 2>&1 &
    server_pid=$!
    for _ in $(seq 100); do
        answer=$(curl -s -o /dev/null -w '%{http_code} %{size_download}' "http://127.0.0.1:$port/$file" || true)
        [ "$answer" = '000 0' ] && kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    [ "$answer" = "200 $size" ] && return
    echo "left out: $1, $2: expected 200 and $size octets, got $answer; $(tail -n 1 "$work/$1.out")" >&2
    stop_server
    return 1
}

# Beside silent connections each server stands also without any, so that both figures are from the same minutes.
measure() { # scenario → lines of JSON
    local server crowd crowds=("$1 0") line=("$limit") more=()
    shape_of "$1"
    [ "$1" != silent-16 ] || crowds=("silent-16 $silent" "alone-16 0")
    [ "$client" = spin ] || { line=(wrk) && more=(--wrk); }
    [ -z "$close" ] || more+=(--close)
    : >"$work/turns"
    for server in $present; do
        for crowd in "${crowds[@]}"; do
            applies "$server" "$1" && start "$server" "$1" || continue
            echo "$server $server_pid $port $crowd" >>"$work/turns"
            contenders+=("$server_pid")
            # shellcheck disable=SC2046
            kill -STOP $(tree_of "$server_pid")
            server_pid=''
        done
    done
    python3 "$here/turns.py" "$work/turns" "${more[@]}" --path "/$file" --size "$size" --connections "$connections" \
        --depth "$depth" --turn "$turn" --turns "$turns" -- "${on_client[@]}" "${line[@]}" >>"$work/cells.jsonl"
    stop_contenders
}

# ---- all scenarios -------------------------------------------------------------------------------------------------

: >"$work/cells.jsonl"
total=$(wc -w <<<"${scenarios//,/ }")
count=0
for scenario in ${scenarios//,/ }; do
    count=$((count + 1))
    [ ! -t 2 ] || printf '\r\033[K%d of %d: %s' "$count" "$total" "$scenario" >&2
    measure "$scenario"
done
[ ! -t 2 ] || echo >&2

commit=$(git -C "$project" rev-parse --short HEAD 2>/dev/null || echo unknown)
versions=$(
    for server in $present; do
        case $server in
        nginx) nginx -v 2>&1 | sed 's/.*: //; s|/| |' ;;
        lighttpd) lighttpd -v | sed 's|/| |; s/ (.*//; s/ -.*//; q' ;;
        h2o) h2o -v | sed 's/ version//; q' ;;
        esac
    done | paste -sd, | sed 's/,/, /g'
)
python3 "$here/report.py" "$work/cells.jsonl" "$out" --turn "$turn" --turns "$turns" \
    --commit "$commit" --versions "$versions" --client "$client" --pinned "$([ "$last" -gt 0 ] && echo "server on core $last, client on core 0" || echo "one core")"
