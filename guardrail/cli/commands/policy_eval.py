"""Implements ``guardrail policy eval``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.commands.policy import (
    PATHS,
    configured_engine,
    configured_zones,
    policy_paths,
    tools_option,
)
from guardrail.cli.commands.policy_check import find_program
from guardrail.cli.findings import print_findings
from guardrail.cli.json_values import parse_value, read_bytes
from guardrail.cli.options import json_option, ledger_options
from guardrail.cli.output import Style, data, emit_json, hanging, paint, prose
from guardrail.cli.render import milliseconds
from guardrail.core.times import record_time
from guardrail.core.words import counted
from guardrail.errors import ArgumentsError, ConfigError
from guardrail.review.terminal import escape, inline, json_text, one_line, tree

if TYPE_CHECKING:
    from guardrail.authoring.evaluate import EngineDecision, PolicyEvaluation
    from guardrail.authoring.near_misses import NearMiss
    from guardrail.policy.opa.program import OpaProgram

__all__ = ["evaluate"]

_MAX_ARGS = 4 * 1024 * 1024
_ARGS_HINT = '{"argument name": value, ...}'
_MAX_SHOWN = 64 * 1024
"""Maximum size of an input that is shown, in characters of JSON."""
_SHOWN = 10
_WIDTH = 60
_WORDS = {"allow": ("ALLOWED", Style.GOOD), "require_approval": ("NEEDS APPROVAL", Style.WARN)}


@click.command("eval", short_help="Evaluate the policies for one call, and explain the decision.")
@PATHS
@click.option("--tool", metavar="NAME", help="Name of the called tool.")
@click.option(
    "--args",
    "args_file",
    type=click.Path(path_type=Path, readable=False, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Arguments of the call, a JSON object; - reads standard input. Default: no arguments.",
)
@click.option("--principal", metavar="ID", help="The caller. Default: someone.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of the caller.")
@click.option("--agent", metavar="ID", help="The agent. Default: agent.")
@click.option(
    "--time",
    "at",
    metavar="TIME",
    help="Time of the call, such as 2026-03-29T01:00Z. Default: now.",
)
@click.option("--undeclared", is_flag=True, help="The guard does not know the tool.")
@click.option(
    "--from",
    "recorded",
    metavar="SEQ",
    help="Take the input from a recorded decision instead: a record number, a call or `last`.",
)
@click.option(
    "--engine",
    type=click.Choice(["embedded", "opa", "both"]),
    help="The engine to ask. Default: the engine in the settings.",
)
@tools_option
@ledger_options
@json_option
def evaluate(
    *,
    paths: Sequence[Path],
    tool: str | None,
    args_file: Path | None,
    principal: str | None,
    roles: Sequence[str],
    agent: str | None,
    at: str | None,
    undeclared: bool,
    recorded: str | None,
    engine: str | None,
    tools: Path | None,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
) -> int:
    """Evaluate the policies below PATH (default: those of the settings) for one call, and show the
    decision, the rules that fired, the rules that nearly fired with their first failed condition,
    and the input of the policy.

    Describe the call with --tool and --args, or take a recorded one with --from. A recorded input
    contains redacted values where values were removed. No tool runs, and nothing is recorded about
    a call. Exit code 0: every engine that was asked made the same decision, whether it allows the
    call or not; 1: the policies are refused, the arguments do not match the tool's schema, or the
    engines differ; 3: the input or the policies could not be read; 5: the policy has no decision,
    or failed.
    """
    from guardrail.authoring.evaluate import evaluate as run

    others = (args_file, principal, roles or None, agent, at, undeclared or None, tools)
    _require_one_source(tool, recorded, any(each is not None for each in others))
    chosen = policy_paths(paths, config)
    asked = engine or configured_engine(paths, config)
    document: dict[str, Any] | ArgumentsError
    if recorded is not None:
        document = _recorded(recorded, config, ledger)
    else:
        document = _described(
            str(tool),
            _read_args(args_file),
            tools,
            principal="someone" if principal is None else principal,
            roles=roles,
            agent="agent" if agent is None else agent,
            declared=not undeclared,
            now=_moment(at),
        )
    if isinstance(document, ArgumentsError):
        return _refused_arguments(document, as_json=as_json)
    found = run(
        chosen,
        document,
        embedded=asked != "opa",
        opa=None if asked == "embedded" else _opa(paths, config),
        zones=configured_zones(paths, config),
    )
    return _answer(found, as_json=as_json, fragment=recorded is not None)


def _answer(found: PolicyEvaluation, *, as_json: bool, fragment: bool) -> Exit:
    """Print the result, and return the exit code."""
    code = _exit_code(found)
    if as_json:
        emit_json({"exit": int(code), "agreed": found.agreed, **asdict(found)})
    else:
        _print(found, fragment=fragment)
    return code


def _require_one_source(tool: str | None, recorded: str | None, described: bool) -> None:
    """Raise ``click.UsageError`` unless the call is either described or taken from a record."""
    if (tool is None) == (recorded is None):
        raise click.UsageError(
            "describe the call with --tool, or take a recorded one with --from, but not both"
        )
    if recorded is not None and described:
        raise click.UsageError(
            "--from takes the whole input from the record: omit --args, --principal, --role, "
            "--agent, --time, --undeclared and --tools"
        )


def _opa(paths: Sequence[Path], config: Path | None) -> OpaProgram:
    from guardrail.policy.opa.program import require_opa

    return find_program(paths, config) or require_opa(None)


def _read_args(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    found = parse_value(read_bytes(path, _MAX_ARGS), path, hint=_ARGS_HINT)
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: it is not a JSON object", code="config.args", hint=_ARGS_HINT)
    return found


def _moment(at: str | None) -> str:
    """Return the time *at*, or now if it is None, in the form used in records. Raises
    ``click.UsageError``.
    """
    if at is None:
        return record_time(datetime.now(UTC))
    try:
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError
        return record_time(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"--time {at[:80]!r} is not a time with an offset, such as 2026-03-29T01:00Z"
        ) from None


def _described(
    tool: str, args: dict[str, Any], tools: Path | None, **who: Any
) -> dict[str, Any] | ArgumentsError:
    from guardrail.authoring.evaluate import call_input
    from guardrail.authoring.tools_file import load_tools
    from guardrail.identity.principal import check_id
    from guardrail.tools.tool import tool_name

    tool_name(tool)
    check_id(who["principal"], "--principal")
    check_id(who["agent"], "--agent")
    schemas = load_tools(tools) if tools is not None else None
    try:
        return call_input(tool, args, tools=schemas, **who)
    except ArgumentsError as error:
        return error


def _recorded(ref: str, config: Path | None, ledger: Path | None) -> dict[str, Any]:
    from guardrail.cli.commands.why import decision_of
    from guardrail.cli.sources import open_records
    from guardrail.review.sessions import with_outcome
    from guardrail.review.why import why_of

    with open_records(config, ledger, None, None) as reader:
        seq = decision_of(reader, ref)
        answer = why_of(reader, with_outcome(reader, seq))
    if not isinstance(answer.input, Mapping):
        raise ConfigError(
            f"record {seq}: {answer.input_sentence}",
            code="config.args",
            hint="describe the call with --tool and --args",
        )
    return dict(answer.input)


def _refused_arguments(error: ArgumentsError, *, as_json: bool) -> Exit:
    if as_json:
        emit_json({"exit": int(Exit.NO), "agreed": False, "arguments": error.message})
    else:
        for line in prose(one_line(error.message)):
            data(line)
        data(f"{paint('DENIED', Style.BAD)}  a guard denies this call without asking the policy")
    return Exit.NO


def _exit_code(found: PolicyEvaluation) -> Exit:
    if any(said.effect == "refused" for said in found.engines) or not found.agreed:
        return Exit.NO
    return Exit.YES if found.decided else Exit.RESERVED


def _print(found: PolicyEvaluation, *, fragment: bool) -> None:
    for said in found.engines:
        _engine(said)
    if not found.agreed:
        data()
        data(paint("The engines differ. A guard uses one of them: see [policy] engine.", Style.BAD))
    if found.missed:
        _missed(found.missed)
    elif found.engines[0].engine != "embedded" or found.engines[0].effect == "refused":
        data()
        data(paint("Only the embedded engine can show which rules nearly fired.", Style.DIM))
    if fragment and found.zones:
        zones = ", ".join(map(one_line, found.zones))
        data()
        for line in prose(
            f"The record has no offset for {zones}: it was added from this machine's zone data."
        ):
            data(paint(line, Style.DIM))
    data()
    data(paint(f"Input ({'as recorded' if fragment else 'as the policy sees it'})", Style.STRONG))
    size = len(json_text(found.input))
    if size > _MAX_SHOWN:
        data(f"{counted(size, 'character')} of JSON: --json shows them")
        return
    for line in tree(found.input):
        data(line)


def _engine(said: EngineDecision) -> None:
    from guardrail.cli.render import rule_lines
    from guardrail.review.records import rule_hits

    word, style = _WORDS.get(said.effect, (said.effect.upper(), Style.BAD))
    if said.effect == "deny":
        word = "DENIED"
    data(
        f"{paint(word, style)}  {said.engine} ({one_line(said.about)}), "
        f"{milliseconds(said.milliseconds)} ms"
    )
    print_findings(said.findings, Style.BAD)
    for line in hanging(rule_lines(rule_hits({"rules": list(said.rules)}))):
        data(f"  {line}")
    if said.redact:
        data(f"  redact: {escape(', '.join(map(str, said.redact)))}")


def _missed(missed: Sequence[NearMiss]) -> None:
    near = [each for each in missed if each.held or each.conditions == 1]
    near.sort(key=lambda each: each.held / each.conditions, reverse=True)
    data()
    data(paint("Rules that nearly fired", Style.STRONG))
    for each in near[:_SHOWN]:
        rule = escape(each.rule) or "(computed id)"
        held = f"{each.held} of {counted(each.conditions, 'condition')} held"
        for line in prose(
            f"{each.effect}: {rule}, {one_line(each.file)}:{each.line}: {held}", indent=2
        ):
            data(f"  {line}")
        for line in prose(f"fails: {one_line(' '.join(each.condition.split()))}", indent=4):
            data(f"    {line}")
        for text, value in each.values.items():
            data(f"    {one_line(text)} is {_shown(value)}")
    others = len(missed) - len(near[:_SHOWN])
    if others:
        data(
            f"  {counted(others, 'other rule')}, most of which fail at the first condition: --json "
            "lists them"
        )


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return inline(value, _WIDTH)
    text = escape(json_text(value))
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
