"""Runs what reads hostile bytes in a child that can do next to nothing else. Knows nothing of jobs, HTTP or storage.

Three parts: `Confined` in ours, the nursery (a process of one thread that has PyAV loaded and forks), and its children,
made ahead. A question is the name of a task, a file in memory and plain arguments; the answer is JSON. Whatever happens
to the child, the one who asks gets an answer or an error of ours, at the latest after twice `Bounds.wall_s`.

What a child cannot do, though it may run an attacker's code:

* open a file, a socket or anything else that needs a descriptor: it may have no more of them (RLIMIT_NOFILE 0), and
  holds only the upload, read-only, the channel for its answers, and /dev/null;
* write into a file (RLIMIT_FSIZE 0), start a process or a thread (RLIMIT_NPROC 0), dump core, gain rights by a set-uid
  program (no_new_privs), or be traced by others of its user (not dumpable);
* take more memory, processor time or wall time than `Bounds` say; the kernel's out-of-memory killer takes it first;
* outlive the nursery, which ends with us (its channel closes, and the kernel kills children of a dead parent);
* know our secrets: the nursery is started, not forked from us, with an environment that holds none;
* on kernels with Landlock: change or run files by their path, trace other processes (Linux 5.13), signal them (6.12);
* where we run as root: use root's rights. The nursery becomes nobody once it is loaded.

What it can do: lie about the upload, sleep until it is killed, read the clock, make System V shared memory, change the
mode or the times of files of its user, and call into the kernel. There is no seccomp filter, so that a fault of the
kernel's own is not kept out. Without Landlock it may also signal and trace processes of its user and remove that
user's files. What of this is missing on a machine is logged at the start.

A child answers up to eight questions, as long as each answer is a value and quick: forking one, with all of FFmpeg
mapped, takes several times the processor time of looking into a note (8 to 10 ms against 1). So a child that was taken
over without a sign may also lie about, and remember, the up to seven uploads that come to it next. It can tell them to
nobody but the sender of one of these. ``Confined(uses=1)`` is the strict way.
"""

from voxqueue.audio.confined.asking import Bounds, Confined, Examiner, Unconfined, open_examiner

__all__ = ["Bounds", "Confined", "Examiner", "Unconfined", "open_examiner"]
