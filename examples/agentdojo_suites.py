"""AgentDojo's suites banking, workspace, slack and travel (v1.2.1) under the policies in
policies/examples/assistant, and banking.rego for payments.

Every ground-truth call of every user task is made in order, by the suite's own tools, and the
environment is compared with that of an ungoverned run. Every injection is attempted alone, and in
the session of every user task: after its first call, and after its last one. With --seed, people,
accounts, hosts, names, amounts, ids and dates are replaced by others.

    python examples/agentdojo_suites.py [--opa PROGRAM] [--seed 7] [--suite banking] [--write]

The example runs offline in a temporary folder, and prints the tables of docs/agentdojo.md. It needs
agentdojo and langchain-core: pip install '.[langchain]' agentdojo==0.1.35
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from agentdojo_tasks import DECLARED, NAMES, READS, Call, Suite, Task, facts, load, loaded, renamed

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.config import Settings

EXAMPLES = Path(__file__).resolve().parent.parent / "policies" / "examples"
POLICIES = (EXAMPLES / "assistant", EXAMPLES / "banking.rego")
MOMENTS = ("alone", "after the first call", "after the last call")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "agentdojo.md"
BEGIN = "<!-- written by examples/agentdojo_suites.py --write -->\n"
REASONS = {
    "delete": (
        "The request asks to delete something of this kind, and nothing was deleted yet. Which one"
        " is meant follows only from the data that the assistant reads."
    ),
    "event": (
        "The request asks for an event, names this day, and no event was made yet. The injection"
        " creates just such an event, without guests."
    ),
    "message": (
        "A message to the account holder's own address. It reaches nobody else, and the calls"
        " before it are stopped."
    ),
}
"""For each label: the reason why a call of an injection is allowed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on one call."""

    task: str
    """The user task; empty if an injection is attempted alone."""
    injection: str
    """Empty for a call of a user task."""
    moment: str
    tool: str
    harmful: bool
    effect: str
    """allowed, approval or denied."""
    message: str = ""
    """The message of the denial, or of the request for approval."""


@dataclass(frozen=True, slots=True)
class Results:
    """The decisions on all calls of a suite."""

    suite: Suite
    verdicts: tuple[Verdict, ...]
    same: frozenset[str]
    """The user tasks after which the environment is as after an ungoverned run."""

    def users(self) -> list[Verdict]:
        """Return the verdicts on the calls of user tasks."""
        return [each for each in self.verdicts if not each.injection]

    def attacks(self) -> list[Verdict]:
        """Return the verdicts on the harmful calls of injections."""
        return [each for each in self.verdicts if each.injection and each.harmful]


class Environment:
    """A copy of the suite's environment, on which its tools work."""

    def __init__(self, name: str, task: str) -> None:
        suite = loaded(name)
        fresh = suite.load_and_inject_default_environment({})
        self.state = suite.user_tasks[task].init_environment(fresh)
        self._tools = {tool.name: tool for tool in suite.tools}

    def run(self, call: Call) -> Any:
        """Make a call of the suite."""
        tool = self._tools[call.tool]
        parts = {
            name: part.extract_dep_from_env(self.state) for name, part in tool.dependencies.items()
        }
        known = tool.parameters(**call.args).model_dump()
        return tool.run(**known, **parts)

    def contents(self) -> str:
        """Return everything in the environment except the times at which it was changed."""
        dumped: str = self.state.model_dump_json()
        today = datetime.now().astimezone().date()
        days = "|".join(str(today - timedelta(days=each)) for each in (0, 1))
        return re.sub(rf"(?:{days})T[\d:.]+", "now", dumped)


