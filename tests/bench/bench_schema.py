"""What checking and copying arguments costs: python -m tests.bench.bench_schema"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

from pydantic import create_model

from guardrail.core.log.record import dumps
from guardrail.core.schema.compiled import compile_schema
from guardrail.core.schema.json_copy import ArgumentLimits, clone, take
from guardrail.core.schema.snapshot import snapshot
from guardrail.tools.tool import declare, undeclared
from tests.support.benchmarks import QUICK

LEAVES = 17
NAMES = [f"argument_{number:02}" for number in range(LEAVES - 2)]
ARGS: dict[str, Any] = dict.fromkeys(NAMES, "x" * 40) | {"amount": 5, "inner": {"rate": 1.5}}
SMALL: dict[str, Any] = {"to": "bob@example.com", "subject": "x" * 80, "body": "y" * 60}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string", "maxLength": 1_000} for name in NAMES},
        "amount": {"type": "integer", "minimum": 1},
        "inner": {"type": "object", "properties": {"rate": {"type": "number"}}},
        "mode": {"type": "string", "default": "safe"},
    },
    "required": NAMES[:3],
}


def microseconds(run: Callable[[], object]) -> float:
    """Return the best of seven means; if QUICK, one mean."""
    number = 2_000
    return min(timeit.repeat(run, number=number, repeat=1 if QUICK else 7)) / number * 1e6


def main() -> None:
    """Print one line per stage."""
    compiled = compile_schema(SCHEMA)
    limits = ArgumentLimits()
    plain = declare("plain", schema=SCHEMA)
    small = declare("small", schema={"properties": {key: {"type": "string"} for key in SMALL}})
    fields: dict[str, Any] = dict.fromkeys(NAMES, (str, ...))
    model = declare(
        "model",
        schema=create_model(
            "Arguments", **fields, amount=(int, ...), inner=(dict[str, float], ...)
        ),
    )
    stages: dict[str, Callable[[], object]] = {
        "copy": lambda: take(ARGS, limits),
        "validate": lambda: compiled.validator.is_valid(ARGS),
        "encode": lambda: dumps(ARGS),
        "snapshot": lambda: snapshot(compiled, ARGS),
        "clone for the body": lambda: clone(ARGS),
        "take, JSON Schema": lambda: plain.take(ARGS),
        "take, undeclared": lambda: undeclared("u").take(ARGS),
        "take, pydantic model": lambda: model.take(ARGS),
        "take, JSON Schema, 3 leaves": lambda: small.take(SMALL),
        "compile": lambda: compile_schema(SCHEMA),
    }
    print(f"{LEAVES} leaves, {len(dumps(ARGS))} bytes")
    for name, run in stages.items():
        print(f"{name:30} {microseconds(run):8.1f} us")


if __name__ == "__main__":
    main()
