#!/usr/bin/env bash
# Runs every fuzz target, each for the given number of seconds: scripts/fuzz.sh 60
# The targets look for panics and contain no unsafe code, so they need no sanitizer, and the stable compiler suffices.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
export CARGO_TARGET_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/wharf/fuzz"
for target in manifest growth resolver http adapt fused; do
    mkdir -p "fuzz/corpus/$target"
    if [ "$target" = manifest ]; then
        # Valid manifests seed the corpus.
        for file in crates/workload/tests/manifests/*/wharf.*; do
            cp "$file" "fuzz/corpus/$target/$(basename "$(dirname "$file")")"
        done
    fi
    longest=8192
    if [ "$target" = adapt ]; then
        # A complete module seeds the corpus, so inputs may be as long as it is.
        longest=262144
        cp guests/prebuilt/conform-p1.wasm "fuzz/corpus/$target/"
    fi
    log=$(mktemp)
    if ! cargo fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len="$longest" -rss_limit_mb=4096 \
        -verbosity=0 -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log"
        exit 1
    fi
    echo "$target: $(grep -o 'number_of_executed_units: *[0-9]*' "$log" | tr -s ' ') in $seconds s, no failure"
    rm "$log"
done
