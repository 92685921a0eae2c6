"""Finds and runs the ``opa`` program, the reference implementation, if it is installed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigError, Finding, PolicyError, os_reason
from guardrail.system.input_files import FileVersion, version_of

__all__ = [
    "OpaProgram",
    "OpaTest",
    "find_opa",
    "optional_opa",
    "reason_without_opa",
    "require_opa",
]

CHECK_LIMIT = 30.0
"""Time limit of ``opa check``, in seconds. OPA checks the largest policies that guardrail reads in
a tenth of this time.
"""
_TEST_LIMIT = 60.0
"""The same for ``opa test``."""
_MAX_ERRORS = 200
_SHOWN = 300
"""Maximum number of bytes of an unexpected output that an error contains."""
_NAME = "opa"
_VERSION = re.compile(rb"^Version: (\d{1,9})\.[\w.+-]{1,50}", re.MULTILINE)
_VERSION_LIMIT = 5.0
_MAJOR = b"1"
"""The only major version of OPA that is known to answer as guardrail expects."""


@dataclass(frozen=True, slots=True)
class OpaTest:
    """The result of one ``test_...`` rule."""

    name: str
    """``package.rule``."""
    file: str
    line: int
    state: str
    """``pass``, ``fail``, ``error`` or ``skip``."""
    milliseconds: float


@dataclass(frozen=True, slots=True)
class OpaProgram:
    """An executable ``opa`` program."""

    path: Path

    def require_version(self) -> None:
        """Raise ``ConfigError`` unless the program states that it is OPA 1. The program runs only
        once for each version of its file.
        """
        try:
            file = version_of(self.path.stat())
        except OSError as error:
            raise _not_usable(
                f"{self.path}: the program can't be run ({os_reason(error)})"
            ) from None
        _require_version(self.path, file)

    def digest(self) -> str:
        """Return the SHA-256 digest (hex) of the program's file. Raises ``ConfigError``."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(
                f"{self.path}: the program can't be read ({os_reason(error)})",
                code="config.opa_program",
                hint=f"chmod u+r {self.path}",
            ) from None

    def check(
        self,
        folder: Path,
        sources: Mapping[str, str],
        *,
        capabilities: Path | None = None,
        schemas: Path | None = None,
        strict: bool = True,
    ) -> list[Finding]:
        """Run ``opa check`` on the modules in *folder*, and return its findings. Raises
        ``ConfigError`` if the program is not OPA 1, does not end in time or reports no findings.

        *sources* maps each path below *folder* to the author's file. *capabilities* restricts the
        functions that the modules may call. *schemas*, a folder of JSON Schemas that annotations in
        the modules name, restricts the paths that they may read. If *strict* is True, OPA also
        reports probable mistakes, such as unused variables.
        """
        command = [str(self.path), "check", "--format", "json"]
        command += ["--max-errors", str(_MAX_ERRORS)]
        if strict:
            command.append("--strict")
        if schemas is not None:
            command += ["--schema", str(schemas)]
        if capabilities is not None:
            command += ["--capabilities", str(capabilities)]
        command += [str(folder / name) for name in sources]
        # Any program can end with exit code 0.
        self.require_version()
        done = _run(command, CHECK_LIMIT)
        if done.returncode == 0:
            return []
        output = done.stderr or done.stdout
        try:
            return _findings(output, folder, sources)
        except (ValueError, LookupError, TypeError, AttributeError):
            words = _first_line(output) or f"exit code {done.returncode}"
            raise _not_usable(f"{self.path}: opa check failed: {words}") from None

    def convert(self, text: str) -> str | None:
        """Return the module *text* converted from Rego v0 to v1 and formatted, or None if the
        program can't convert it. Raises ``ConfigError`` if the program is not OPA 1.
        """
        self.require_version()
        try:
            done = _run([str(self.path), "fmt", "--v0-v1"], CHECK_LIMIT, given=text.encode())
            return done.stdout.decode() if done.returncode == 0 else None
        except (ConfigError, UnicodeDecodeError):
            return None

    def test(self, folder: Path, *, capabilities: Path) -> list[OpaTest]:
        """Run ``opa test`` on the modules and the data in *folder*, and return the results in the
        order of files and lines. Raises ``ConfigError`` if the program is not OPA 1 or does not
        end in time, and ``PolicyError`` if it reports no results.
        """
        self.require_version()
        command = [str(self.path), "test", "--format", "json", "--bundle"]
        command += ["--capabilities", str(capabilities)]
        command += ["--timeout", f"{_TEST_LIMIT:.0f}s", str(folder)]
        done = _run(command, _TEST_LIMIT)
        try:
            found = [_test_result(result, folder) for result in json.loads(done.stdout)]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise PolicyError(
                f"{self.path}: opa test did not report the results of the policies' tests",
                cause="error",
                detail="evaluation",
                hint="guardrail policy check",
            ) from None
        return sorted(found, key=lambda each: (each.file, each.line))


