"""Times devshell beside its peers; called by host.sh.

Each row's commands take turns, round by round, so that a machine whose speed changes does not
favour one of them. Times are wall times of whole processes."""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("devshell")
parser.add_argument("place")
parser.add_argument("--files", default="10,5000,50000", help="sizes of trees, by commas")
parser.add_argument("--runs", type=int, default=15, help="rounds of the fast rows; the slow ones take a third")
parser.add_argument("--only", default="", help="only the groups whose name has this word")
options = parser.parse_args()
DEVSHELL, PLACE = os.path.realpath(options.devshell), options.place
SIZES = [int(size) for size in options.files.split(",")]
SLOW = max(options.runs // 3, 3)
QUIET = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
TIME = "/usr/bin/time" if os.path.exists("/usr/bin/time") else None

os.environ["SOURCE_DATE_EPOCH"] = "0"


def spawn(argv, cwd=None):
    """Runs a command to its end; gives its seconds. It must succeed."""
    if cwd:
        os.chdir(cwd)
    began = time.perf_counter()
    child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=QUIET)
    status = os.waitpid(child, 0)[1]
    took = time.perf_counter() - began
    if status:
        again = subprocess.run(argv, capture_output=True, text=True)
        sys.exit(f"{argv} ended with {status}, and then with {again.returncode}:\n{again.stderr}")
    return took


def shell(script):
    subprocess.run(["sh", "-ec", script], check=True, stdout=subprocess.DEVNULL)


def memory(argv, prepare):
    """The peak of a command and what it waits for, in MiB."""
    if not TIME:
        return None
    prepare()
    subprocess.run([TIME, "-f", "%M", "-o", f"{PLACE}/rss", *argv], check=True, capture_output=True)
    return int(open(f"{PLACE}/rss").read().split()[-1]) / 1024


class Case:
    def __init__(self, name, argv, prepare=lambda: None, cwd=None):
        self.name, self.argv, self.prepare, self.cwd, self.times = name, argv, prepare, cwd, []

    def once(self):
        self.prepare()
        return spawn(self.argv, self.cwd)

    @property
    def median(self):
        return statistics.median(self.times)


def interleave(cases, rounds, warm=True):
    for case in cases if warm else []:
        case.once()
    for number in range(rounds):
        # Each goes first as often as the others.
        turn = number % len(cases)
        for case in cases[turn:] + cases[:turn]:
            case.times.append(case.once())
    return cases


def row(what, ours, peer, theirs, goal, peak=None):
    """A line of the table; times in seconds, `None` for what is not to be had."""
    show = lambda seconds: "not available" if seconds is None else f"{seconds * 1e3:.2f} ms"
    ratio = "" if None in (ours, theirs) else f"{ours / theirs:.2f} x"
    peak = "" if peak is None else f"{peak:.1f} MiB"
    print(f"| {what} | {show(ours)} | {peer} | {show(theirs)} | {ratio} | {goal} | {peak} |", flush=True)


def tree(files, name):
    root = f"{PLACE}/{name}"
    block = os.urandom(4096)
    for index in range(files):
        if index % 100 == 0:
            folder = f"{root}/d{index // 10000}/d{index // 100}"
            os.makedirs(folder)
        with open(f"{folder}/f{index}", "wb") as file:
            file.write(index.to_bytes(8, "big") + block[8:])
    config(root, '[[tool]]\nname = "true"\nrun = ["/bin/true"]\n')
    return root


def config(root, text):
    os.makedirs(root, exist_ok=True)
    with open(f"{root}/devshell.toml", "w") as file:
        file.write(text)


def run(root, strategy, file="devshell.toml", *more):
    return [DEVSHELL, "run", f"{root}/{file}", "--set", f"vm.host.strategy={strategy}", *more]


def refused(strategy):
    config(f"{PLACE}/probe", '[[tool]]\nname = "t"\nrun = ["true"]\n')
    ended = subprocess.run(run(f"{PLACE}/probe", strategy), capture_output=True, text=True)
    if ended.returncode not in (0, 71):
        sys.exit(ended.stderr)
    return ended.returncode == 71


def sync():
    os.sync()


def starts(strategies, trees):
    """One `/bin/true` on trees of all sizes."""
    bwrap = ["bwrap", "--unshare-pid", "--dev-bind", "/", "/", "/bin/true"]
    cases = {}
    for strategy in strategies:
        for size, root in trees.items():
            cases[strategy, size] = Case(f"{strategy} {size}", run(root, strategy))
    peer = Case("bwrap", bwrap) if shutil.which("bwrap") else None
    interleave([*cases.values(), *([peer] if peer else [])], options.runs)
    theirs = peer.median if peer else None
    smallest = min(trees)
    for strategy in ["overlay", "copy", "in_place"]:
        for size in trees:
            case = cases.get((strategy, size))
            ours = case and case.median
            peak = case and memory(case.argv, case.prepare)
            goals = ("<= 2.0", "<= 1.1") if strategy == "overlay" else ("", "")
            row(f"run of /bin/true, {strategy}, {size} files", ours, "bwrap", theirs, goals[0], peak)
            if size != smallest:
                base = cases.get((strategy, smallest))
                row(f"the same", ours, f"itself on {smallest}", base and base.median, goals[1])


