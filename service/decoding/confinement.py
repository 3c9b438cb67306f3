"""What a decoding process gives up before it sees an upload.

Always, by POSIX: it cannot grow beyond its memory, run longer than its processor time, open or write a file. On Linux
besides, as far as the machine allows, and `confine` says what was reached:

* system calls are filtered by seccomp (x86-64 and arm64): what decoding needs is allowed, and everything else fails: no
  file can be opened, no socket made, no program started, no memory made executable, no process looked at or signalled;
* a network namespace of its own, without any interface (needs root, or user namespaces, which containers often forbid);
* another user than root, where the service runs as root (in the image it does not);
* no new privileges, and no other process of the same user may look into it.
"""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
import sys

NOBODY = 65534

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
SECCOMP_MODE_FILTER = 2

# Numbers of the system calls that decoding needs, by machine (linux/arch/x86/entry/syscalls, asm-generic/unistd.h):
# read, write, close, fstat, newfstatat, lseek, pread64, readv, writev, sendto, sendmsg, munmap, mremap, brk, madvise,
# rt_sigaction, rt_sigprocmask, rt_sigreturn, restart_syscall, sched_yield, sched_getaffinity, futex, getpid, gettid,
# clock_gettime, getrandom, exit, exit_group.
# fmt: off
ALLOWED_CALLS = {
    "x86_64": (0, 1, 3, 5, 262, 8, 17, 19, 20, 44, 46, 11, 25, 12, 28,
               13, 14, 15, 219, 24, 204, 202, 39, 186, 228, 318, 60, 231),
    "aarch64": (63, 64, 57, 80, 79, 62, 67, 65, 66, 206, 211, 215, 216, 214, 233,
                134, 135, 139, 128, 124, 123, 98, 172, 178, 113, 278, 93, 94),
}
# fmt: on
MAPPING_CALLS = {"x86_64": (9, 10), "aarch64": (222, 226)}  # mmap, mprotect: allowed without PROT_EXEC
AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
PROT_EXEC = 4

# Classic BPF: what is loaded stands in `struct seccomp_data` (number, architecture, instruction pointer, arguments).
BPF_LOAD, BPF_IF_EQUAL, BPF_IF_BITS, BPF_RETURN = 0x20, 0x15, 0x45, 0x06
AT_NUMBER, AT_ARCH, AT_THIRD_ARGUMENT = 0, 4, 32
ALLOW, DENY, KILL = 0x7FFF_0000, 0x0005_0000 | errno.EPERM, 0x8000_0000


def isolate() -> list[str]:
    """Once for all decoding processes, before any of them is made: no network, not root. Returns what was reached."""
    reached = []
    root = os.geteuid() == 0
    if sys.platform == "linux" and _libc().unshare(CLONE_NEWNET | (0 if root else CLONE_NEWUSER)) == 0:
        reached.append("no network")
    if root:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    if os.geteuid() != 0:
        reached.append(f"uid {os.geteuid()}")
    return reached


def confine(memory_bytes: int, cpu_s: int) -> list[str]:
    """Give everything up for good.

    Args:
        memory_bytes: address space beyond what the process has now.
        cpu_s: seconds of processor time from now on.

    Returns:
        What was reached beyond POSIX limits.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    now_s = int(used.ru_utime + used.ru_stime)
    limits = {
        resource.RLIMIT_AS: _address_space_bytes() + memory_bytes,
        resource.RLIMIT_CPU: now_s + cpu_s,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)  # what the whole service was started under may be lower
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lower, lower))
    if sys.platform != "linux":
        return []
    libc, reached = _libc(), []
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        reached.append("no new privileges")
        if _filter_calls(libc):
            reached.append("seccomp")
    return reached


def _address_space_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 32  # not Linux: there this limit is hardly kept anyway


def _filter_calls(libc: ctypes.CDLL) -> bool:
    machine = platform.machine()
    if machine not in AUDIT_ARCH:
        return False
    program = seccomp_program(machine)
    instructions = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    filter_ = Program(len(program) // 8, ctypes.addressof(instructions))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0) == 0)


def seccomp_program(machine: str) -> bytes:
    """The filter in classic BPF, eight bytes an instruction; a jump says how many instructions are stepped over."""
    plain, mapping = ALLOWED_CALLS[machine], MAPPING_CALLS[machine]
    instructions = [
        (BPF_LOAD, 0, 0, AT_ARCH),
        (BPF_IF_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (BPF_RETURN, 0, 0, KILL),
        (BPF_LOAD, 0, 0, AT_NUMBER),
    ]
    deny_at = len(instructions) + len(plain) + len(mapping)
    check_at, allow_at = deny_at + 1, deny_at + 4
    for number in plain:
        instructions.append((BPF_IF_EQUAL, allow_at - len(instructions) - 1, 0, number))
    for number in mapping:
        instructions.append((BPF_IF_EQUAL, check_at - len(instructions) - 1, 0, number))
    instructions += [
        (BPF_RETURN, 0, 0, DENY),
        (BPF_LOAD, 0, 0, AT_THIRD_ARGUMENT),
        (BPF_IF_BITS, 0, 1, PROT_EXEC),
        (BPF_RETURN, 0, 0, DENY),
        (BPF_RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
