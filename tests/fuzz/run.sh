#!/usr/bin/env bash
# Fuzzes each target for so many seconds (15): a smoke run. `tests/fuzz/run.sh 600` is the long one; what it finds is
# written to tests/fuzz/artifacts/ and belongs into a test. New inputs stay out of the repository.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-15}

if ! cargo +nightly --version >/dev/null 2>&1 || ! command -v cargo-fuzz >/dev/null; then
    echo "fuzzing skipped: it needs a nightly toolchain and cargo-fuzz (rustup toolchain install nightly; cargo install cargo-fuzz)"
    exit 0
fi
for target in connection site config; do
    cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" -- -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=1024 -print_final_stats=0 -verbosity=0
done
echo "nothing found in $seconds seconds of each target"
