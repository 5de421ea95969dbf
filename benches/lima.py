"""Times the Lima backend beside limactl and rsync; called by lima.sh.

Each row's commands take turns, round by round. Times are wall times of whole processes; the machine's load is printed
beside them, since an emulated guest feels it."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("devshell")
parser.add_argument("limactl")
parser.add_argument("template")
parser.add_argument("place")
parser.add_argument("--runs", type=int, default=15)
parser.add_argument("--files", type=int, default=10000)
options = parser.parse_args()
DEVSHELL, LIMACTL, PLACE = os.path.realpath(options.devshell), options.limactl, options.place


def spawn(argv, cwd="/"):
    """Runs a command to its end; gives its seconds. It must succeed."""
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{argv} ended with {done.returncode}:\n{done.stderr.decode()}")
    return took


def project(name, tools, agent="auto", carry="auto", tool=("true",)):
    folder = f"{PLACE}/{name}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/devshell.toml", "w") as toml:
        toml.write(
            f'[vm]\nbackend = "lima"\nready_timeout = "30m"\nworkspace_parent = "{PLACE}/shared"\n[vm.lima]\n'
            f'instance = "t"\nlimactl = "{LIMACTL}"\ntemplate = "{options.template}"\ncpus = 2\nmemory = "1GiB"\n'
            f'disk = "6GiB"\nagent = "{agent}"\ncarry = "{carry}"\n'
        )
        for number in range(tools):
            toml.write(f'[[tool]]\nname = "t{number}"\nrun = {json.dumps(tool)}\n')
    return folder


def median(cases, rounds):
    """Medians of commands that take turns; each is called once before."""
    times = [[] for _ in cases]
    for case in cases:
        case()
    for number in range(rounds):
        for index in sorted(range(len(cases)), key=lambda index: (index + number) % len(cases)):
            times[index].append(cases[index]())
    return [statistics.median(each) for each in times]


def row(what, ours, peer, theirs, goal=None):
    goal = f"≤ {goal}" if goal else "—"
    print(f"| {what} | {ours * 1000:.0f} ms | {peer} | {theirs * 1000:.0f} ms | {ours / theirs:.2f} | {goal} |")


os.makedirs(f"{PLACE}/shared")
# The guest mounts by 9p, where `auto` carries the tree.
ways = {"carried": {}, "mount": {"carry": "mount"}, "no agent": {"agent": "off"}}
MORE = {"carried": 20, "mount": 20, "no agent": 5}
one = {way: project(f"one-{way}", 1, **of) for way, of in ways.items()}
many = {way: project(f"many-{way}", 1 + MORE[way], **of) for way, of in ways.items()}
spawn([DEVSHELL, "run"], one["carried"])
version = subprocess.run([LIMACTL, "--version"], capture_output=True, text=True).stdout.strip()
print(f"{version}; {os.cpu_count()} processors; load at the start {os.getloadavg()[0]:.1f}\n")
print("| what | devshell | against | takes | ratio | goal |\n|---|---|---|---|---|---|")
run_in = lambda folder: lambda: spawn([DEVSHELL, "run"], folder)
# What takes seconds has rounds of its own: an emulator is slower at everything after it.
for names, goals in [(["carried", "mount"], (1.5, 0.1)), (["no agent"], (None, None))]:
    shell, *took = median(
        [
            lambda: spawn([LIMACTL, "shell", "--workdir", "/", "t", "true"]),
            *(run_in(one[way]) for way in names),
            *(run_in(many[way]) for way in names),
        ],
        options.runs,
    )
    for way, whole, further in zip(names, took, took[len(names) :]):
        row(f"a whole run of one `true`, {way}", whole, "`limactl shell t true`", shell, goals[0])
        row(f"each further `true` of a run, {way}", (further - whole) / MORE[way], "the same", shell, goals[1])


def fill(tree):
    for number in range(options.files):
        folder = f"{tree}/d{number // 100}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/f{number}", "wb") as file:
            file.write(os.urandom(16) * 256)
    return tree


# Warm: what is the same is there already.
reading = ["sh", "-c", "find . -type f -exec cat {} + | wc -c"]
trees = {way: fill(project(f"tree-{way}", 1, carry=way, tool=reading)) for way in ["transfer", "mount"]}
spawn([DEVSHELL, "run"], trees["transfer"]), spawn([DEVSHELL, "run"], trees["mount"])
over = median([run_in(trees["transfer"]), run_in(trees["mount"])], max(3, options.runs // 3))
row(f"a run that reads all of {options.files} files, carried", over[0], "the same over the mount", over[1])
listed = json.loads(subprocess.run([LIMACTL, "list", "--format", "json", "t"], capture_output=True).stdout)
ssh = f"ssh -F {listed['sshConfigFile']}"
tree = fill(project("tree", 1))
turn, pushes = 0, []


def change():
    global turn
    turn += 1
    for number in range(10):
        with open(f"{tree}/d{number}/f{number * 100}", "wb") as file:
            file.write(os.urandom(16) * 256)


def run():
    change()
    took = spawn([DEVSHELL, "run", "--events", f"{PLACE}/events"], tree)
    events = map(json.loads, open(f"{PLACE}/events"))
    pushes.append(next(e["elapsed_ms"] / 1000 for e in events if e["type"] == "sync_finished"))
    return took


def rsync():
    change()
    return spawn(["rsync", "-a", "--delete", "-e", ssh, f"{tree}/", "lima-t:/tmp/tree/"])


ours, theirs = median([run, rsync], max(3, options.runs // 3))
what = f"10 changed of {options.files} files"
row(f"push of {what}, carried", statistics.median(pushes[1:]), "`rsync -a -e ssh` of them", theirs)
row(f"a whole run of `true` with {what}", ours, "the same", theirs)
print(f"\nload at the end {os.getloadavg()[0]:.1f}")
