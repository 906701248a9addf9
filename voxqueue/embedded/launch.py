"""Turns itself into another program that dies with the one who started it. Runs as a script, standard library only.

It takes the place of a ``preexec_fn``, which may deadlock in a process that has threads. It starts with the caller's
rights and drops them itself, because the user that a server runs as may not be able to read this interpreter.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(parent: str, death_signal: str, uid: str, gid: str, *argv: str) -> None:
    """Become ``argv``. The kernel sends ``death_signal`` when the starting thread ends; uid -1 keeps the user."""
    if int(uid) >= 0:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    # After the change of user, which clears it; it outlives exec.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(death_signal)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):
        raise SystemExit(f"not starting {argv[0]}: the process that wanted it is gone")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
    os.execv(argv[0], argv)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(*sys.argv[1:])
