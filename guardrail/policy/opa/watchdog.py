"""Runs an OPA server for a guard, and ends it with the guard.

Run as a script by ``guardrail.policy.opa.private``; never imported by guardrail. It starts without
site-packages and imports nothing from guardrail.

Arguments: the server's folder, and the command that starts the server. The guard holds the other
end of standard input. It sends ``k`` to kill the server. If the pipe is closed, which also happens
if the guard dies, the server is killed and its folder is removed. Standard output gets one line
with the server's process id, and one with its exit status, followed by the last bytes that the
server wrote.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys

TAIL = 4_096
"""Number of bytes of the server's error output that are kept."""
CHECK_MS = 500
"""How often the server is checked if it does not write anything, in milliseconds."""
ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
PR_SET_PDEATHSIG = 1

_library = None


def load_library() -> None:
    """Load the C library before the fork, so that the child only makes a system call."""
    global _library
    if sys.platform == "linux":
        import ctypes

        _library = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Make the kernel kill the server if this process is killed. Linux only; elsewhere, a server
    whose watchdog is killed keeps running.
    """
    if _library is not None:
        _library.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def main(folder: str, command: list[str]) -> None:
    """Run *command* until it ends or the guard has ended."""
    load_library()
    if not watch(command):
        shutil.rmtree(folder, ignore_errors=True)


def watch(command: list[str]) -> bool:
    """Run *command* until it ends or the guard has ended. Return True if the guard still waits for
    the report.
    """
    try:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={},
            cwd="/",
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        _report(b"exit 126\n%b" % (error.strerror or "").encode())
        return True
    _report(b"pid %d\n" % server.pid)
    assert server.stdout is not None
    output = server.stdout.fileno()
    tail = bytearray()
    poll = select.poll()
    for each in (0, output):
        poll.register(each, select.POLLIN | select.POLLHUP)
    guarded = alive = True
    while alive:
        ready = [descriptor for descriptor, _ in poll.poll(CHECK_MS)]
        if 0 in ready:
            if not os.read(0, 1):  # the guard has ended, or no longer needs the server
                guarded = False
            _kill(server.pid)
            alive = False
        if output in ready:
            block = os.read(output, 65_536)
            tail += block
            del tail[:-TAIL]
            alive = alive and bool(block)
        # A process that the server started can keep its output open.
        alive = alive and os.waitid(os.P_PID, server.pid, ENDED) is None
    _kill(server.pid)
    status = server.wait()
    if guarded:
        _report(b"exit %d\n" % status + bytes(tail))
    return guarded


def _kill(server: int) -> None:
    """Kill the server and the processes that it started. It has not been waited for, so its number
    still belongs to it.
    """
    try:
        os.killpg(server, signal.SIGKILL)
    except OSError:
        pass  # it is dead


def _report(data: bytes) -> None:
    try:
        os.write(1, data)
    except OSError:
        pass  # nobody listens any more


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
