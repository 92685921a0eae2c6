"""Starts a worker process, exchanges frames with it, and kills it. Used by the parent.

This module does not start threads and knows nothing about policies.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from guardrail.errors import PolicyError

__all__ = [
    "ENGINE",
    "ENGINE_VERSION",
    "HEADER",
    "TICK",
    "Frame",
    "FrameError",
    "WorkerDeath",
    "WorkerProcess",
    "engine_folder",
    "error_body",
    "frame",
]

ENGINE = "regorus"
ENGINE_VERSION = "0.13.0"
"""The only version whose differences from OPA are known; see docs/adr/0005."""

HEADER = struct.Struct(">I16sc")
_HEADER_SIZE = HEADER.size
TICK = 0.025
"""Seconds between checks of the limits while requests are running, and therefore the maximum delay
in enforcing a limit.
"""
_ID_AND_KIND = 17
_PIPE_SIZE = 1 << 20
_READ_SIZE = 1 << 16
_STDERR_TAIL = 4_096
_SCRIPT = Path(__file__).with_name("worker.py")


@cache
def engine_folder() -> str:
    """Return the folder that contains the engine's module. Raises ``PolicyError`` unless the module
    is exactly the pinned version.
    """
    try:
        found = importlib.metadata.version("gordon-to-regorus")
    except importlib.metadata.PackageNotFoundError:
        found = ""
    if found != ENGINE_VERSION:
        raise PolicyError(
            f"the embedded policy engine is version {found or 'none'}, but only {ENGINE_VERSION} "
            "is known to match OPA",
            cause="unreachable",
            detail="engine_version",
            hint=f"pip install gordon-to-regorus=={ENGINE_VERSION}",
        )
    files = importlib.metadata.files("gordon-to-regorus") or ()
    for file in files:
        if file.name.startswith("regorus.") and file.name.endswith(".so"):
            return str(Path(str(file.locate())).parent.parent)
    raise PolicyError(
        "the embedded policy engine's native library is missing",
        cause="unreachable",
        detail="engine_version",
        hint=f"pip install --force-reinstall gordon-to-regorus=={ENGINE_VERSION}",
    )


def frame(rid: bytes, kind: bytes, body: bytes) -> bytes:
    """Return a request frame. *rid* is 16 bytes long, and *kind* is 1 byte."""
    return HEADER.pack(_ID_AND_KIND + len(body), rid, kind) + body


class Frame(NamedTuple):
    """A worker's answer frame."""

    rid: bytes
    kind: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class WorkerDeath:
    """How a worker process ended."""

    cause: str
    """``crashed`` or ``timeout``."""
    detail: str
    """``eval_limit`` (its own timer), ``memory``, ``segv``, ``aborted``, ``killed``, ``signal`` or
    ``exited``.
    """


class FrameError(Exception):
    """The worker sent an invalid frame, or announced one that is too large."""


def error_body(answer: Frame) -> dict[str, object]:
    """Return the error in an ``e`` frame, or an empty dictionary for other frames and for
    unreadable errors.
    """
    if answer.kind != b"e":
        return {}
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


