"""What a real OPA says of the policies, where its program is at hand: compiled strictly, with the schema of the input."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from guardrail.authoring.opa_program import OpaProgram
from guardrail.errors import Finding
from guardrail.policy.opa_purity import capabilities_file
from guardrail.policy.sources import Source, installed_folder

__all__ = ["ask_opa"]

INPUT_SCHEMA = ("opa", "schemas", "input.json")


def ask_opa(program: OpaProgram, sources: Iterable[Source]) -> list[Finding]:
    """Return what ``opa check --strict`` finds in *sources*, at the authors' files and lines.

    They are written to a folder of their own under names of their own: what a file is called means nothing to OPA then.
    """
    with tempfile.TemporaryDirectory(prefix="guardrail-opa-") as made:
        folder = Path(made)
        names: dict[str, str] = {}
        for index, source in enumerate(sources):
            suffix = "_test.rego" if source.key.endswith("_test.rego") else ".rego"
            name = f"{index:04}{suffix}"
            (folder / name).write_text(source.text, encoding="utf-8")
            names[name] = source.name
        return program.check(
            folder,
            names,
            capabilities=capabilities_file(),
            schema=installed_folder().joinpath(*INPUT_SCHEMA),
        )
