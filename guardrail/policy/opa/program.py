"""Finds and runs the ``opa`` program, the reference implementation, if it is installed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigError, Finding, PolicyError, os_reason
from guardrail.system.input_files import FileVersion, version_of

__all__ = ["OpaProgram", "OpaTest", "find_opa", "require_opa"]

_LIMIT = 60.0
"""Time limit of one run, in seconds."""
_MAX_ERRORS = 200
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
        """Run ``opa check`` on the modules in *folder*, and return its findings.

        *sources* maps each path below *folder* to the author's file. *capabilities* restricts the
        functions that the modules may call. *schemas*, a folder of JSON Schemas that annotations in
        the modules name, restricts the paths that they may read. If *strict* is True, OPA also
        reports probable mistakes, such as unused variables.
        """
        try:
            # Any program can end with exit code 0.
            self.require_version()
        except ConfigError as error:
            return [Finding("-", 0, "opa", error.message, error.hint)]
        command = [str(self.path), "check", "--format", "json"]
        command += ["--max-errors", str(_MAX_ERRORS)]
        if strict:
            command.append("--strict")
        if schemas is not None:
            command += ["--schema", str(schemas)]
        if capabilities is not None:
            command += ["--capabilities", str(capabilities)]
        command += [str(folder / name) for name in sources]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_LIMIT, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return [Finding("-", 0, "opa", f"opa can't be run ({type(error).__name__})")]
        if done.returncode == 0:
            return []
        return _findings(done.stderr or done.stdout, folder, sources)

    def convert(self, text: str) -> str | None:
        """Return the module *text* converted from Rego v0 to v1 and formatted, or None if the
        program can't convert it. Raises ``ConfigError`` if the program is not OPA 1.
        """
        self.require_version()
        try:
            done = subprocess.run(
                [str(self.path), "fmt", "--v0-v1"],
                input=text.encode(),
                capture_output=True,
                timeout=_LIMIT,
                check=False,
            )
            return done.stdout.decode() if done.returncode == 0 else None
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
            return None

    def test(self, folder: Path, *, capabilities: Path) -> list[OpaTest]:
        """Run ``opa test`` on the modules and the data in *folder*, and return the results in the
        order of files and lines. Raises ``ConfigError`` if the program is not OPA 1, and
        ``PolicyError`` if the tests can't be run.
        """
        self.require_version()
        command = [str(self.path), "test", "--format", "json", "--bundle"]
        command += ["--capabilities", str(capabilities), "--timeout", f"{_LIMIT:.0f}s", str(folder)]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_LIMIT, check=False, stdin=subprocess.DEVNULL
            )
            found = [_test_result(result, folder) for result in json.loads(done.stdout)]
        except (
            OSError,
            subprocess.TimeoutExpired,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
        ) as error:
            raise PolicyError(
                f"opa can't run the policies' tests ({type(error).__name__})",
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
    try:
        done = subprocess.run(
            [str(path), "version"],
            capture_output=True,
            timeout=_VERSION_LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
            env={},
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = os_reason(error) if isinstance(error, OSError) else "it does not end"
        raise _not_usable(f"{path}: the program can't be run ({reason})") from None
    found = _VERSION.search(done.stdout)
    if found is None:
        raise _not_usable(f"{path}: the program is not OPA")
    if found[1] != _MAJOR:
        version = found[0].removeprefix(b"Version: ").decode("ascii", "replace")
        raise _not_usable(f"{path}: this is OPA {version}, but guardrail needs OPA 1")


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
    if named:
        return OpaProgram(Path(named)) if _runnable(named) else None
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, _NAME)
        if _runnable(path) and not _open_to_others(folder) and not _open_to_others(path):
            return OpaProgram(Path(path))
    return None


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
            raise ConfigError(
                f"GUARDRAIL_OPA is {variable}, which is not the absolute path of a program",
                code="config.opa_program",
                hint="correct GUARDRAIL_OPA, or unset it to use opa from PATH",
            )
        raise ConfigError(
            "there is no opa program: [opa] program is not set, and PATH does not contain opa",
            code="config.opa_program",
            hint=(
                "install OPA on PATH, in a folder that only you or root can write to; or set "
                "[opa] program to its path; or, for [policy] engine, set [opa] url to the "
                "address of an OPA server"
            ),
        )
    if not named.is_file() or not os.access(named, os.X_OK):
        raise ConfigError(
            f"{named}: there is no program at this path, which [opa] program names",
            code="config.opa_program",
            hint="correct [opa] program, or remove it to use opa from PATH",
        )
    for path in (named, named.parent):
        if _open_to_others(path):
            raise ConfigError(
                f"{path}: other users can write to it, so they could replace [opa] program",
                code="config.opa_program",
                hint=f"chmod go-w {path}",
            )
    return OpaProgram(named)


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
    try:
        errors = json.loads(output)["errors"]
        found = []
        for error in errors:
            location = error.get("location") or {}
            file = str(location.get("file", "-")).removeprefix(str(folder) + "/")
            message = " ".join(str(error["message"]).split())
            for name in sources if str(folder) in message else ():
                message = message.replace(str(folder / name), sources[name])
            found.append(
                Finding(
                    sources.get(file, file),
                    int(location.get("row", 0)),
                    str(error["code"]),
                    message,
                )
            )
    except (ValueError, LookupError, TypeError, AttributeError):
        text = output.decode("utf-8", "replace").strip().splitlines()
        return [Finding("-", 0, "opa", text[0] if text else "opa check failed without a message")]
    return found
