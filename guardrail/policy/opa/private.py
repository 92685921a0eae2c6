"""A private OPA: a server that the guard starts for itself, on a Unix socket in a folder that only
this user can enter.

A watchdog process (``guardrail.policy.opa.watchdog``) runs the server and ends it with the guard. A
thread starts a new server if one has ended, and waits longer after each early death.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from guardrail.config import OpaSection
from guardrail.errors import ConfigError, PolicyError, os_reason
from guardrail.policy.opa import bundle
from guardrail.policy.opa.check import require_accepted
from guardrail.policy.opa.program import OpaProgram, require_opa
from guardrail.policy.opa.revision import revision_of
from guardrail.policy.opa.target import OpaTarget
from guardrail.policy.sources import PolicySet
from guardrail.system.http import Endpoint
from guardrail.system.input_files import version_of
from guardrail.system.temporary import PREFIX, hold, remove_abandoned
from guardrail.system.threads import BackgroundThread

__all__ = ["PrivateServer", "PrivateTarget", "private_target"]

_SCRIPT = Path(__file__).with_name("watchdog.py")
_PAUSES = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a new server is started, after 0, 1, ... early deaths in a row."""
_EARLY = 10.0
"""A server that lives for less than this many seconds died early."""
_PATIENCE = 5.0
"""How long the end of the watchdog is waited for, in seconds."""
_POLL = 0.005
"""How often a starting server's socket is looked for, in seconds."""
_SOCKET, _BUNDLE = "opa.sock", "bundle.tar.gz"
_LONGEST_PATH = 90
"""Longest path of a folder for a socket, in bytes. Linux accepts 108 for the socket itself."""
_SHOWN = 300
"""Maximum number of characters of the server's last message that an error contains."""


