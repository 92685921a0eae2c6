"""Implements ``guardrail policy schema``."""

from __future__ import annotations

from pathlib import Path

import click

from guardrail.cli.app import Exit
from guardrail.cli.commands.policy import tools_option
from guardrail.cli.output import emit_json

__all__ = ["schema"]


@click.command(short_help="Print the JSON Schema of the policy input, for OPA and editors.")
@tools_option
@click.option(
    "--example", is_flag=True, help="Print an example of an input instead, for completion."
)
def schema(*, tools: Path | None, example: bool) -> int:
    """Print the JSON Schema of the policy input, which OPA and editors use to check paths below
    input.

    Save it as schemas/guardrail_input.json, next to the policy folder: `guardrail policy check`
    uses it if an annotation in a policy names schema.guardrail_input, and so does `opa check
    --schema schemas`. With --tools, the schema contains the arguments of the tools, so a misspelled
    argument is found. With --example, the command prints an input with every key. Regal's language
    server suggests the paths in a file named input.json.
    """
    from guardrail.authoring.editors import example_input, input_schema
    from guardrail.authoring.tools_file import load_tools

    schemas = load_tools(tools) if tools is not None else None
    emit_json(example_input(schemas) if example else input_schema(schemas))
    return Exit.YES
