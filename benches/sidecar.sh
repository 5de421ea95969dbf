#!/usr/bin/env bash
# The sidecar over a Unix socket beside the same without it, as ratios of medians of interleaved runs on one machine.
# Usage: benches/sidecar.sh [--runs 15] [--mib 1024]; prints a table.
# Needs python3. BENCH_PLACE says where, DEVSHELL_BENCH_BIN with which devshell (its devshell-vm lies beside it).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${DEVSHELL_BENCH_BIN:-}" ]; then
    (cd "$here/.." && cargo build --release --locked --quiet)
    DEVSHELL_BENCH_BIN=$here/../target/release/devshell
fi
place=$(mktemp -d "${BENCH_PLACE:-/var/tmp}/devshell-bench-XXXXXX")
trap 'chmod -R u+rwx "$place"; rm -rf "$place"' EXIT
export XDG_CACHE_HOME=$place/cache XDG_STATE_HOME=$place/state
python3 "$here/sidecar.py" "$DEVSHELL_BENCH_BIN" "$place" "$@"