@lru_cache(maxsize=16)
def _require_version(path: Path, _: FileVersion) -> None:
    """Run the program at *path*; see ``OpaProgram.require_version``. An error is not remembered, so
    the next call tries again. The second argument makes a changed file count as a new program.
    """
    done = _run([str(path), "version"], _VERSION_LIMIT, cwd="/", env={})
    found = _VERSION.search(done.stdout)
    if found is None:
        raise _not_usable(f"{path}: the program is not OPA")
    if found[1] != _MAJOR:
        version = found[0].removeprefix(b"Version: ").decode("ascii", "replace")
        raise _not_usable(f"{path}: this is OPA {version}, but guardrail needs OPA 1")


def _run(
    command: Sequence[str],
    limit: float,
    *,
    given: bytes = b"",
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``opa`` with the input *given* for at most *limit* seconds. Raises ``ConfigError`` if it
    can't be run, or if it does not end.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if given else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            # The program may be a script, whose own children must end with it.
            process_group=0,
        )
    except OSError as error:
        raise _not_usable(f"{command[0]}: the program can't be run ({os_reason(error)})") from None
    try:
        output, errors = process.communicate(given or None, timeout=limit)
    except subprocess.TimeoutExpired:
        raise _not_usable(
            f"{command[0]}: opa {command[1]} did not end within {limit:g} s"
        ) from None
    finally:
        _end(process)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill *process* and its children, unless it has ended."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _test_result(result: Mapping[str, Any], folder: Path) -> OpaTest:
    location = result["location"]
    state = next((name for name in ("skip", "error", "fail") if result.get(name)), "pass")
    return OpaTest(
        name=f"{result['package']}.{result['name']}".removeprefix("data."),
        file=str(location["file"]).removeprefix(f"{folder}/"),
        line=int(location["row"]),
        state=state,
        milliseconds=int(result.get("duration", 0)) / 1e6,
    )


def find_opa(environment: Mapping[str, str] | None = None) -> OpaProgram | None:
    """Return the program at the absolute path in ``GUARDRAIL_OPA``, otherwise ``opa`` on PATH,
    otherwise None.

    Relative folders on PATH are skipped, because they would name a different program in each
    working directory. So are programs and folders that other users can write to.
    """
    environment = os.environ if environment is None else environment
    named = environment.get("GUARDRAIL_OPA")
    for path in [named] if named else _on_path(environment):
        if _runnable(path) and _writable_part(path) is None:
            return OpaProgram(Path(path))
    return None


def reason_without_opa(environment: Mapping[str, str] | None = None) -> str:
    """Return the reason that ``find_opa`` returns None, for messages."""
    environment = os.environ if environment is None else environment
    named = environment.get("GUARDRAIL_OPA")
    if named:
        shared = _writable_part(named) if _runnable(named) else None
        if shared is None:
            return f"GUARDRAIL_OPA is {named}, which is not the absolute path of a program"
        return f"GUARDRAIL_OPA is {named}, but other users can write to {shared}"
    return f"GUARDRAIL_OPA is not set, and {_reason_on_path(environment)}"


