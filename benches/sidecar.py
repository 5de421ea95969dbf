"""What `benches/sidecar.sh` runs: tools at a sidecar that shares the staging folder, and the same on this host, in turn."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

arguments = argparse.ArgumentParser()
arguments.add_argument("devshell", type=Path)
arguments.add_argument("place", type=Path)
arguments.add_argument("--runs", type=int, default=15)
arguments.add_argument("--mib", type=int, default=1024)
options = arguments.parse_args()
devshell = options.devshell.resolve()
place = options.place.resolve()
TOOLS = 100


def timed(argv):
    """Seconds of a command that must succeed; its output goes through a pipe and is dropped."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sink = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
    process.stdout.close()
    said = process.stderr.read()
    code = process.wait()
    sink.wait()
    if code != 0:
        sys.exit(f"{argv}: {code}\n{said.decode(errors='replace')}")
    return time.perf_counter() - start


def medians(cases, rounds):
    """The median of each command, taken in turns after one round that does not count."""
    times = {name: [] for name in cases}
    for number in range(-1, rounds):
        for name, argv in cases.items():
            took = timed(argv)
            if number >= 0:
                times[name].append(took)
    return {name: statistics.median(taken) for name, taken in times.items()}


def row(what, ours, peer, theirs, goal):
    print(f"| {what} | {ours * 1e3:.2f} ms | {peer} | {theirs * 1e3:.2f} ms | {ours / theirs:.2f} x | {goal} |", flush=True)


def project(name, tools):
    folder = place / name
    folder.mkdir()
    for number in range(10):
        (folder / f"f{number}").write_bytes(bytes(4096))
    head = f'[vm]\nworkspace_parent = "{place}/staging"\n[vm.beta]\nsocket = "unix:{place}/s"\n'
    (folder / "devshell.toml").write_text(head + tools)
    return folder


def run(folder, backend):
    argv = [devshell, "run", folder / "devshell.toml", "--set", f"vm.backend={backend}"]
    return argv + (["--set", "vm.host.strategy=copy"] if backend == "host" else [])


(place / "staging").mkdir()
server = subprocess.Popen(
    [devshell.with_name("devshell-vm"), "--serve-socket", place / "s", "--root", place / "staging"],
    stderr=subprocess.DEVNULL,
)
try:
    while not (place / "s").exists():
        time.sleep(0.01)
    one = project("one", '[[tool]]\nname = "t"\nrun = ["/bin/true"]\n')
    many = project("many", "".join(f'[[tool]]\nname = "t{n}"\nrun = ["/bin/true"]\n' for n in range(TOOLS)))
    big = project("big", f'[[tool]]\nname = "big"\nrun = ["head", "-c", "{options.mib}M", "/dev/zero"]\n')
    taken = medians(
        {(name, backend): run(folder, backend) for name, folder in [("one", one), ("many", many)] for backend in ["beta", "host"]},
        options.runs,
    )
    print(f"| what | sidecar | peer | | ratio | goal |\n|---|---|---|---|---|---|")
    row("a run of /bin/true over a Unix socket", taken["one", "beta"], "the host backend, copy", taken["one", "host"], "<= 2.0")
    each = {backend: (taken["many", backend] - taken["one", backend]) / (TOOLS - 1) for backend in ["beta", "host"]}
    row(f"each further /bin/true of {TOOLS}", each["beta"], "the host backend, copy", each["host"], "<= 2.0")
    pipes = ["sh", "-c", f"head -c {options.mib}M /dev/zero | cat | cat"]
    taken = medians({"beta": run(big, "beta"), "pipes": pipes}, max(options.runs // 3, 3))
    row(f"{options.mib} MiB of output", taken["beta"], "head | cat | cat | cat", taken["pipes"], "<= 2.0 (0.5 x its speed)")
finally:
    server.terminate()
    server.wait()
