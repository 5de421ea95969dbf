#!/usr/bin/env bash
# The Lima backend beside plain limactl and rsync, as ratios of medians of interleaved runs.
# Usage: benches/lima.sh [--runs 15] [--files 10000]; prints a table. As an ordinary user (limactl refuses root) who can
# run what tests/lima/setup has made; DEVSHELL_BENCH_LIMA says where that is, DEVSHELL_BENCH_BIN with which devshell (its
# devshell-vm beside it). Makes an instance of its own and removes it; without KVM the guest boots for a minute and more.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${DEVSHELL_BENCH_BIN:-}" ]; then
    (cd "$here/.." && cargo build --release --locked --quiet --bins)
    DEVSHELL_BENCH_BIN=$here/../target/release/devshell
fi
lima=${DEVSHELL_BENCH_LIMA:-$("$here/../tests/lima/setup")}
python=/usr/bin/python3
[ -x "$python" ] || python=python3
# Short: the paths of sockets below it are limited.
place=$(mktemp -d /tmp/dbXXXXXX)
limactl=$(echo "$lima"/lima-*/bin/limactl)
export LIMA_HOME=$place/l HOME=$place/home
# Lima takes KVM where there is one, and one that hangs is worse than none.
export QEMU_SYSTEM_X86_64="${QEMU_SYSTEM_X86_64:-qemu-system-x86_64 -machine q35,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max}"
trap '"$limactl" delete --force t >/dev/null 2>&1 || true; chmod -R u+rwx "$place"; rm -rf "$place"' EXIT
mkdir "$place/l" "$place/home"
"$python" -u "$here/lima.py" "$DEVSHELL_BENCH_BIN" "$limactl" "$lima/template.yaml" "$place" "$@"
