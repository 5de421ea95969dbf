#!/usr/bin/env bash
# A tree that is carried to a sidecar which shares no folder, beside `rsync -a` through a pipe: whole processes, wall
# time and peak memory, as ratios.
# Usage: benches/transfer.sh [--files 50000] [--mib 1024] [--runs 3]; prints a table.
# Needs python3 and rsync. BENCH_PLACE says where (a folder on a disk), DEVSHELL_BENCH_BIN with which devshell; the
# devshell-vm beside it is the sidecar.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${DEVSHELL_BENCH_BIN:-}" ]; then
    (cd "$here/.." && cargo build --release --locked --quiet)
    DEVSHELL_BENCH_BIN=$here/../target/release/devshell
fi
place=$(mktemp -d "${BENCH_PLACE:-/var/tmp}/devshell-bench-XXXXXX")
trap 'rm -rf "$place"' EXIT
export XDG_CACHE_HOME=$place/cache XDG_STATE_HOME=$place/state
python3 "$here/transfer.py" "$DEVSHELL_BENCH_BIN" "$place" "$@"
