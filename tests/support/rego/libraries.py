"""Measures how complete the tests of guardrail's own libraries are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import UNDEFINED, Workbench
from guardrail.policy.sources import installed_folder, installed_modules, load_policies
from tests.support.rego.comparison import Reference


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


class BothEngines:
    """Evaluates rules of one policy in both engines, which must agree."""

    def __init__(self, folder: Path, text: str, bench: Workbench, reference: Reference) -> None:
        """*text* is a module with rules that call the library; *folder* is for its file."""
        (folder / "p.rego").write_text(text, encoding="utf-8")
        self._bench, self._reference = bench, reference
        compiled = compile_policies(load_policies([folder]), bench)
        bench.load(compiled.texts, compiled.data)
        self.parsed = compiled.parsed
        waiting = {
            source.key.replace(":", "-"): source.text
            for source in installed_modules()
            if "/lib/" in source.key.replace(":", "/")
        } | {"asked": text}
        # A module may need another one.
        for _ in range(len(waiting)):
            waiting = {name: each for name, each in waiting.items() if reference.put(name, each)}
        assert not waiting, {name: reference.put(name, each) for name, each in waiting.items()}

    def value(self, policy_input: Any, rule: str = "answers") -> Any:
        """Return the value of *rule* in ``guardrail.policy``, which is defined."""
        document = json.dumps(policy_input)
        there = self._reference.rule(f"data.guardrail.policy.{rule}", document)
        assert there is not UNDEFINED, document
        assert not isinstance(there, Exception), (there, document)
        here = self._bench.rule(f"data.guardrail.policy.{rule}", document)
        assert here == there, document
        return there


def documented(name: str) -> dict[str, str]:
    """Return the functions and rules of the library *name* that policies may use, each with its
    default: those that have one.
    """
    text = (installed_folder() / "lib" / f"{name}.rego").read_text(encoding="utf-8")
    found = re.findall(r"^default (\w+)(?:\([_, ]+\))? := (.*)$", text, re.MULTILINE)
    return dict(found)
