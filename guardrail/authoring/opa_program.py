"""Finds and runs the ``opa`` program, the reference implementation, if it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guardrail.errors import Finding

__all__ = ["OpaProgram", "find_opa"]

_LIMIT = 60.0
"""Time limit for one run, in seconds."""
_MAX_ERRORS = 200


@dataclass(frozen=True, slots=True)
class OpaProgram:
    """An executable ``opa`` program."""

    path: Path

    def check(
        self,
        folder: Path,
        sources: Mapping[str, str],
        *,
        capabilities: Path | None = None,
        schema: Path | None = None,
    ) -> list[Finding]:
        """Run ``opa check --strict`` on the modules in *folder*, and return its findings.

        *sources* maps each path below *folder* to the author's file. *capabilities* restricts the
        functions that the modules may call. *schema* is the input schema, which restricts the paths
        that the modules may read.
        """
        command = [str(self.path), "check", "--strict", "--format", "json"]
        command += ["--max-errors", str(_MAX_ERRORS)]
        if schema is not None:
            command += ["--schema", str(schema)]
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


def find_opa(environment: Mapping[str, str] | None = None) -> OpaProgram | None:
    """Return the program at the absolute path in ``GUARDRAIL_OPA``, otherwise ``opa`` on PATH,
    otherwise None.
    """
    environment = os.environ if environment is None else environment
    named = environment.get("GUARDRAIL_OPA") or shutil.which("opa", path=environment.get("PATH"))
    # A relative name, or a relative folder on PATH, would be resolved in the current folder, so it
    # could run a program that someone else put there.
    if not named or not os.path.isabs(named) or not os.access(named, os.X_OK):
        return None
    return OpaProgram(Path(named))


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