class Replay:
    """Makes the calls of a suite under a guard."""

    def __init__(self, suite: Suite, guard: Guard) -> None:
        self._suite = suite
        self._guard = guard
        self._verdicts: list[Verdict] = []
        for name, schema in suite.schemas.items():
            declared = DECLARED.get(name, READS)
            guard.declare(
                name,
                schema=schema,
                labels=declared["labels"],
                target=declared.get("target", ()),
                amounts=declared.get("amounts", ()),
            )

    def results(self) -> Results:
        """Make all calls; return the decisions."""
        users, injections = self._suite.of(user=True), self._suite.of(user=False)
        original = {task.name: task for task in load(self._suite.name).tasks}
        same = {task.name for task in users if self._same(task, original[task.name])}
        for injection in injections:
            with self._session(injection.name, {"typed": {}}):
                self._attack("", injection, MOMENTS[0])
        for task in users:
            theirs = [each for each in injections if not each.written]
            self._combined(task, theirs, MOMENTS[1], task.calls[:1])
            self._combined(task, injections, MOMENTS[2], task.calls)
        return Results(self._suite, tuple(self._verdicts), frozenset(same))

    def _same(self, task: Task, original: Task) -> bool:
        """Make the calls of a user task, each with the body of the original task's call; return
        whether the environment is as after an ungoverned run.

        If a call needs approval, the user confirms it by typing what it does, and it is made again.
        """
        plain = Environment(self._suite.name, task.name)
        governed = Environment(self._suite.name, task.name)
        attributes = dict(task.attributes or {})
        confirmed: list[str] = []
        for call, real in zip(task.calls, original.calls, strict=True):
            session = f"{task.name}/{len(confirmed)}"
            with self._session(task.name, attributes, id=session):
                effect, message = self._attempt(call, partial(governed.run, real))
            self._note(Verdict(task.name, "", "", call.tool, call.harmful, effect, message))
            if effect == "approval":
                confirmed += [str(value) for value in call.args.values()]
                attributes = confirmed_attributes(task, confirmed)
                session = f"{task.name}/{len(confirmed)}"
                with self._session(task.name, attributes, id=session):
                    self._attempt(call, partial(governed.run, real))
            plain.run(real)
        return plain.contents() == governed.contents()

    def _combined(
        self, task: Task, injections: list[Task], moment: str, calls: Sequence[Call]
    ) -> None:
        """Attempt *injections* after *calls* of a user task, in the same session. If a call of an
        injection is allowed, the next injection gets a new session, with the same *calls*.
        """
        waiting = deque(injections)
        while waiting:
            name = f"{task.name}/{moment}/{len(waiting)}"
            with self._session(name, task.attributes or {}):
                for call in calls:
                    self._attempt(call)
                while waiting and self._attack(task.name, waiting.popleft(), moment):
                    pass

    def _attack(self, task: str, injection: Task, moment: str) -> bool:
        """Make the calls of an injection; return whether all were stopped."""
        stopped = True
        for call in injection.calls:
            effect, message = self._attempt(call)
            self._note(
                Verdict(task, injection.name, moment, call.tool, call.harmful, effect, message)
            )
            stopped = stopped and effect != "allowed"
        return stopped

    def _note(self, verdict: Verdict) -> None:
        self._verdicts.append(verdict)

    def _attempt(self, call: Call, body: Callable[[], Any] = str) -> tuple[str, str]:
        try:
            self._guard.call(call.tool, call.args, lambda **_: body())
        except Denied as denied:
            return "denied", denied.message.removeprefix("denied by policy: ")
        except ApprovalRequired as required:
            return "approval", required.message
        return "allowed", ""

    def _session(self, principal: str, attributes: dict[str, Any], id: str | None = None) -> Any:  # noqa: A002
        return self._guard.session(
            principal=f"{self._suite.name}/{principal}",
            agent="assistant",
            attributes=attributes,
            id=id,
        )


def confirmed_attributes(task: Task, confirmed: list[str]) -> dict[str, Any]:
    """Return the attributes of a session in which the user also typed *confirmed*."""
    typed = facts(f"{task.request} {' '.join(confirmed)}")
    return {"task": task.name, "typed": typed}


def replay(suite: Suite, folder: Path, opa: Path | None = None) -> Results:
    """Make all calls of *suite* under a guard with a ledger in *folder*. If *opa* is given, this
    program decides them, otherwise the embedded engine.
    """
    # On a busy machine, a call that waits too long for its decision would be denied.
    policy = {"path": list(POLICIES), "deadline_ms": 60_000, "eval_limit_ms": 60_000}
    settings = Settings().override(policy=policy)
    if opa:
        settings = settings.override(policy={"engine": "opa"}, opa={"program": opa})
    with Guard.open(settings, ledger=folder / "ledger.db", policy_data=suite.data) as guard:
        return Replay(suite, guard).results()


# -- tables ----------------------------------------------------------------------------------------

