"""Shared by the tests of policies: small policies on disk, engines that are closed, the raw engine
to compare with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guardrail.errors import Finding, PolicyLoadError
from guardrail.policy.embedded.compiled import CompiledPolicies, compile_policies
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.embedded.workbench import Workbench
from guardrail.policy.sources import load_policies

ALLOW = (
    'package guardrail.policy\n\nallow contains "sample" if input.resource.id =='
    ' "guardrail.sample"\n'
)
"""A policy that allows the sample call."""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write *files* (name, text) below *folder*, and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def compiled(folder: Path, **options: Any) -> CompiledPolicies:
    """Load and judge what is in *folder*."""
    with Workbench() as bench:
        return compile_policies(load_policies([folder], **options), bench)


def findings(folder: Path, **options: Any) -> list[Finding]:
    """Return why what is in *folder* is refused; empty where it is not."""
    try:
        compiled(folder, **options)
    except PolicyLoadError as error:
        return list(error.findings)
    return []


def body_findings(folder: Path, body: str) -> list[Finding]:
    """Return the findings about a deny rule with *body*, on line 5."""
    text = ALLOW + f'deny contains "d" if {{ {body} }}\n'
    return findings(write(folder, {"p.rego": text}))


def codes(found: list[Finding]) -> list[str]:
    """Return the codes of *found*, each once, in order."""
    return list(dict.fromkeys(finding.code for finding in found))


UNDEFINED = object()


def raw(text: str | list[str], rule: str, policy_input: object = None, data: object = None) -> Any:
    """Return what the engine answers without any of guardrail's guards: what a guard is needed
    for.
    """
    import regorus

    engine = regorus.Engine()
    for index, module in enumerate([text] if isinstance(text, str) else text):
        engine.add_policy(f"{index}.rego", module)
    if data is not None:
        engine.add_data_json(json.dumps(data))
    engine.set_input_json(json.dumps(policy_input if policy_input is not None else {}))
    answer = engine.eval_rule_as_json(rule)
    return UNDEFINED if answer == '"<undefined>"' else json.loads(answer)


def call_input(**args: object) -> bytes:
    """Return the input of a call of the sample tool with *args*."""
    return sample_input(args=args).encode()
