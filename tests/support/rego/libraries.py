"""Measures how complete the tests of guardrail's own libraries are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from guardrail.policy.sources import installed_folder


def _opa(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), "test", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def coverage(program: Path, name: str) -> tuple[float, Any]:
    """Return the share of the lines of the library *name* that its tests cover, and the lines that
    they miss.
    """
    done = _opa(program, "--coverage", str(installed_folder() / "lib"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)["files"]
    found = next(each for file, each in report.items() if Path(file).name == f"{name}.rego")
    return found["coverage"], found.get("not_covered")


def surviving_conditions(
    program: Path, name: str, empty: Path, others: tuple[str, ...] = ()
) -> set[str]:
    """Return the conditions of the library *name* without which its tests still pass. *empty* is a
    folder for its changed copies, and *others* are the libraries that it uses.
    """
    folder = installed_folder() / "lib"
    lines = (folder / f"{name}.rego").read_text(encoding="utf-8").splitlines()
    for other in (f"{name}_test", *others):
        shutil.copy(folder / f"{other}.rego", empty)
    conditions = [
        number
        for number, line in enumerate(lines)
        if re.match(r"\t+[^\t}#]", line) and not line.endswith("{")
    ]
    assert conditions
    survivors = set()
    for number in conditions:
        rest = [*lines[:number], "\ttrue", *lines[number + 1 :]]
        (empty / f"{name}.rego").write_text("\n".join(rest), encoding="utf-8")
        if _opa(program, str(empty)).returncode == 0:
            survivors.add(lines[number].strip())
    return survivors