class PrivateServer:
    """Runs OPA with *policies*, and runs it again if it ends. Thread-safe, and usable after a fork:
    the child starts a server of its own.
    """

    def __init__(self, program: OpaProgram, policies: PolicySet) -> None:
        """Prepare the server, which ``prepare`` starts. Raises ``ConfigError`` if the program is
        not OPA 1.
        """
        self.program = program
        program.require_version()
        self.digest = program.digest()
        """SHA-256 digest (hex) of the program's file."""
        self._version = version_of(program.path.stat())
        self._bundle = bundle.build(policies, revision_of(policies))
        self._lock = threading.Lock()
        self._closed = False
        self._reset()
        self._make_folder()

    def _reset(self) -> None:
        self._stop = threading.Event()
        self._thread: BackgroundThread | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._process: int | None = None
        self._listening = False
        self._has_listened = False
        self._failure: PolicyError | None = None
        # The address of the server is fixed, so the name of its folder is. A forked child creates
        # its folder only if it starts a server.
        self._folder = _new_folder_name()
        self.socket = self._folder / _SOCKET
        self._hold: int | None = None

    def _make_folder(self) -> None:
        """Create the folder, if it does not exist. Raises ``ConfigError``."""
        try:
            with contextlib.suppress(FileExistsError):
                self._folder.mkdir(mode=0o700)
                self._release()
                self._hold = hold(self._folder)
                remove_abandoned(self._folder.parent)
            found = self._folder.lstat()
        except OSError as error:
            raise ConfigError(
                f"{self._folder}: the folder of the private OPA can't be created "
                f"({os_reason(error)})",
                code="config.opa_private",
                hint="set TMPDIR to a folder that this user can write to",
            ) from None
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
            raise ConfigError(
                f"{self._folder}: the folder of the private OPA belongs to somebody else",
                code="config.opa_private",
                hint="set TMPDIR to a folder that only this user can write to",
            )

    @property
    def process(self) -> int | None:
        """The process id of the server, or None if none is running."""
        return self._process

    def prepare(self, end: float) -> None:
        """Wait until a server listens, and start one if there is none. *end* is the deadline by
        ``time.monotonic``.

        Raises ``PolicyError``: ``unreachable`` (``program``) if the first server has ended before
        it listened, (``starting``) if there is no server by the deadline.
        """
        if self._listening:
            return
        self._start()
        while not self._closed:
            if self._process is not None and self.socket.exists():
                self._listening = self._has_listened = True
                return
            failure = self._failure
            if failure is not None and not self._has_listened:
                raise failure
            if time.monotonic() >= end:
                raise failure or self._not_ready()
            time.sleep(_POLL)
        raise PolicyError("the policy engine is closed", cause="unreachable", detail="closed")

    def restart(self) -> None:
        """Kill the server, so that a new one is started."""
        watchdog = self._watchdog
        if watchdog is not None and watchdog.stdin is not None and self._has_listened:
            with contextlib.suppress(OSError, ValueError):
                watchdog.stdin.write(b"k")

    def close(self) -> None:
        """End the server, and remove its folder. Idempotent."""
        with self._lock:
            self._closed = True
            self._stop.set()
            watchdog, thread = self._watchdog, self._thread
        if watchdog is not None and watchdog.stdin is not None:
            # The thread below closes the other pipe, from which it reads.
            with contextlib.suppress(OSError):
                watchdog.stdin.close()
        if thread is not None:
            thread.join(_PATIENCE)
        self._remove_folder()

    def after_fork(self) -> None:
        """Leave the server to the parent process. The next ``prepare`` starts another one."""
        watchdog = self._watchdog
        if watchdog is not None:
            for pipe in (watchdog.stdin, watchdog.stdout):
                if pipe is not None:
                    # While any process holds this end, the watchdog believes that its guard lives.
                    pipe.close()
        self._release()
        self._lock = threading.Lock()
        self._reset()

    def _release(self) -> None:
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None

    def _not_ready(self) -> PolicyError:
        program = self.program.path
        silent = self._process is not None and not self._has_listened
        return PolicyError(
            f"{program}: the program runs, but does not listen on its socket"
            if silent
            else "the private OPA is not ready yet",
            cause="unreachable",
            detail="starting",
            hint=f"see what it prints: {program} run --server --addr unix:///tmp/opa.sock"
            if silent
            else "guardrail doctor",
        )

    def _start(self) -> None:
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.will_run()):
                return
            self._thread = BackgroundThread(self._run, "guardrail-opa-private")
            self._thread.start()

    def _run(self) -> None:
        deaths = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                words = self._run_once()
            except ConfigError as error:
                words = error.message
            except OSError as error:
                words = os_reason(error)
            except Exception as error:  # noqa: BLE001 - this thread must go on
                words = type(error).__name__
            if self._stop.is_set():
                return
            self._failure = _ended(self.program.path, words)
            deaths = deaths + 1 if time.monotonic() - began < _EARLY else 0
            self._stop.wait(_PAUSES[min(deaths, len(_PAUSES) - 1)] if deaths else 0)

    def _run_once(self) -> str:
        """Run one server until it ends. Return the reason that it ended."""
        self._require_same_program()
        self._make_folder()
        self._write_bundle()
        with self._lock:
            if self._closed:
                return ""
            self._watchdog = watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SCRIPT), str(self._folder), *self._command()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                close_fds=True,
                start_new_session=True,
                cwd="/",
                bufsize=0,
            )
        assert watchdog.stdout is not None
        output = bytearray()
        while block := os.read(watchdog.stdout.fileno(), 4096):
            output += block
            first, complete, _ = bytes(output).partition(b"\n")
            if complete and first.startswith(b"pid ") and self._process is None:
                self._process = int(first[4:])
        self._listening, self._process = False, None
        _end(watchdog)
        return _reason_of(bytes(output))

    def _command(self) -> list[str]:
        return [
            str(self.program.path),
            "run",
            "--server",
            "--addr",
            f"unix://{self.socket}",
            "--unix-socket-perm",
            "600",
            "--skip-version-check",
            "--log-level",
            "error",
            "--log-format",
            "text",
            "--bundle",
            str(self._folder / _BUNDLE),
        ]

    def _require_same_program(self) -> None:
        """Raise ``ConfigError`` if the program's file is no longer the one in the records."""
        if version_of(self.program.path.stat()) == self._version:
            return
        if self.program.digest() != self.digest:
            raise ConfigError(
                "the file has changed since this guard started; restart the guard to use the new "
                "program",
                code="config.opa_program",
            )

    def _write_bundle(self) -> None:
        self._remove_files()
        path = self._folder / _BUNDLE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(self._bundle)

    def _remove_files(self) -> None:
        for name in (_SOCKET, _BUNDLE):
            with contextlib.suppress(FileNotFoundError):
                (self._folder / name).unlink()

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._release()


