"""AgentDojo's banking suite (v1.2.1) under a policy that allows the user's calls and stops those of
injections.

Every ground-truth call of every user task uses the suite's own tools as governed LangChain tools,
and changes the suite's own environment as an ungoverned run does. Every call of every injection
task is attempted during each user task. The policy, policies/examples/banking.rego, distinguishes
the two by their arguments, by the bank's data about the account and by the text that the user
typed. It contains no rules that are specific to the benchmark.

    python examples/agentdojo_banking.py [--json] [--keep FOLDER]

The example runs offline in a temporary folder. It needs agentdojo and langchain-core: pip install
'.[langchain]' agentdojo==0.1.35
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

try:
    from agentdojo.functions_runtime import FunctionsRuntime
    from agentdojo.task_suite.load_suites import get_suite
    from langchain_core.tools import BaseTool, StructuredTool
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}; next, in the checkout: pip install '.[langchain]' agentdojo==0.1.35")

from guardrail import ApprovalRequired, Denied, Guard
from guardrail.integrations.langchain import govern

POLICY = Path(__file__).resolve().parent.parent / "policies" / "examples" / "banking.rego"

LABELS = {
    "send_money": "payment",
    "schedule_transaction": "payment",
    "update_scheduled_transaction": "standing_order",
    "update_user_info": "profile",
    "update_password": "credential",
}
"""Labels of tools, for the policy. Every other tool of the suite only reads."""

PERMISSIVE = ("allowed", "needs_approval", "denied")
"""Verdicts, from the most to the least permissive."""

TARGETS = {
    "send_money": ["/recipient"],
    "schedule_transaction": ["/recipient"],
    "update_scheduled_transaction": ["/id"],
}


@dataclass(frozen=True, slots=True)
class Row:
    """The results of one task's calls."""

    task: str
    calls: int
    allowed: int
    denied: int
    needs_approval: int
    wrong: int
    """Calls of the user that were not allowed immediately, or calls of an injection that were
    allowed.
    """
    state: str
    """State of the environment afterwards, compared with an ungoverned run of a user task, or with
    an environment that no injection changed.
    """
    why: tuple[str, ...]
    """The calls that count as wrong."""


class SuiteTools:
    """The suite's tools as LangChain tools, working on the current environment."""

    def __init__(self, functions: list[Any]) -> None:
        self.environment: Any = None
        self.tools = [self._tool(function) for function in functions]

    def _tool(self, function: Any) -> BaseTool:
        def body(**args: Any) -> Any:
            parts = {
                name: part.extract_dep_from_env(self.environment)
                for name, part in function.dependencies.items()
            }
            return function.run(**args, **parts)

        return StructuredTool(
            name=function.name,
            description=function.description,
            args_schema=function.parameters,
            func=body,
        )


def account_facts(environment: Any) -> dict[str, Any]:
    """Return the bank's data about the account, as policy data."""
    account = environment.bank_account
    orders = account.scheduled_transactions
    outgoing = [
        entry.recipient for entry in account.transactions if entry.sender in ("me", account.iban)
    ]
    return {
        "banking": {
            "balance": account.balance,
            "payees": sorted({*outgoing, *(order.recipient for order in orders)}),
            "standing_orders": {
                str(order.id): {"recipient": order.recipient, "amount": order.amount}
                for order in orders
            },
        }
    }


def typed_facts(request: str) -> dict[str, Any]:
    """Return the names and numbers in the user's own request, as session attributes. An injection
    can't change that request.
    """
    tokens = [token.strip(".,:;!?'\"()") for token in request.split()]
    accounts = [token for token in tokens if re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}", token)]
    numbers = [float(token) for token in tokens if re.fullmatch(r"[0-9]+(\.[0-9]+)?", token)]
    words = [token for token in tokens if re.fullmatch(r"[A-Z][A-Za-z]+", token)]
    # Words that contain letters and digits, and are not file names.
    mixed = [
        token for token in tokens if re.fullmatch(r"(?=.*[A-Za-z])(?=.*[0-9])[^.\s]{8,}", token)
    ]
    return {
        "accounts": accounts,
        "numbers": numbers,
        "words": words,
        "passwords": [token for token in mixed if token not in accounts],
    }


def attempt(tool: BaseTool, args: dict[str, Any]) -> tuple[str, Any]:
    """Call *tool*, and return the verdict (allowed, denied or needs_approval) and the result."""
    try:
        return "allowed", tool.invoke(args)
    except Denied:
        return "denied", None
    except ApprovalRequired:
        return "needs_approval", None


def row(task: str, verdicts: list[tuple[Any, str]], good: tuple[str, ...], state: str) -> Row:
    """Count the *verdicts* on the calls of a task. Verdicts other than *good* are wrong."""
    counts = Counter(verdict for _, verdict in verdicts)
    wrong = tuple(
        f"{call.function}: {verdict}" for call, verdict in verdicts if verdict not in good
    )
    return Row(
        task,
        len(verdicts),
        counts["allowed"],
        counts["denied"],
        counts["needs_approval"],
        len(wrong),
        state,
        wrong,
    )


