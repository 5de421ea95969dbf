#!/usr/bin/env bash
# The host backend beside its peers, as ratios of medians of interleaved runs on one machine.
# Usage: benches/host.sh [--files 10,5000,50000] [--runs 15] [--only WORD]; prints a table.
# Needs python3; rows whose peer (bwrap, rsync, cargo) is not installed say so.
# BENCH_PLACE says where (a folder on a disk, not on a tmpfs), DEVSHELL_BENCH_BIN with which devshell.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${DEVSHELL_BENCH_BIN:-}" ]; then
    (cd "$here/.." && cargo build --release --locked --quiet)
    DEVSHELL_BENCH_BIN=$here/../target/release/devshell
fi
python=/usr/bin/python3
[ -x "$python" ] || python=python3
place=$(mktemp -d "${BENCH_PLACE:-/var/tmp}/devshell-bench-XXXXXX")
trap 'chmod -R u+rwx "$place"; rm -rf "$place"' EXIT
export XDG_CACHE_HOME=$place/cache XDG_STATE_HOME=$place/state
"$python" "$here/host.py" "$DEVSHELL_BENCH_BIN" "$place" "$@"
