#!/usr/bin/env bash
# The host backend beside its peers, as ratios of medians from one run on one machine.
# Needs hyperfine and rsync. Usage: benches/host.sh [FILES] [RUNS]; prints a table.
set -euo pipefail
cd "$(dirname "$0")/.."
files=${1:-50000}
runs=${2:-5}
for program in hyperfine rsync python3; do
    command -v "$program" >/dev/null || { echo "needs $program" >&2; exit 1; }
done
cargo build --release --locked --quiet
devshell=$PWD/target/release/devshell
place=$(mktemp -d "${BENCH_PLACE:-/var/tmp}/devshell-bench-XXXXXX")
trap 'rm -rf "$place"' EXIT
export XDG_CACHE_HOME=$place/cache XDG_STATE_HOME=$place/state

python3 - "$place/tree" "$files" <<'PY'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
for index in range(count):
    if index % 100 == 0:
        folder = f"{root}/d{index // 10000}/d{index // 100}"
        os.makedirs(folder)
    with open(f"{folder}/f{index}", "wb") as file:
        file.write(os.urandom(4096))
PY
cat >"$place/tree/devshell.toml" <<'TOML'
[vm.host]
strategy = "copy"
[[tool]]
name = "true"
run = ["/bin/true"]
TOML

measure() { # name, prepare, command
    hyperfine -N --style none --warmup 1 --runs "$runs" --export-json "$place/$1.json" --prepare "$2" "$3" >/dev/null 2>&1
}
measure first-staging "sh -c 'rm -rf $place/cache; sync'" "$devshell run $place/tree/devshell.toml"
measure cp "sh -c 'rm -rf $place/copy; sync'" "cp -a $place/tree $place/copy"
measure rsync "sh -c 'rm -rf $place/copy; sync'" "rsync -a $place/tree/ $place/copy/"
measure second-staging "true" "$devshell run $place/tree/devshell.toml"
measure rsync-nothing "true" "rsync -a $place/tree/ $place/copy/"
measure in-place "true" "$devshell run $place/tree/devshell.toml --set vm.host.strategy=in_place"
/usr/bin/time -f '%M' -o "$place/rss-first" true 2>/dev/null && {
    rm -rf "$place/cache"
    /usr/bin/time -f '%M' -o "$place/rss-first" "$devshell" run "$place/tree/devshell.toml" 2>/dev/null
    /usr/bin/time -f '%M' -o "$place/rss-second" "$devshell" run "$place/tree/devshell.toml" 2>/dev/null
}

# Each further tool, beside fork and exec from a shell.
for count in 1 101; do
    printf '[vm.host]\nstrategy = "in_place"\n' >"$place/many-$count.toml"
    for ((index = 0; index < count; index++)); do
        printf '[[tool]]\nname = "t%s"\nrun = ["/bin/true"]\n' "$index" >>"$place/many-$count.toml"
    done
    mkdir -p "$place/small-$count" && mv "$place/many-$count.toml" "$place/small-$count/devshell.toml"
    measure "tools-$count" true "$devshell run $place/small-$count/devshell.toml"
    for ((index = 0; index < count; index++)); do echo /bin/true; done >"$place/many-$count.sh"
    measure "shell-$count" true "sh $place/many-$count.sh"
done
measure version true "$devshell --version"

python3 - "$place" "$files" <<'PY'
import json, sys
place, files = sys.argv[1:]
median = lambda name: json.load(open(f"{place}/{name}.json"))["results"][0]["median"]
row = lambda what, ours, peer, theirs: print(f"| {what} | {ours*1e3:.2f} ms | {peer} | {theirs*1e3:.2f} ms | {ours/theirs:.2f} x |")
print(f"{files} files of 4 KiB\n\n| what | devshell | peer | peer's time | ratio |\n|---|---|---|---|---|")
row("first copy staging and run of /bin/true", median("first-staging"), "cp -a", median("cp"))
row("first copy staging and run of /bin/true", median("first-staging"), "rsync -a", median("rsync"))
row("second staging, nothing changed, and run", median("second-staging"), "rsync -a, nothing changed", median("rsync-nothing"))
further = lambda name: (median(f"{name}-101") - median(f"{name}-1")) / 100
row("each further tool of 100", further("tools"), "sh", further("shell"))
print(f"\nin_place run of one tool: {median('in-place')*1e3:.2f} ms; devshell --version: {median('version')*1e3:.2f} ms")
for name in ("first", "second"):
    try:
        print(f"peak memory, {name} staging: {int(open(f'{place}/rss-{name}').read().split()[-1])/1024:.1f} MiB")
    except (OSError, IndexError):
        pass
PY