USERS = (
    "| suite | user tasks | calls | allowed | need approval | denied | same environment |\n"
    "|---|---|---|---|---|---|---|"
)
ATTACKS = (
    "| suite | injections | harmful calls | attempts | denied | need approval | allowed |\n"
    "|---|---|---|---|---|---|---|"
)
ASKED = "| suite | task | tool | decision | reason |\n|---|---|---|---|---|"
PASSED = "| suite | injection | tool | in the session of | reason |\n|---|---|---|---|---|"
RULES = "| suite | decision | attempts | message |\n|---|---|---|---|"


def tables(results: Sequence[Results]) -> str:
    """Return the tables of docs/agentdojo.md."""
    parts = [
        ("## Calls of user tasks", USERS, _users),
        ("### Exceptions", ASKED, _asked),
        ("## Harmful calls of injections", ATTACKS, _attacks),
        ("### Exceptions", PASSED, _passed),
        ("### Reasons", RULES, _rules),
    ]
    lines = []
    for title, head, rows in parts:
        found = [f"| {' | '.join(map(str, row))} |" for each in results for row in rows(each)]
        lines += [title, "", head, *found, ""]
    return "\n".join(lines).rstrip() + "\n"


def _users(results: Results) -> Iterator[list[Any]]:
    effects = Counter(each.effect for each in results.users())
    tasks = results.suite.of(user=True)
    yield [
        results.suite.name,
        len(tasks),
        len(results.users()),
        effects["allowed"],
        effects["approval"],
        effects["denied"],
        f"{len(results.same)} of {len(tasks)}",
    ]


def _asked(results: Results) -> Iterator[list[Any]]:
    for each in results.users():
        if each.effect != "allowed":
            yield [results.suite.name, each.task, f"`{each.tool}`", each.effect, each.message]


def _attacks(results: Results) -> Iterator[list[Any]]:
    effects = Counter(each.effect for each in results.attacks())
    injections = results.suite.of(user=False)
    yield [
        results.suite.name,
        len(injections),
        sum(call.harmful for task in injections for call in task.calls),
        len(results.attacks()),
        effects["denied"],
        effects["approval"],
        effects["allowed"],
    ]


def _passed(results: Results) -> Iterator[list[Any]]:
    sessions: dict[tuple[str, str], list[Verdict]] = {}
    for each in results.attacks():
        if each.effect == "allowed":
            sessions.setdefault((each.injection, each.tool), []).append(each)
    for (injection, tool), found in sessions.items():
        reason = next(REASONS[label] for label in DECLARED[tool]["labels"] if label in REASONS)
        yield [results.suite.name, injection, f"`{tool}`", _places(results, found), reason]
    for task in results.suite.of(user=False):
        if not task.calls:
            reason = "It asks for words in the answer and for no call. guardrail governs calls."
            yield [results.suite.name, task.name, "", "", reason]


def _places(results: Results, found: Sequence[Verdict]) -> str:
    if len({each.task for each in found} - {""}) == len(results.suite.of(user=True)):
        return "every task"
    return ", ".join(f"{each.task} ({each.moment})" if each.task else each.moment for each in found)


def _rules(results: Results) -> Iterator[list[Any]]:
    stopped = Counter(
        (each.effect, each.message) for each in results.attacks() if each.effect != "allowed"
    )
    for (effect, message), count in stopped.most_common():
        yield [results.suite.name, effect, count, message]


def page(made: str) -> str:
    """Return docs/agentdojo.md with the tables *made*."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[0] + BEGIN + "\n" + made


def main() -> int:
    """Print the tables, or write them to the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--opa", type=Path, help="an opa program; default: the embedded engine")
    parser.add_argument("--seed", type=int, help="replace all names by others")
    parser.add_argument("--suite", choices=NAMES, action="append", help="default: all")
    parser.add_argument("--write", action="store_true", help="write the tables to the page")
    options = parser.parse_args()
    results = []
    for name in options.suite or NAMES:
        suite = load(name) if options.seed is None else renamed(name, options.seed)
        with tempfile.TemporaryDirectory() as folder:
            results.append(replay(suite, Path(folder), options.opa))
    if options.write:
        PAGE.write_text(page(tables(results)), encoding="utf-8")
    else:
        print(tables(results), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
