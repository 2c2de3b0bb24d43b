"""Called first in a disposable child, before it looks at the foreign file. Standard library only; Linux, degrading elsewhere."""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Rights a ruleset can handle by kernel interface version: all of them are, so whatever no rule allows is denied."""
NET_RIGHTS = 0b11
"""TCP bind and connect, from interface version 4 on."""
SYSTEM_READABLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom", "/sys/devices/system/cpu",
                   "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/fs/cgroup")  # fmt: skip


class _Ruleset(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def confine(*, memory_bytes: int, cpu_seconds: int, file_bytes: int, open_files: int, readable: tuple[int, ...] = ()) -> dict[str, bool]:
    """Give up memory, time, files, network and most of the file system for good.

    `readable` are descriptors (files or folders) that may be opened again by path. Answers which of the fences that some systems
    forbid (`network`, `files`) hold; the resource limits always do, or this raises.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for what, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 2),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, open_files, open_files),
    ):
        _lower(what, soft, hard)
    if sys.platform != "linux":
        return {"network": False, "files": False}
    network = libc.unshare(CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    return {"network": network, "files": _fence_files(libc, readable)}


def _lower(what: int, soft: int, hard: int) -> None:
    """An outer limit that is already stricter stays."""
    _, ceiling = resource.getrlimit(what)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(what, (soft, hard))


def _fence_files(libc: ctypes.CDLL, readable: tuple[int, ...]) -> bool:
    """Landlock: nothing can be written, executed or read but the interpreter, its libraries and `readable`. False: the kernel has none."""
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = FILE_RIGHTS[min(version, 3)]
    attributes = _Ruleset(rights, NET_RIGHTS if version >= 4 else 0)
    size = ctypes.sizeof(attributes) if version >= 4 else 8
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    if ruleset < 0:
        return False
    engine = Path(__file__).resolve().parents[1]
    for path in (*SYSTEM_READABLE, sys.prefix, sys.base_prefix, str(engine)):
        if os.path.exists(path):  # noqa: PTH110 - pathlib would be one more import for nothing
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            _allow_reading(libc, ruleset, fd)
            os.close(fd)
    for fd in readable:
        _allow_reading(libc, ruleset, fd)
    held = libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(held)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, fd: int) -> None:
    is_folder = (os.fstat(fd).st_mode & 0o170000) == 0o040000
    rule = _PathRule(READ_FILE | READ_DIR if is_folder else READ_FILE, fd)
    libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)


def peak_memory() -> int:
    """Bytes that this program alone has held at once: on Linux the figure of getrusage starts with that of the parent at the fork."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0]) << 10
