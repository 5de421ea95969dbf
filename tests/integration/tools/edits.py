"""A random tree, and a tool that does random things to it: the same ones for the same seed.

edits.py make SEED         makes a tree in the current folder
edits.py edit SEED COUNT   does COUNT random operations in it, and says each with its outcome
edits.py part              gives each name of a hard-linked file a file of its own
"""
import mmap
import os
import random
import shutil
import stat
import sys

NAMES = [b"a", b"b", b"c", b"src", b"lib.rs", b"with space", b"new\nline", b"\xff\xfe", b"-rf", b"*", b".hidden", b"long" * 6]
FILE_MODES = [0o644, 0o600, 0o755, 0o444, 0o640, 0o664]
DIR_MODES = [0o755, 0o700, 0o775, 0o750]
TARGETS = [b"a", b"../b", b"..", b".", b"/etc", b"/etc/passwd", b"nowhere/at/all", b"src/lib.rs"]

KEPT = b"devshell.toml"


def walk():
    """Every path by kind, in an order that does not depend on the file system."""
    files, folders, links = [], [], []
    for folder, names, others in os.walk(b"."):
        names.sort()
        for name in sorted(names + others):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                links.append(path)
            elif stat.S_ISDIR(mode):
                folders.append(path)
            elif name != KEPT:
                files.append(path)
    return files, folders, links


def set_time(path, rng):
    # Long past: times of today are those that nobody set.
    time = rng.randrange(900_000_000, 1_500_000_000) * 1_000_000_000 + rng.randrange(1_000_000_000)
    os.utime(path, ns=(time, time), follow_symlinks=False)


def some_bytes(rng):
    return rng.randbytes(rng.choice([0, 1, 17, 200, 4096, 5000, 70_000]))


def free(folders, rng):
    """A path that is not there yet."""
    for _ in range(20):
        path = os.path.join(rng.choice(folders + [b"."]), rng.choice(NAMES) + rng.choice([b"", b"1", b"2", b"3"]))
        if not os.path.lexists(path):
            return path
    return None


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def make(rng):
    for _ in range(rng.randrange(4, 15)):
        if path := free(walk()[1], rng):
            os.mkdir(path, rng.choice(DIR_MODES))
    for _ in range(rng.randrange(20, 90)):
        if path := free(walk()[1], rng):
            write(path, some_bytes(rng))
            os.chmod(path, rng.choice(FILE_MODES))
    for _ in range(rng.randrange(2, 8)):
        if path := free(walk()[1], rng):
            os.symlink(rng.choice(TARGETS), path)
    files, folders, links = walk()
    for path in files + links + folders[::-1] + [b"."]:
        set_time(path, rng)


