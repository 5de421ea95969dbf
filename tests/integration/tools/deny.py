"""Runs a program under a seccomp filter that fails some system calls.

deny.py SYSCALL[:ARGUMENT:MASK]=ERRNO... -- PROGRAM ARGUMENT...

With ARGUMENT and MASK only calls whose argument has a bit of the mask. Ends with 77 where this
machine's numbers are not known."""
import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {"renameat2": 316, "fsync": 74, "fdatasync": 75, "syncfs": 306, "unshare": 272, "clone": 56, "clone3": 435,
           "openat2": 437}
ARCH = 0xC000003E
LOAD, EQUAL, BITS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def line(code, true, false, value):
    return struct.pack("HBBI", code, true, false, value)


def program(rules):
    lines = [line(LOAD, 0, 0, 4), line(EQUAL, 1, 0, ARCH), line(RETURN, 0, 0, ALLOW)]
    for rule in rules:
        what, error = rule.split("=")
        name, *condition = what.split(":")
        end = [line(RETURN, 0, 0, FAIL | getattr(errno, error))]
        if condition:
            argument, mask = (int(part, 0) for part in condition)
            end = [line(LOAD, 0, 0, 16 + 8 * argument), line(BITS, 0, 1, mask)] + end
        lines += [line(LOAD, 0, 0, 0), line(EQUAL, 0, len(end), NUMBERS[name])] + end
    return lines + [line(RETURN, 0, 0, ALLOW)]


def main():
    split = sys.argv.index("--")
    rules, command = sys.argv[1:split], sys.argv[split + 1:]
    if platform.machine() != "x86_64":
        sys.exit(77)
    lines = program(rules)
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(b"".join(lines))
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code)))
    # Only one who may not do without needs it, and it would tell on us.
    if os.geteuid() != 0:
        libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, ctypes.byref(filter), 0, 0) != 0:
        sys.exit(77)
    os.execvp(command[0], command)


main()