def further(strategies):
    """Each further tool of 100."""
    cases = {}
    for count in (1, 101):
        text = "".join(f'[[tool]]\nname = "t{index}"\nrun = ["/bin/true"]\n' for index in range(count))
        config(f"{PLACE}/tools-{count}", text)
        with open(f"{PLACE}/tools-{count}.sh", "w") as file:
            file.write("/bin/true\n" * count)
        for strategy in strategies:
            cases[strategy, count] = Case("", run(f"{PLACE}/tools-{count}", strategy))
        cases["sh", count] = Case("", ["sh", f"{PLACE}/tools-{count}.sh"])
    interleave(list(cases.values()), options.runs)
    each = lambda name: (cases[name, 101].median - cases[name, 1].median) / 100 if (name, 1) in cases else None
    for strategy in ["overlay", "copy", "in_place"]:
        case = cases.get((strategy, 101))
        row(f"each further tool of 100, {strategy}", each(strategy), "sh", each("sh"), "<= 2.0",
            case and memory(case.argv, case.prepare))


def edits(strategies, trees):
    """Ten changed files committed in trees of all sizes."""
    counter = f"{PLACE}/counter"
    names = " ".join(f"d0/d0/f{index}" for index in range(10))
    script = f"read n < {counter}; for f in {names}; do echo $n > $f; done"
    cases = {}

    def count():
        # Another content each time, or nothing would be committed.
        count.number += 1
        with open(counter, "w") as file:
            file.write(f"{count.number}\n")

    count.number = 0
    for strategy in strategies:
        for size, root in trees.items():
            with open(f"{root}/edit.toml", "w") as file:
                file.write(f'[[tool]]\nname = "edit"\nscript = "{script}"\n')
            cases[strategy, size] = Case("", run(root, strategy, "edit.toml"), count)
    interleave(list(cases.values()), options.runs)
    smallest = min(trees)
    for strategy in ["overlay", "copy"]:
        for size in trees:
            if size != smallest:
                case, base = cases.get((strategy, size)), cases.get((strategy, smallest))
                row(f"10 changed files committed in {size}, {strategy}", case and case.median,
                    f"the same in {smallest}", base and base.median, "<= 1.5" if strategy == "overlay" else "",
                    case and memory(case.argv, case.prepare))


def growth(strategies):
    """5,000 new files of 4 KiB committed."""
    source, target, root = f"{PLACE}/source", f"{PLACE}/target", f"{PLACE}/grow"
    tree(5000, "source")
    script = f"cp -a {source} new"
    config(root, f'[[tool]]\nname = "cp"\nscript = "{script}"\n')

    def clear():
        for folder in (target, f"{root}/new"):
            shutil.rmtree(folder, ignore_errors=True)
        sync()

    peer = Case("", ["sh", "-ec", f"cp -a {source} {target}; sync -f {target}"], clear)
    cases = {strategy: Case("", run(root, strategy), clear) for strategy in strategies if strategy != "in_place"}
    interleave([peer, *cases.values()], SLOW)
    for strategy in ["overlay", "copy"]:
        case = cases.get(strategy)
        row(f"5,000 new files of 4 KiB made and committed, {strategy}", case and case.median, "cp -a; sync -f",
            peer.median, "<= 1.5" if strategy == "overlay" else "", case and memory(case.argv, case.prepare))


MANIFEST = """[package]
name = "regex-syntax"
version = "0.8.0"
edition = "2021"
[features]
default = ["std", "unicode"]
arbitrary = []
std = []
unicode = ["unicode-age", "unicode-bool", "unicode-case", "unicode-gencat", "unicode-perl", "unicode-script",
    "unicode-segment"]
unicode-age = []
unicode-bool = []
unicode-case = []
unicode-gencat = []
unicode-perl = []
unicode-script = []
unicode-segment = []
[workspace]
"""


def cargo(strategies):
    """Real crates: one without dependencies, and devshell with all of its own."""
    home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
    found = sorted(glob.glob(f"{home}/registry/src/*/regex-syntax-0.8.*"))
    if not shutil.which("cargo") or not found:
        print("cargo rows: not available (no cargo, or no regex-syntax in its registry)")
        return

    def small(root):
        shutil.copytree(f"{found[-1]}/src", f"{root}/src")
        with open(f"{root}/Cargo.toml", "w") as file:
            file.write(MANIFEST)
        spawn(["cargo", "generate-lockfile", "--offline", "--manifest-path", f"{root}/Cargo.toml"])

    def own(root):
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for name in ["src", "benches", "examples", "tests"]:
            shutil.copytree(f"{here}/{name}", f"{root}/{name}", symlinks=True)
        for name in ["Cargo.toml", "Cargo.lock", "devshell.toml.example", "README.md"]:
            shutil.copy2(f"{here}/{name}", root)

    builds(strategies, "regex-syntax", small, [("nothing to do", "", options.runs), ("from scratch", "<= 1.05", SLOW)])
    builds(strategies, "devshell", own, [("nothing to do", "<= 1.1", options.runs)])