def _reason_on_path(environment: Mapping[str, str]) -> str:
    path = next(filter(_runnable, _on_path(environment)), None)
    if path is None:
        return "PATH does not contain opa"
    return f"guardrail does not run {path}: other users can write to {_writable_part(path)}"


def require_opa(named: Path | None) -> OpaProgram:
    """Return the program at the path *named*, or the one that ``find_opa`` finds if *named* is
    None. Raises ``ConfigError`` if there is none, or if other users can replace it.
    """
    if named is None:
        found = find_opa()
        if found is not None:
            return found
        variable = os.environ.get("GUARDRAIL_OPA")
        if variable:
            shared = _writable_part(variable) if _runnable(variable) else None
            raise ConfigError(
                reason_without_opa(),
                code="config.opa_program",
                hint="correct GUARDRAIL_OPA, or unset it to use opa from PATH"
                if shared is None
                else f"chmod go-w {shared}",
            )
        raise ConfigError(
            "there is no opa program: [opa] program and GUARDRAIL_OPA are not set, and "
            f"{_reason_on_path(os.environ)}",
            code="config.opa_program",
            hint=(
                "install OPA on PATH, in a folder that only you or root can write to; or set "
                "[opa] program or GUARDRAIL_OPA to its path; or, for [policy] engine, set [opa] "
                "url to the address of an OPA server"
            ),
        )
    if not named.is_file() or not os.access(named, os.X_OK):
        raise ConfigError(
            f"{named}: there is no program at this path, which [opa] program names",
            code="config.opa_program",
            hint="correct [opa] program, or remove it to use opa from PATH",
        )
    shared = _writable_part(named)
    if shared is not None:
        raise ConfigError(
            f"{shared}: other users can write to it, so they could replace [opa] program",
            code="config.opa_program",
            hint=f"chmod go-w {shared}",
        )
    return OpaProgram(named)


def optional_opa(named: Path | None) -> OpaProgram | None:
    """Return the program as ``require_opa`` does, or None if neither *named* nor ``GUARDRAIL_OPA``
    names one and PATH contains none. Raises ``ConfigError`` for a named program that can't be used.
    """
    return require_opa(named) if named or os.environ.get("GUARDRAIL_OPA") else find_opa()


def _on_path(environment: Mapping[str, str]) -> list[str]:
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    return [os.path.join(folder, _NAME) for folder in folders]


def _writable_part(path: str | Path) -> str | Path | None:
    """Return *path* or its folder if other users can write to it, otherwise None."""
    for each in (path, os.path.dirname(path)):
        if _open_to_others(each):
            return each
    return None


def _not_usable(message: str) -> ConfigError:
    return ConfigError(
        message,
        code="config.opa_program",
        hint="install OPA 1 on PATH, or set [opa] program to its path",
    )


def _runnable(path: str) -> bool:
    return os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK)


def _open_to_others(path: str | Path) -> bool:
    """Return True if a user other than root and the user of this process can change *path*, which
    may be a link.
    """
    try:
        found = os.stat(path)
    except OSError:
        return True
    shared = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    return bool(shared) or found.st_uid not in {0, os.geteuid()}


def _findings(output: bytes, folder: Path, sources: Mapping[str, str]) -> list[Finding]:
    found = []
    for error in json.loads(output)["errors"]:
        location = error.get("location") or {}
        file = str(location.get("file", "-")).removeprefix(str(folder) + "/")
        message = " ".join(str(error["message"]).split())
        for name in sources if str(folder) in message else ():
            message = message.replace(str(folder / name), sources[name])
        line, code = int(location.get("row", 0)), str(error["code"])
        found.append(Finding(sources.get(file, file), line, code, message))
    return found


def _first_line(output: bytes) -> str:
    text = output[:_SHOWN].decode("utf-8", "replace").strip().partition("\n")[0]
    return "".join(each if each.isprintable() else " " for each in text)
