"""Takes from a process what reading a file does not need. Linux only. Must not know what the process is for."""

import ctypes
import os
import resource
import signal
import struct

NOBODY = 65_534

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
_LANDLOCK_VERSION = 1
_LANDLOCK_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}  # what each version can forbid; later ones 0xFFFF
_LANDLOCK_TCP = 0x3
_LANDLOCK_SCOPES = 0x3  # abstract sockets and signals

_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str | None:
    """What this kernel does not give, as a sentence for the log."""
    version = _landlock_version()
    if version >= 6:
        return None
    if version >= 1:
        return "This kernel does not keep confined children from signalling processes of their user; Linux 6.12 does."
    return (
        "This kernel has no Landlock (Linux 5.13 and later, where it is switched on): a confined child that is taken "
        "over could signal and trace processes of its user, and remove that user's files."
    )


def become_nobody() -> None:
    """Give up root's rights for good. Raises `OSError` where the user nobody cannot be taken."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def die_first() -> None:
    """Have the kernel's out-of-memory killer take this process, and those it forks, before all others."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, or end it if that has happened already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine(*, memory_bytes: int, cpu_s: int) -> None:
    """Everything but `seal`.

    Args:
        memory_bytes: How much address space it may have mapped, all in all; see `mapped_bytes`.
        cpu_s: Seconds of processor time; SIGXCPU ends it.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    _landlock()
    for limit, soft, hard in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),  # at the hard limit it would be SIGKILL, which says less
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))


def seal() -> None:
    """Let nothing be opened any more, and no descriptor change its meaning."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def mapped_bytes() -> int:
    """The address space that this process has mapped."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise _last_error(f"prctl {option}")


def _landlock_version() -> int:
    """0 where the kernel has none, or where it is switched off or forbidden."""
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)))


def _landlock() -> None:
    """Forbid all that this kernel's Landlock can forbid."""
    version = _landlock_version()
    if not version:
        return
    rules = struct.pack("=Q", _LANDLOCK_FILES.get(version, 0xFFFF))
    rules += struct.pack("=Q", _LANDLOCK_TCP) if version >= 4 else b""
    rules += struct.pack("=Q", _LANDLOCK_SCOPES) if version >= 6 else b""
    ruleset = int(_libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0))
    if ruleset < 0:
        raise _last_error("landlock_create_ruleset")
    if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
        raise _last_error("landlock_restrict_self")
    os.close(ruleset)


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