class WorkerProcess:
    """A running worker.

    Not thread-safe: callers hold the owner's lock.
    """

    __slots__ = ("_buffer", "_output", "_popen", "_stderr", "pending", "reader", "writer")

    def __init__(self, *, memory: int, script: Path | None = None) -> None:
        """Start the process in its own session, without inherited descriptors or environment.
        Raises ``OSError``.
        """
        folder = engine_folder()
        self._stderr = _memory_file()
        try:
            self._popen = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(script or _SCRIPT),
                    folder,
                    str(memory),
                    str(os.getpid()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr if self._stderr is not None else subprocess.DEVNULL,
                # Stack traces in the engine's errors would cost 150 ms each.
                env={"RUST_BACKTRACE": "0"},
                close_fds=True,
                start_new_session=True,
                cwd="/",
                bufsize=0,
            )
        except BaseException:
            if self._stderr is not None:
                os.close(self._stderr)
            raise
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self.writer = self._popen.stdin.fileno()
        self.reader = self._popen.stdout.fileno()
        self.pending = bytearray()
        """Data that did not fit into the pipe yet."""
        self._buffer = bytearray()
        self._output = select.poll()
        self._output.register(self.reader, select.POLLIN)
        for descriptor in (self.writer, self.reader):
            os.set_blocking(descriptor, False)
            _grow_pipe(descriptor)

    @property
    def pid(self) -> int:
        """Process id, for tests and reports."""
        return self._popen.pid

    def write(self, data: bytes) -> bool:
        """Send as much of *data* as the pipe accepts and buffer the rest. Return True if all of it
        was sent. A broken pipe counts as sent, because the code that reads notices and handles the
        worker's death.
        """
        if self.pending:
            self.pending += data
            return False
        try:
            sent = os.write(self.writer, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return True
        if sent == len(data):
            return True
        self.pending += data[sent:]
        return False

    def flush(self) -> bool:
        """Send buffered data. Return True if the buffer is empty afterwards."""
        data = bytes(self.pending)
        self.pending.clear()
        return self.write(data) if data else True

    def read(self) -> bool:
        """Read the worker's output. Return False at end of file, which means that the worker is
        dead.
        """
        try:
            chunk = os.read(self.reader, _READ_SIZE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._buffer += chunk
        return bool(chunk)

    @property
    def has_data(self) -> bool:
        """True if some output has been read but not yet returned as a frame."""
        return bool(self._buffer)

    def is_silent(self) -> bool:
        """Return True if the worker is running and all its output has been returned as frames."""
        return not self._buffer and not self._output.poll(0)

    def next_frame(self, limit: int, rid: bytes) -> Frame | None:
        """Return the next answer if it is complete, and remove it from the buffer.

        Raises ``FrameError``, and removes nothing, if the answer belongs to a request other than
        *rid*, is larger than *limit* bytes, or is invalid.
        """
        buffer = self._buffer
        if len(buffer) < _HEADER_SIZE:
            return None
        length, found, kind = HEADER.unpack_from(buffer)
        if found != rid or not _ID_AND_KIND <= length <= limit + _ID_AND_KIND:
            raise FrameError
        end = 4 + length
        if end > len(buffer):
            return None
        body = bytes(buffer[_HEADER_SIZE:end])
        del buffer[:end]
        return Frame(found, kind, body)

    def frames(self, limit: int) -> Iterator[Frame]:
        """Yield the complete answers, and remove them from the buffer.

        Raises ``FrameError`` if the worker announces a body larger than *limit* bytes, or sends an
        invalid frame.
        """
        buffer = self._buffer
        start = 0
        size = len(buffer)
        try:
            while size - start >= _HEADER_SIZE:
                length, rid, kind = HEADER.unpack_from(buffer, start)
                if not _ID_AND_KIND <= length <= limit + _ID_AND_KIND:
                    raise FrameError
                end = start + 4 + length
                if end > size:
                    return
                body = bytes(buffer[start + _HEADER_SIZE : end])
                start = end
                yield Frame(rid, kind, body)
        finally:
            if start:
                del buffer[:start]

    def kill(self) -> WorkerDeath:
        """Kill the process, reap it, release its descriptors, and return how it ended.
        Idempotent.
        """
        popen = self._popen
        # The process is reaped before it is killed, so that the cause of death of a process that is
        # already dead is preserved.
        if popen.poll() is None:
            popen.kill()
        popen.wait()
        death = _classify_death(popen.returncode, self._stderr_tail())
        self._close_streams()
        return death

    def reap(self, timeout: float, check: Callable[[], None] = lambda: None) -> WorkerDeath:
        """Wait until a process that closed its pipe has ended, and return how it ended.

        *check* is called at every ``TICK`` until then. The process is killed after *timeout*
        seconds.
        """
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                self._popen.wait(min(left, TICK))
                break
            except subprocess.TimeoutExpired:
                check()
        return self.kill()

    def abandon(self) -> None:
        """Drop the parent's worker in a forked child: close its pipes, but do not kill it or wait
        for it.
        """
        self._popen.returncode = 0
        self._close_streams()

    def _close_streams(self) -> None:
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass
        if self._stderr is not None:
            os.close(self._stderr)
            self._stderr = None

    def _stderr_tail(self) -> bytes:
        if self._stderr is None:
            return b""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, _STDERR_TAIL, max(0, size - _STDERR_TAIL))


def _memory_file() -> int | None:
    if not hasattr(os, "memfd_create"):
        return None
    try:
        return os.memfd_create("guardrail-worker", os.MFD_CLOEXEC)
    except OSError:
        return None


def _grow_pipe(descriptor: int) -> None:
    # A larger pipe is only an optimization. An unprivileged user may have reached the pipe limit.
    operation = getattr(fcntl, "F_SETPIPE_SZ", None)
    if operation is not None:
        try:
            fcntl.fcntl(descriptor, operation, _PIPE_SIZE)
        except OSError:
            pass


def _classify_death(code: int, tail: bytes) -> WorkerDeath:
    if code == -signal.SIGALRM:
        return WorkerDeath("timeout", "eval_limit")
    # If memory runs out, the engine's allocator prints a message and aborts. If Python's allocator
    # fails, it raises, and the worker answers.
    if b"memory allocation of" in tail or b"MemoryError" in tail:
        return WorkerDeath("crashed", "memory")
    named = {-signal.SIGSEGV: "segv", -signal.SIGABRT: "aborted", -signal.SIGKILL: "killed"}
    if code in named:
        return WorkerDeath("crashed", named[code])
    return WorkerDeath("crashed", "signal" if code < 0 else "exited")
