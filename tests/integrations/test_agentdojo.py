"""AgentDojo's banking and workspace suites through plain functions, LangChain and a ToolBox: the
same decisions on every way, and for the allowed calls the environment of an ungoverned run.
"""

from __future__ import annotations

import functools
import inspect
import json
import runpy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.tools import tool as langchain_tool
from openai.types.chat import ChatCompletion

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.integrations.langchain import govern
from guardrail.integrations.openai import ToolBox
from tests.support.guards import records

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent

WORKSPACE = """package guardrail.policy

reads := {"get", "list", "search"}
own := ["bluesparrowtech.com", "luesparrowtech.com"]
args := input.action.properties.args

allow contains "reads" if split(input.resource.id, "_")[0] in reads
allow contains "files" if input.resource.id in {"create_file", "append_to_file", "share_file"}
allow contains "calendar" if input.resource.id in {
    "create_calendar_event", "reschedule_calendar_event", "add_calendar_event_participants",
}
allow contains "mail" if input.resource.id == "send_email"
deny contains {"rule": "outside", "message": "mail to somebody outside"} if {
    input.resource.id == "send_email"
    some recipient in args.recipients
    not is_own(recipient)
}
is_own(recipient) if split(recipient, "@")[1] in own
require_approval contains "deletes" if startswith(input.resource.id, "delete_")
allow contains "deletes" if startswith(input.resource.id, "delete_")
"""


class Task(NamedTuple):
    """The calls of a task, and what the policy knows about it."""

    name: str
    calls: list[Any]
    environment: Any
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """A suite of AgentDojo, its tasks and its policy."""

    functions: list[Any]
    tasks: list[Task]
    policy: str
    data: dict[str, Any] | None
    labels: dict[str, str]


@functools.cache
def suite(name: str) -> Suite:
    """Load a suite, once: each run works on copies of its environments."""
    from agentdojo.task_suite.load_suites import get_suite

    loaded = get_suite("v1.2.1", name)
    fresh = loaded.load_and_inject_default_environment({})
    example = runpy.run_path(str(ROOT / "examples" / "agentdojo_banking.py"))
    tasks = []
    for kind in (loaded.user_tasks, loaded.injection_tasks):
        for task_name, task in kind.items():
            environment = fresh.model_copy(deep=True)
            if kind is loaded.user_tasks:
                environment = task.init_environment(environment)
            calls = task.ground_truth(environment.model_copy(deep=True))
            typed = example["typed_facts"](getattr(task, "PROMPT", ""))
            tasks.append(Task(task_name, calls, environment, {"typed": typed}))
    if name == "workspace":
        return Suite(loaded.tools, tasks, WORKSPACE, None, {})
    policy = (ROOT / "policies" / "examples" / "banking.rego").read_text(encoding="utf-8")
    data = example["account_facts"](fresh)
    return Suite(loaded.tools, tasks, policy, data, example["LABELS"])


class Bodies:
    """The tools of a suite as functions of a program, which work on the current environment."""

    def __init__(self, functions: list[Any]) -> None:
        self.environment: Any = None
        self.runs: list[str] = []
        self.made = {each.name: self._function(each) for each in functions}

    def _function(self, original: Any) -> Callable[..., Any]:
        def body(**arguments: Any) -> Any:
            self.runs.append(original.name)
            parts = {
                name: part.extract_dep_from_env(self.environment)
                for name, part in original.dependencies.items()
            }
            return original.run(**arguments, **parts)

        signature = inspect.signature(original.run, eval_str=True)
        shown = [
            each for each in signature.parameters.values() if each.name not in original.dependencies
        ]
        body.__name__ = original.name
        body.__doc__ = original.description
        body.__signature__ = signature.replace(parameters=shown, return_annotation=Any)  # type: ignore[attr-defined]
        body.__annotations__ = {each.name: each.annotation for each in shown} | {"return": Any}
        return body


Attempt = Callable[[str, dict[str, Any]], None]
"""Makes one call by name."""


def functions(guard: Guard, bodies: Bodies, labels: dict[str, str]) -> Attempt:
    made: dict[str, Any] = {
        name: guard.tool(labels=[labels.get(name, "read")])(body)
        for name, body in bodies.made.items()
    }

    def attempt(name: str, arguments: dict[str, Any]) -> None:
        try:
            made[name](**arguments)
        except (Denied, ApprovalRequired):
            pass

    return attempt


def langchain(guard: Guard, bodies: Bodies, labels: dict[str, str]) -> Attempt:
    made = {
        name: govern(langchain_tool(body), guard, labels=[labels.get(name, "read")])
        for name, body in bodies.made.items()
    }

    def attempt(name: str, arguments: dict[str, Any]) -> None:
        made[name].invoke({"type": "tool_call", "id": "call-1", "name": name, "args": arguments})

    return attempt