def builds(strategies, name, fill, rows):
    """A project built by cargo, by itself and in views."""
    cases = {}
    for strategy in ["cargo", *[strategy for strategy in strategies if strategy != "in_place"]]:
        root = f"{PLACE}/cargo-{name}-{strategy}"
        os.makedirs(root)
        fill(root)
        argv = ["cargo", "build", "--offline", "--lib"]
        config(root, f'[workspace]\ncache_dirs = ["target/"]\n[[tool]]\nname = "build"\nrun = {json.dumps(argv)}\n')
        cases[strategy] = (argv if strategy == "cargo" else run(root, strategy), root)
    for what, goal, rounds in rows:

        def clear(root):
            def clear():
                if what == "from scratch":
                    # The view's own folder of a staged copy, or the workspace's.
                    shell(f"for d in {root}/target $XDG_CACHE_HOME/devshell/*/copy/tree/*/target; do rm -rf $d; done")
                    sync()

            return clear

        timed = {strategy: Case("", argv, clear(root), root) for strategy, (argv, root) in cases.items()}
        interleave(list(timed.values()), rounds)
        for strategy in ["overlay", "copy"]:
            case = timed.get(strategy)
            row(f"cargo build of {name}, {what}, {strategy}", case and case.median, "cargo build",
                timed["cargo"].median, goal)


def staging(trees):
    """Copy staging of the largest tree that the disk bears twice."""
    size = max(size for size in trees if size <= 50_000)
    root, copy = trees[size], f"{PLACE}/peer"

    def clear():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
        sync()

    cases = [Case("devshell", run(root, "copy"), clear), Case("cp", ["cp", "-a", root, copy], clear)]
    if shutil.which("rsync"):
        cases.append(Case("rsync", ["rsync", "-a", f"{root}/", f"{copy}/"], clear))
    interleave(cases, SLOW)
    peak = memory(cases[0].argv, clear)
    row(f"first copy staging of {size} files and run", cases[0].median, "cp -a", cases[1].median, "<= 1.0", peak)
    if len(cases) > 2:
        row("the same", cases[0].median, "rsync -a", cases[2].median, "<= 0.6")
        events = f"{PLACE}/events.jsonl"
        ready = []

        def note():
            # What the round before took until its tool began.
            if os.path.exists(events):
                lines = [json.loads(line) for line in open(events)]
                ready.extend(line["t_ms"] / 1e3 for line in lines if line["type"] == "session_ready")
                os.remove(events)

        again = [Case("", run(root, "copy", "devshell.toml", "--events", events), note), Case("", cases[2].argv)]
        interleave(again, options.runs)
        note()
        row("second copy staging, nothing changed, until the tool begins", statistics.median(ready),
            "rsync -a, nothing changed", again[1].median, "<= 0.5")
        row("the same, and the run with the look at what it changed", again[0].median, "rsync -a, nothing changed",
            again[1].median, "", memory(again[0].argv, lambda: None))


def version(_=None):
    cases = [Case("", [DEVSHELL, "--version"])]
    peer = Case("", ["just", "--version"]) if shutil.which("just") else None
    interleave(cases + ([peer] if peer else []), options.runs)
    row("devshell --version", cases[0].median, "just --version", peer and peer.median, "<= 1.2")


def main():
    wanted = lambda name: options.only in name
    strategies = [strategy for strategy in ["overlay", "copy", "in_place"] if not refused(strategy)]
    for peer in ["bwrap", "rsync", "cp", "cargo", "just"]:
        if shutil.which(peer):
            text = subprocess.run([peer, "--version"], capture_output=True, text=True).stdout
            print(text.splitlines()[0])
        else:
            print(f"{peer}: not available")
    disk = subprocess.run(["stat", "-f", "-c", "%T", PLACE], capture_output=True, text=True).stdout.strip()
    print(f"Linux {os.uname().release}, {os.cpu_count()} cores, uid {os.getuid()}, {disk}, "
          f"medians of {options.runs} interleaved rounds (slow rows {SLOW})")
    floor = statistics.median(spawn(["/bin/true"]) for _ in range(20))
    print(f"/bin/true by itself: {floor * 1e3:.2f} ms, which every time below includes\n")
    print("| what | devshell | peer | peer's time | ratio | goal | peak memory |\n|---|---|---|---|---|---|---|")
    needs_trees = any(wanted(name) for name in ("starts", "edits", "staging"))
    trees = {size: tree(size, f"tree-{size}") for size in SIZES} if needs_trees else {}
    sync()
    if wanted("starts"):
        starts(strategies, trees)
    if wanted("further"):
        further(strategies)
    if wanted("edits"):
        edits([strategy for strategy in strategies if strategy != "in_place"], trees)
    if wanted("growth"):
        growth(strategies)
    if wanted("cargo"):
        cargo(strategies)
    if wanted("staging"):
        staging(trees)
    if wanted("version"):
        version()


main()