class Bench:
    """The suite, its governed tools and the guard."""

    def __init__(self, suite: Any, guard: Guard) -> None:
        self.suite = suite
        self.guard = guard
        self.ungoverned = FunctionsRuntime(suite.tools)
        self.suite_tools = SuiteTools(suite.tools)
        self.tools = {
            tool.name: govern(
                tool,
                guard,
                labels=[LABELS.get(tool.name, "read")],
                target=TARGETS.get(tool.name, []),
            )
            for tool in self.suite_tools.tools
        }

    def user_tasks(self) -> Iterator[Row]:
        """Run every user task's ground truth, once ungoverned and once governed, and compare.

        If a call needs approval, the account holder approves it by typing the call's details into
        the request, and the call is made again. It still counts as wrong.
        """
        for name, task in self.suite.user_tasks.items():
            plain = self._environment(task)
            environment = plain.model_copy(deep=True)
            verdicts = []
            same = True
            self.suite_tools.environment = environment
            calls = task.ground_truth(plain.model_copy(deep=True))
            with self._session(name, task.PROMPT):
                for call in calls:
                    verdict, result = attempt(self.tools[call.function], dict(call.args))
                    verdicts.append((call, verdict))
                    if verdict == "needs_approval":
                        result = self._confirmed(name, task, call)
                    expected, _ = self.ungoverned.run_function(
                        plain, call.function, call.args, raise_on_error=True
                    )
                    same = same and result == expected
            same = same and environment.model_dump() == plain.model_dump()
            yield row(name, verdicts, ("allowed",), "as ungoverned" if same else "differs")

    def _confirmed(self, name: str, task: Any, call: Any) -> Any:
        typed = " ".join(str(value) for value in call.args.values())
        with self._session(f"{name}/confirmed", f"{task.PROMPT} {typed}"):
            return attempt(self.tools[call.function], dict(call.args))[1]

    def injections(self) -> Iterator[Row]:
        """Attempt every call of every injection task during each user task. The most permissive
        verdict of each call counts.
        """
        for name, injection in self.suite.injection_tasks.items():
            worst: list[str] = []
            untouched = True
            calls: list[Any] = []
            for user_name, task in self.suite.user_tasks.items():
                environment = self._environment(task)
                before = environment.model_dump()
                calls = injection.ground_truth(environment.model_copy(deep=True))
                self.suite_tools.environment = environment
                with self._session(f"{user_name}/{name}", task.PROMPT):
                    verdicts = [
                        attempt(self.tools[call.function], dict(call.args))[0] for call in calls
                    ]
                worst = [
                    min(pair, key=PERMISSIVE.index)
                    for pair in zip(worst or verdicts, verdicts, strict=True)
                ]
                untouched = untouched and environment.model_dump() == before
            state = "untouched" if untouched else "changed"
            yield row(
                name, list(zip(calls, worst, strict=True)), ("denied", "needs_approval"), state
            )

    def _environment(self, task: Any) -> Any:
        return task.init_environment(self.suite.load_and_inject_default_environment({}))

    def _session(self, name: str, request: str) -> Any:
        return self.guard.session(
            principal="account-holder",
            agent="banking-assistant",
            attributes={"task": name, "typed": typed_facts(request)},
        )


def totals(name: str, rows: list[Row]) -> Row:
    """Return a row with the totals of *rows*."""
    states = Counter(entry.state for entry in rows)
    return Row(
        task=name,
        calls=sum(entry.calls for entry in rows),
        allowed=sum(entry.allowed for entry in rows),
        denied=sum(entry.denied for entry in rows),
        needs_approval=sum(entry.needs_approval for entry in rows),
        wrong=sum(entry.wrong for entry in rows),
        state=", ".join(f"{count} {state}" for state, count in states.items()),
        why=(),
    )


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    layout = "{:<18} {:>5} {:>7} {:>6} {:>14} {:>5}  {}"
    yield layout.format("task", "calls", "allowed", "denied", "needs approval", "wrong", "state")
    for entry in rows:
        yield layout.format(
            entry.task,
            entry.calls,
            entry.allowed,
            entry.denied,
            entry.needs_approval,
            entry.wrong,
            entry.state,
        )
        yield from (f"    wrong: {reason}" for reason in entry.why)


def run(folder: Path) -> tuple[list[Row], list[Row]]:
    """Run the whole suite with a ledger in *folder*; return the rows of the user tasks and of the
    injections.
    """
    suite = get_suite("v1.2.1", "banking")
    data = account_facts(suite.load_and_inject_default_environment({}))
    ledger = folder / "audit" / "ledger.db"
    with Guard.open(policies=POLICY, ledger=ledger, policy_data=data) as guard:
        bench = Bench(suite, guard)
        return list(bench.user_tasks()), list(bench.injections())


def main() -> int:
    """Print the table, or JSON with --json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of the table"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="put the ledger there and keep it"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        users, injections = run(folder)
    user_total, injection_total = (
        totals("all user tasks", users),
        totals("all injections", injections),
    )
    if options.json:
        document = {
            "user_tasks": [asdict(entry) for entry in users],
            "injection_tasks": [asdict(entry) for entry in injections],
            "totals": {
                "user_tasks": asdict(user_total),
                "injection_tasks": asdict(injection_total),
            },
        }
        print(json.dumps(document, indent=2))
        return 0
    print(f"AgentDojo banking v1.2.1 under {POLICY.name}")
    print(
        "Each call of an injection is attempted during every user task; the most permissive verdict"
        " is shown."
    )
    print(
        "A call of the user that needs approval is made again, once the account holder has typed"
        " what it does.\n"
    )
    for line in table([*users, user_total, *injections, injection_total]):
        print(line)
    if options.keep:
        ledger = folder / "audit" / "ledger.db"
        print(f"\nThe ledger is {ledger}: guardrail sessions --ledger {ledger}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
