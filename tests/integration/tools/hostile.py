"""A tool that means harm: tries everything that it should not be able to reach.

hostile.py TARGETS            tries all; a line of JSON for each: what, reached, why. Ends with 1.
hostile.py plant MARK -- ...  puts a key into a session keyring of its own, then runs a program.

TARGETS is a JSON file that says where things are. Nothing that is reached is damaged for good:
what is written is a mark, what is killed was made for it."""
import ctypes
import errno
import fcntl
import json
import os
import platform
import signal
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {"x86_64": (248, 250, 164), "aarch64": (217, 219, 170)}
ADD_KEY, KEYCTL, SETTIMEOFDAY = NUMBERS.get(platform.machine(), (None, None, None))
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REMOUNT, MNT_DETACH = 4096, 32, 2
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SESSION_KEYRING, SEARCH, READ, JOIN = -3, 10, 11, 1


class Untried(Exception):
    pass


def call(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def write(path, text="hostile\n", flags=os.O_APPEND):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    os.write(fd, text.encode())
    os.close(fd)


def mount(source, target, kind, flags):
    call(libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None))


def nested():
    """Root in a user and a mount namespace of its own."""
    uid, gid = os.getuid(), os.getgid()
    call(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    write("/proc/self/setgroups", "deny", 0)
    write("/proc/self/uid_map", f"0 {uid} 1", 0)
    write("/proc/self/gid_map", f"0 {gid} 1", 0)


def attempts(*ways):
    """The first that works; each in a process of its own, for some change where they are."""
    why = []
    for way in ways:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                way()
                os._exit(0)
            except OSError as error:
                os.write(writer, f"{error}".encode())
            except BaseException as error:
                os.write(writer, f"{error!r}".encode())
            os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            text = stream.read().decode()
        _, status = os.waitpid(pid, 0)
        if status == 0:
            return
        why.append(text)
    raise OSError(errno.EPERM, "; ".join(why))


# Each function is a row of the table.


def kill_another_process(at):
    os.kill(at["victim"], signal.SIGKILL)


def trace_another_process(at):
    trace(at["traced"])


def trace_the_keeper(at):
    trace(os.getppid())


def trace(pid):
    call(libc.ptrace(PTRACE_ATTACH, pid, None, None))
    os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, None, None)


def write_a_file_outside(at):
    path = at["outside"] + "/file"

    def remounted():
        mount("none", "/", "", MS_REMOUNT | MS_BIND)
        mount("none", at["outside"], "", MS_REMOUNT | MS_BIND)
        write(path)

    def in_a_nested_namespace():
        nested()
        remounted()

    def through_a_bind():
        nested()
        mount(at["outside"], at["workspace"], "", MS_BIND)
        write(at["workspace"] + "/file")

    attempts(lambda: write(path), remounted, in_a_nested_namespace, through_a_bind,
             lambda: write("/proc/1/root" + path), lambda: write(f"/proc/{at['victim']}/root" + path))


def change_mode_and_time_outside(at):
    path = at["outside"] + "/file"
    attempts(lambda: os.chmod(path, 0o640), lambda: os.utime(path, (1, 1)), lambda: os.setxattr(path, "user.x", b"x"))


def write_through_an_open_folder(at):
    fd = os.open("through-the-folder", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=at["folder"])
    os.close(fd)


def read_the_hosts_tmp(at):
    os.close(os.open(at["in_tmp"], os.O_RDONLY))


def mount_for_the_host(at):
    mount("hostile", at["outside"] + "/mnt", "tmpfs", 0)


def reach_a_server_of_the_host(at):
    socket.create_connection(("127.0.0.1", at["port"]), 5).close()


def reach_an_abstract_socket(at):
    unix("\0" + at["abstract"])


def reach_a_socket_in_a_folder(at):
    unix(at["outside"] + "/socket")


def unix(address):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(address)


def read_a_disk(at):
    if not at["disk"]:
        raise Untried("there is no disk")
    device, major, minor = at["disk"]
    node = at["workspace"] + "/disk"

    def made():
        os.mknod(node, 0o60600, os.makedev(major, minor))
        read(node)

    def read(path):
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 512)

    attempts(lambda: read(device), made)