class PrivateTarget(OpaTarget):
    """The address of a private OPA. Connections to any other process are refused."""

    unreachable_hint = "guardrail doctor"
    restarts = True

    def __init__(self, section: OpaSection, server: PrivateServer) -> None:
        """Raises ``ConfigError`` for settings that only apply to a server with an address."""
        for name in ("ca", "cert", "key", "token_file", "bundle"):
            if getattr(section, name):
                raise ConfigError(
                    f"[opa] {name} is set, but [opa] url is empty, so the guard starts its own OPA",
                    code="config.opa_private",
                    hint=f"set [opa] url to the server's address, or remove {name}",
                )
        self._server = server
        super().__init__(replace(section, url=f"unix://{server.socket}"))
        self._set_endpoint()

    def _set_endpoint(self) -> None:
        server = self._server
        self.endpoint = Endpoint.unix(str(server.socket), process=lambda: server.process)

    @property
    def process(self) -> int | None:
        """The process id of the server, or None if none is running."""
        return self._server.process

    def prepare(self, end: float) -> None:
        """Wait until the server listens; see ``PrivateServer.prepare``."""
        self._server.prepare(end)

    def resolve(self, timeout: float = 5.0) -> None:
        """Wait until the server listens, at most *timeout* seconds; see ``prepare``."""
        self.prepare(time.monotonic() + timeout)

    def restart(self) -> None:
        """Replace a server that does not answer."""
        self._server.restart()

    def close(self) -> None:
        """End the server. Idempotent."""
        self._server.close()

    def after_fork(self) -> None:
        """Use another server, which is started for the first call."""
        self._server.after_fork()
        self.url = f"unix://{self._server.socket}"
        self._set_endpoint()


def private_target(
    section: OpaSection, policies: PolicySet | None, program: OpaProgram | None
) -> tuple[PrivateTarget, str]:
    """Return the target of a private OPA that serves *policies*, and the digest of its program:
    *program* or, if it is None, the one that *section* names.

    Raises ``ConfigError`` if there is no suitable program or there are no policies, and
    ``PolicyLoadError`` if OPA or the contract refuses them.
    """
    program = program or require_opa(section.program)
    if policies is None:
        raise ConfigError(
            "a private OPA needs policies on this machine",
            code="config.policies",
            hint="set [policy] path, or set [opa] url to the address of an OPA server",
        )
    server = PrivateServer(program, policies)
    try:
        require_accepted(policies, program)
        return PrivateTarget(section, server), server.digest
    except BaseException:
        server.close()
        raise


def _new_folder_name() -> Path:
    """Return an unpredictable path for a folder that is short enough for a socket in it."""
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _LONGEST_PATH - len("/guardrail-opa-0123456789abcdef"):
        base = "/tmp"  # noqa: S108 - nobody can guess the name of the folder in it
    return Path(base, f"{PREFIX}{secrets.token_hex(8)}")


def _end(watchdog: subprocess.Popen[bytes]) -> None:
    """Close the pipes of *watchdog*, which ends its server, and wait for it."""
    for pipe in (watchdog.stdin, watchdog.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        watchdog.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        watchdog.kill()
        watchdog.wait()


def _reason_of(report: bytes) -> str:
    """Return the reason that the server ended, from the watchdog's report, without control
    characters.
    """
    status, _, output = report.partition(b"exit ")[2].partition(b"\n")
    lines = output.decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if line.startswith("error")]
    if status.startswith(b"-") and not errors:
        return f"signal {int(status[1:])}"
    text = next(reversed(errors or lines), "").strip()
    return "".join(each if each.isprintable() else " " for each in text)[:_SHOWN]


def _ended(program: Path, words: str) -> PolicyError:
    return PolicyError(
        f"{program}: the private OPA ended" + (f": {words}" if words else ""),
        cause="unreachable",
        detail="program",
        hint="see if the program is OPA 1 and can serve these policies: guardrail policy check",
    )