class Edit:
    """The operations. Each draws its numbers before it does anything, so that a failure does not
    lead one tree another way than the other."""

    def __init__(self, rng):
        self.rng = rng

    def pick(self):
        self.files, self.folders, self.links = walk()
        rng = self.rng
        self.file = rng.choice(self.files or [None])
        self.other = rng.choice(self.files or [None])
        self.folder = rng.choice(self.folders or [None])
        self.link = rng.choice(self.links or [None])
        self.free = free(self.folders, rng)
        self.data = some_bytes(rng)
        self.dice = rng.randrange(1 << 30)

    def writable(self, path):
        mode = os.lstat(path).st_mode
        if not mode & stat.S_IWUSR:
            os.chmod(path, stat.S_IMODE(mode) | stat.S_IWUSR)

    def create(self):
        write(self.free, self.data)

    def append(self):
        self.writable(self.file)
        with open(self.file, "ab") as file:
            file.write(self.data)

    def truncate(self):
        # To the same length: some file systems set the time then, and some do not.
        size, length = os.path.getsize(self.file), self.dice % (2 * os.path.getsize(self.file) + 1)
        if size != length:
            self.writable(self.file)
            os.truncate(self.file, length)

    def overwrite(self):
        self.writable(self.file)
        with open(self.file, "r+b") as file:
            file.seek(self.dice % (os.path.getsize(self.file) + 1))
            file.write(self.data)

    def same_bytes(self):
        data = open(self.file, "rb").read()
        if data:
            self.writable(self.file)
            write(self.file, data)

    def map(self):
        size = os.path.getsize(self.file)
        self.writable(self.file)
        if size:
            with open(self.file, "r+b") as file, mmap.mmap(file.fileno(), size) as view:
                view[self.dice % size] = self.dice & 255
                view.flush()

    def sparse(self):
        with open(self.free, "wb") as file:
            file.truncate(300_000 + self.dice % 100_000)
            file.seek(self.dice % 300_000)
            file.write(b"data")

    def rename(self):
        os.rename(self.file, self.free)

    def rename_over(self):
        os.rename(self.file, self.other)

    def save(self):
        write(b"./~saved", self.data)
        os.rename(b"./~saved", self.file)

    def link_to(self):
        os.link(self.file, self.free)

    def unlink(self):
        os.unlink(self.file)

    def rmtree(self):
        # Not too often, or there is nothing left.
        if self.dice % 3 == 0:
            shutil.rmtree(self.folder)

    def remake(self):
        shutil.rmtree(self.folder)
        os.mkdir(self.folder)
        write(self.folder + b"/again", self.data)

    def mkdir(self):
        os.makedirs(self.free + b"/deep/er")

    def file_to_folder(self):
        os.unlink(self.file)
        os.mkdir(self.file)
        write(self.file + b"/in", self.data)

    def folder_to_file(self):
        if self.dice % 3 == 0:
            shutil.rmtree(self.folder)
            write(self.folder, self.data)

    def symlink(self):
        os.symlink(TARGETS[self.dice % len(TARGETS)], self.free)

    def swap_link(self):
        os.unlink(self.link)
        os.symlink(TARGETS[self.dice % len(TARGETS)] + b"2", self.link)

    def link_to_file(self):
        os.unlink(self.link)
        write(self.link, self.data)

    def file_to_link(self):
        os.unlink(self.file)
        os.symlink(TARGETS[self.dice % len(TARGETS)], self.file)

    def folder_to_link(self):
        if self.dice % 4 == 0:
            shutil.rmtree(self.folder)
            os.symlink(TARGETS[self.dice % len(TARGETS)], self.folder)

    def chmod(self):
        os.chmod(self.file, FILE_MODES[self.dice % len(FILE_MODES)])

    def chmod_folder(self):
        os.chmod(self.folder, DIR_MODES[self.dice % len(DIR_MODES)])

    def touch(self):
        set_time(self.file, random.Random(self.dice))

    def touch_folder(self):
        set_time(self.folder, random.Random(self.dice))

    def move_folder(self):
        if not self.free.startswith(self.folder + b"/"):
            shutil.move(os.fsdecode(self.folder), os.fsdecode(self.free))

    def copy_folder(self):
        if not self.free.startswith(self.folder + b"/") and len(self.files) < 400:
            shutil.copytree(self.folder, self.free, symlinks=True)


def edit(rng, count):
    edit = Edit(rng)
    operations = sorted(name for name in vars(Edit) if name not in ("pick", "writable") and name[0] != "_")
    for number in range(count):
        edit.pick()
        name = rng.choice(operations)
        try:
            getattr(edit, name)()
            outcome = "ok"
        except (OSError, TypeError, shutil.Error) as error:
            # There was nothing to do it to, or it may not be done; in every view alike.
            outcome = getattr(error, "strerror", None) or type(error).__name__
        print(number, name, edit.file, edit.folder, edit.free, outcome)


def part():
    for path in walk()[0]:
        if os.lstat(path).st_nlink > 1:
            folder = os.path.dirname(path)
            before = os.lstat(folder)
            shutil.copy2(path, b"./~part")
            os.rename(b"./~part", path)
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "make":
        make(random.Random(int(rest[0])))
    elif what == "edit":
        edit(random.Random(int(rest[0])), int(rest[1]))
    else:
        part()