def write_to_a_terminal_of_the_host(at):
    fd = os.open(at["terminal"], os.O_WRONLY | os.O_NOCTTY)
    os.write(fd, b"hostile")


def set_a_sysctl(at):
    path = "/proc/sys/vm/swappiness"

    def same():
        with open(path) as file:
            value = file.read()
        write(path, value, 0)

    def remounted():
        mount("none", "/proc/sys", "", MS_REMOUNT | MS_BIND)
        same()

    def mounted_anew():
        mount("proc", "/proc", "proc", 0)
        same()

    attempts(same, remounted, mounted_anew)


def set_the_clock(at):
    if SETTIMEOFDAY is None:
        raise Untried("the number of the system call is not known here")
    # To nothing: whoever may set it is told that this is done.
    call(libc.syscall(SETTIMEOFDAY, None, None))


def read_a_key_of_the_session(at):
    if KEYCTL is None:
        raise Untried("the number of the system call is not known here")
    try:
        key = call(libc.syscall(KEYCTL, SEARCH, SESSION_KEYRING, b"user", at["mark"].encode(), 0))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise Untried("this kernel has no keyrings")
        raise
    call(libc.syscall(KEYCTL, READ, key, ctypes.create_string_buffer(16), 16))


def write_system_v_memory(at):
    if at["memory"] is None:
        raise Untried("there is no System V memory")
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(at["memory"], None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ctypes.memset(address, 1, 1)


def make_a_cgroup(at):
    roots = [place.split()[1] for place in open(at["mounts"]) if place.split()[2] in ("cgroup", "cgroup2")]
    if not roots:
        raise Untried("there are no cgroups")
    attempts(*(lambda root=root: os.mkdir(f"{root}/{at['mark']}") for root in roots))


def outlive_the_run_as_a_daemon(at):
    if os.fork() == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            for fd in range(3):
                os.dup2(os.open("/dev/null", os.O_RDWR), fd)
            os.execv("/bin/sh", ["sh", "-c", "sleep 600; : " + at["mark"]])
        os._exit(0)
    # Whether it does is for those outside to see.
    os.wait()


def write_the_real_tree(at):
    """Before the run has succeeded, past the view. The last: the view may be gone afterwards."""
    path = at["workspace"] + "/file"

    def uncovered():
        call(libc.umount2(at["workspace"].encode(), MNT_DETACH))
        write(path)

    def in_a_nested_namespace():
        nested()
        uncovered()

    def seen_from_above():
        nested()
        mount(os.path.dirname(at["workspace"]), "/mnt", "", MS_BIND)
        write("/mnt/" + os.path.basename(at["workspace"]) + "/file")

    for way in (lambda: write(path), uncovered, in_a_nested_namespace, seen_from_above):
        try:
            attempts(way)
        except OSError:
            pass


ROWS = [
    kill_another_process, trace_another_process, trace_the_keeper, write_a_file_outside, change_mode_and_time_outside,
    write_through_an_open_folder, read_the_hosts_tmp, mount_for_the_host, reach_a_server_of_the_host,
    reach_an_abstract_socket, reach_a_socket_in_a_folder, read_a_disk, write_to_a_terminal_of_the_host, set_a_sysctl,
    set_the_clock, read_a_key_of_the_session, write_system_v_memory, make_a_cgroup, outlive_the_run_as_a_daemon,
    write_the_real_tree,
]


def plant(mark, command):
    if KEYCTL is not None:
        libc.syscall(KEYCTL, JOIN, None)
        libc.syscall(ADD_KEY, b"user", mark.encode(), b"secret", 6, SESSION_KEYRING)
    os.execvp(command[0], command)


def main():
    if sys.argv[1] == "plant":
        plant(sys.argv[2], sys.argv[4:])
    at = json.loads(sys.argv[1])
    for row in ROWS:
        reached, why = True, ""
        try:
            row(at)
        except Untried as error:
            reached, why = None, str(error)
        except OSError as error:
            reached, why = False, str(error)
        print(json.dumps({"what": row.__name__, "reached": reached, "why": why}), flush=True)
    sys.exit(1)


main()
