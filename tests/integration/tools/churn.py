"""A tree, and a tool that changes most of it: the same every time, times included.

churn.py make FOLDERS     makes the old tree in the current folder
churn.py change FOLDERS   turns it into the new one; a tree that is new already stays as it is
"""
import os
import shutil
import sys

FILES = 100
OLD, NEW = 1_000_000_000, 1_200_000_000


def stamp(path, base, salt):
    time = (base + salt) * 1_000_000_000 + salt * 7919 % 1_000_000_000
    os.utime(path, ns=(time, time), follow_symlinks=False)


def put(path, text, mode=0o644):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def make(folders):
    for k in range(folders):
        folder = f"d{k:02}"
        os.mkdir(folder)
        for i in range(FILES):
            path = f"{folder}/f{i:03}"
            if i % 20 == 19:
                os.symlink(f"f{i - 1:03}", path)
            else:
                put(path, f"old {k} {i}\n" * (1 + i), 0o755 if i % 10 == 3 else 0o644)
            stamp(path, OLD, k * FILES + i)
        os.mkdir(f"{folder}/sub")
        put(f"{folder}/sub/in", f"in {k}\n")
        stamp(f"{folder}/sub/in", OLD, k)
        stamp(f"{folder}/sub", OLD, k)
    for k in range(folders):
        os.chmod(f"d{k:02}", 0o750 if k % 3 else 0o755)
        stamp(f"d{k:02}", OLD, k)
    stamp(".", OLD, 0)


def edit(folder, k):
    """In place, by a rename over the old one, and cut short."""
    for i in range(FILES):
        path = f"{folder}/f{i:03}"
        if i % 3 == 0 and not os.path.islink(path):
            with open(path, "r+") as file:
                file.write(f"new {k} {i}\n")
        elif i % 3 == 1:
            put(f"{path}~", f"over {k} {i}\n", 0o640)
            os.rename(f"{path}~", path)
        elif os.path.islink(path):
            continue
        else:
            os.truncate(path, 3)
        stamp(path, NEW, k * FILES + i)


def delete(folder, k):
    for i in range(FILES):
        path = f"{folder}/f{i:03}"
        if i % 2:
            os.unlink(path)
        else:
            os.chmod(path, 0o600)
            stamp(path, NEW, k * FILES + i)


def swap_kinds(folder, k):
    """Files become folders, and a folder becomes a file."""
    shutil.rmtree(f"{folder}/sub")
    put(f"{folder}/sub", f"a file now {k}\n")
    stamp(f"{folder}/sub", NEW, k)
    for i in range(0, FILES, 2):
        path = f"{folder}/f{i:03}"
        os.unlink(path)
        os.mkdir(path)
        put(f"{path}/in", f"{k} {i}\n")
        stamp(f"{path}/in", NEW, i)
        stamp(path, NEW, i)


def grow(folder, k):
    """New folders in new folders, and a whole folder gone."""
    shutil.rmtree(f"{folder}/sub")
    for a in range(6):
        for b in range(4):
            deep = f"{folder}/n{a}/m{b}"
            os.makedirs(deep)
            for i in range(4):
                put(f"{deep}/new{i}", f"{k} {a} {b} {i}\n" * 100)
                stamp(f"{deep}/new{i}", NEW, i)
            os.symlink("../../f001", f"{deep}/link")
            stamp(f"{deep}/link", NEW, b)
            os.chmod(deep, 0o700)
            stamp(deep, NEW, b)
        stamp(f"{folder}/n{a}", NEW, a)


def relink(folder, k):
    """Links lead elsewhere, files become links, and others only get a new time or mode."""
    for i in range(FILES):
        path = f"{folder}/f{i:03}"
        if i % 20 == 19 or i % 5 == 0:
            os.unlink(path)
            os.symlink(f"../d00/f{i:03}", path)
        elif i % 5 == 1:
            os.chmod(path, 0o700)
        stamp(path, NEW, k * FILES + i)


def change(folders):
    if os.path.exists("new"):
        return
    for k in range(folders):
        if k % 6 == 5:
            continue
        folder = f"d{k:02}"
        [edit, delete, swap_kinds, grow, relink][k % 6](folder, k)
        os.chmod(folder, 0o755)
        stamp(folder, NEW, k)
    put("new", "this tree is the new one\n")
    stamp("new", NEW, 1)
    stamp(".", NEW, 2)


{"make": make, "change": change}[sys.argv[1]](int(sys.argv[2]))