def toolbox(guard: Guard, bodies: Bodies, labels: dict[str, str]) -> Attempt:
    box = ToolBox(guard)
    for name, body in bodies.made.items():
        box.tool(labels=[labels.get(name, "read")])(body)

    def attempt(name: str, arguments: dict[str, Any]) -> None:
        (message,) = box.run(completion(name, json.dumps(arguments)))
        assert message["role"] == "tool"

    return attempt


def completion(name: str, arguments: str) -> ChatCompletion:
    """Return a model's answer that makes one call."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    return ChatCompletion.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-5",
            "choices": [choice],
        }
    )


WAYS = {"functions": functions, "langchain": langchain, "toolbox": toolbox}


class Verdict(NamedTuple):
    """A decision, without what differs between two logs."""

    tool: str
    arguments: tuple[str, ...]
    effect: str
    cause: str
    rules: tuple[str, ...]


@contextmanager
def opened(folder: Path, chosen: Suite) -> Iterator[Guard]:
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "policy.rego").write_text(chosen.policy, encoding="utf-8")
    with Guard.open(
        policies=folder / "policies",
        ledger=folder / "audit" / "ledger.db",
        policy_data=chosen.data,
    ) as guard:
        yield guard


def state_of(environment: Any) -> Any:
    """Return everything in *environment*. A mail that a call sent has the time of the run."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items()}
        if isinstance(value, list):
            return [timeless(each) for each in value]
        now = isinstance(value, datetime) and value.year > 2024
        return "now" if now else value

    return timeless(environment.model_dump())


def run_way(folder: Path, chosen: Suite, way: str) -> tuple[list[Verdict], list[Any]]:
    """Run every task; return the decisions, and what the environments are then."""
    bodies = Bodies(chosen.functions)
    left = []
    with opened(folder, chosen) as guard:
        attempt = WAYS[way](guard, bodies, chosen.labels)
        for task in chosen.tasks:
            bodies.environment = task.environment.model_copy(deep=True)
            with guard.session("user", "assistant", attributes=task.attributes):
                for call in task.calls:
                    attempt(call.function, dict(call.args))
            left.append(state_of(bodies.environment))
    db = folder / "audit" / "ledger.db"
    verdicts = [verdict(record) for record in records(db, "call.decision")]
    allowed = [each.tool for each in verdicts if each.effect == "allow"]
    assert bodies.runs == allowed
    assert len(records(db, "call.outcome")) == len(allowed)
    return verdicts, left


def verdict(record: dict[str, Any]) -> Verdict:
    decision = record["decision"]
    return Verdict(
        record["tool"]["name"],
        tuple(sorted(record["input"]["action"]["properties"]["args"])),
        decision["effect"],
        decision["cause"],
        tuple(sorted(rule["rule"] for rule in decision["rules"])),
    )


def run_ungoverned(chosen: Suite, verdicts: list[Verdict]) -> list[Any]:
    """Run the calls that were allowed without a guard; return what the environments are then."""
    from agentdojo.functions_runtime import FunctionsRuntime

    runtime = FunctionsRuntime(chosen.functions)
    judged = iter(verdicts)
    left = []
    for task in chosen.tasks:
        environment = task.environment.model_copy(deep=True)
        for call in task.calls:
            found = next(judged)
            assert found.tool == call.function
            if found.effect == "allow":
                runtime.run_function(environment, call.function, call.args, raise_on_error=True)
        left.append(state_of(environment))
    assert next(judged, None) is None
    return left


@pytest.mark.parametrize(("name", "calls"), [("banking", 45), ("workspace", 94)])
def test_every_way_decides_the_same_and_leaves_the_same_environment(
    tmp_path: Path, name: str, calls: int
) -> None:
    """Every ground-truth call of every user task and of every injection."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = suite(name)
    found = {way: run_way(tmp_path / way, chosen, way) for way in WAYS}
    verdicts, left = found["functions"]
    assert len(verdicts) == calls
    assert {each.effect for each in verdicts} == {"allow", "deny", "require_approval"}
    for way in WAYS:
        assert found[way][0] == verdicts, way
        assert differing(chosen, found[way][1], left) == [], way
    assert differing(chosen, run_ungoverned(chosen, verdicts), left) == []


def differing(chosen: Suite, found: list[Any], wanted: list[Any]) -> list[str]:
    """Return the tasks whose environments differ."""
    pairs = zip(chosen.tasks, found, wanted, strict=True)
    return [task.name for task, one, other in pairs if one != other]
