#!/bin/sh
# The chapter, and a long recording, in a real browser. Needs chromium (a Debian package), node 20 or later, and `npm ci` in this folder.
#   tests/browser/run.sh [path of the wouldblock binary]     without it, builds one
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -eq 0 ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml"
    set -- "$here/../../target/release/wouldblock"
fi
binary=$(realpath "$1")
cd "$here"
port=${PORT:-7897}
[ -x "$binary" ] || { echo "run.sh: $binary is no program" >&2; exit 2; }
command -v "${CHROMIUM:-chromium}" >/dev/null || { echo "run.sh: no chromium: install the package, or set CHROMIUM" >&2; exit 2; }
[ -d node_modules ] || npm ci --no-audit --no-fund

"$binary" --chapter -q -p "$port" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do
    curl -sf -o /dev/null "http://127.0.0.1:$port/" && break
    sleep 0.3
done
BASE="http://127.0.0.1:$port" BINARY="$binary" CHROMIUM="$(command -v "${CHROMIUM:-chromium}")" \
    node --test --test-concurrency=1 chapter.test.mjs recording.test.mjs
