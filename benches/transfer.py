"""What `benches/transfer.sh` runs: devshell with a sidecar that shares nothing, and rsync, in turn."""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

arguments = argparse.ArgumentParser()
arguments.add_argument("devshell", type=Path)
arguments.add_argument("place", type=Path)
arguments.add_argument("--files", type=int, default=50_000)
arguments.add_argument("--mib", type=int, default=1024)
arguments.add_argument("--runs", type=int, default=3)
options = arguments.parse_args()
devshell = options.devshell.resolve()
sidecar = devshell.with_name("devshell-vm")
place = options.place.resolve()

# What rsync takes for ssh: the host is dropped, the command runs here.
shell = place / "here"
shell.write_text('#!/bin/sh\nshift\nexec "$@"\n')
shell.chmod(0o755)


def timed(argv, folder):
    """Seconds and peak memory in MiB of a process."""
    start = time.monotonic()
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{argv}: {process.returncode}\n{said.decode(errors='replace')}")
    return time.monotonic() - start, usage.ru_maxrss / 1024


class Case:
    """A tree, its sidecar and its rsync."""

    def __init__(self, name):
        self.folder = place / name
        self.source = self.folder / "project"
        self.copy = self.folder / "copy"
        self.root = self.folder / "root"
        for folder in (self.source, self.root):
            folder.mkdir(parents=True)
        socket = self.folder / "s"
        (self.source / "devshell.toml").write_text(f'[vm]\nbackend = "beta"\n[vm.beta]\nsocket = "unix:{socket}"\n')
        self.server = subprocess.Popen(
            [sidecar, "--serve-socket", socket, "--root", self.root], stderr=subprocess.DEVNULL
        )
        while not socket.exists():
            time.sleep(0.01)

    def forget(self):
        for folder in (self.root / ".devshell-trees", self.copy, place / "cache", place / "state"):
            shutil.rmtree(folder, ignore_errors=True)

    def peak(self):
        text = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024

    def both(self, before):
        """Medians of both, in turn; `before` is done before each pair."""
        ours, theirs, memory = [], [], []
        for number in range(options.runs):
            before(number)
            seconds, mib = timed([devshell, "exec", "--", "true"], self.source)
            ours.append(seconds)
            memory.append(mib)
            argv = ["rsync", "-a", "--delete", "-e", shell, f"{self.source}/", f"host:{self.copy}/"]
            theirs.append(timed(argv, self.source)[0])
        return statistics.median(ours), statistics.median(theirs), max(memory)

    def row(self, name, before):
        ours, theirs, memory = self.both(before)
        print(
            f"{name:44} {ours:8.3f} s {theirs:8.3f} s {ours / theirs:7.2f} x {memory:8.1f} MiB {self.peak():8.1f} MiB",
            flush=True,
        )

    def end(self):
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.folder)


version = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
print(f"against {version}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {options.runs}")
print(f"{'whole run of `true`':44} {'devshell':>10} {'rsync -a':>10} {'ratio':>9} {'devshell':>12} {'devshell-vm':>12}")

case = Case("many")
for number in range(options.files):
    folder = case.source / f"d{number % 500}"
    folder.mkdir(exist_ok=True)
    (folder / f"f{number}").write_bytes((b"%d " % number * 2000)[:4096])
case.row(f"{options.files} files of 4 KiB, first", lambda _: case.forget())
case.row(f"{options.files} files, nothing changed", lambda _: None)


def change(number):
    for file in range(10):
        (case.source / f"d{file * 7}" / f"f{file * 7}").write_bytes(b"%d %d" % (number, file) * 400)


case.row(f"{options.files} files, 10 changed", change)
case.end()

case = Case("large")
with open(case.source / "large", "wb") as large:
    for _ in range(options.mib):
        large.write(os.urandom(1 << 20))
case.row(f"one file of {options.mib} MiB, first", lambda _: case.forget())
case.row(f"one file of {options.mib} MiB, nothing changed", lambda _: None)
case.end()
