"""Tests use public names; each private one that a test needs is listed here, with the reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
FOREIGN = {"_exit", "_replace", "_run"}
"""Of ``os``, of named tuples and of LangChain's tools: not guardrail's."""

BOUNDED = {
    "anchors/witness/test_witness_server.py _open",
    "call/test_call_limits.py _counts",
    "call/test_learned_values.py _ids",
    "call/test_learned_values.py _recorder",
    "call/test_record_failures.py _parts",
    "call/test_record_failures.py _recorder",
    "core/redaction/test_redact_corners.py _replacer",
    "core/redaction/test_redact_schema.py _removed",
    "core/redaction/test_session_memory.py _ordinary",
    "policy/embedded/test_worker_processes.py _parties",
    "policy/embedded/test_worker_processes.py _shards",
}
"""Holds what callers choose and must not grow with it: no public name says how much it holds."""

PROCESSES = {
    "anchors/test_anchor_schedule.py _leads",
    "anchors/test_anchor_schedule.py _thread",
    "approvals/test_approval_forged.py _proofs",
    "approvals/test_approval_forged.py _turn",
    "bench/bench_policy.py _lanes",
    "call/test_call_limits.py _pid",
    "call/test_callers.py _after_fork",
    "call/test_callers.py _entries",
    "call/test_callers.py _owner",
    "ledger/test_ledger_unused_names.py _lock",
    "ledger/test_ledger_unused_names.py _turn",
    "ledger/writing/test_ledger_group_commit.py _inbox",
    "policy/embedded/test_reading_callers.py _lanes",
    "policy/embedded/test_reading_callers.py _pipe",
    "policy/embedded/test_worker_processes.py _lanes",
    "policy/embedded/test_worker_processes.py _spares",
    "policy/opa/test_opa_guard.py _refusal",
    "policy/opa/test_opa_hostile.py _refusal",
    "promises/test_p1_decided.py _lanes",
    "retention/test_retention_schedule.py _worker",
    "system/test_cpu_meter.py _LINE",
}
"""Processes, threads, locks and queues: a test harms them or waits for them, and no program may."""

FAULTS = {
    "anchors/test_anchor_schedule.py _saw",
    "anchors/test_anchor_schedule.py _state",
    "anchors/witness/test_witness_server.py _connection",
    "anchors/witness/test_witness_store.py _connection",
    "approvals/test_approval_forged.py _clock",
    "approvals/test_approval_records.py _identity",
    "attacks/test_attacks_meanwhile.py _entry",
    "attacks/test_attacks_meanwhile.py _sessions",
    "attacks/test_attacks_meanwhile.py _states",
    "call/test_call_limits.py _throttle",
    "call/test_session_owners.py _edge",
    "call/test_session_owners.py _check_claim",
    "call/test_session_owners.py _entry",
    "call/test_session_owners.py _sessions",
    "call/test_session_owners.py _states",
    "identity/test_introspection.py _MEMORY_S",
    "identity/test_introspection.py _checked",
    "identity/test_token_sessions.py _add",
    "ledger/sqlite/test_ledger_planted_objects.py _BASE",
    "ledger/test_ledger_heads.py _secrets",
    "ledger/test_ledger_unused_names.py _edge",
    "ledger/test_ledger_unused_names.py _line",
    "ledger/test_ledger_unused_names.py _place",
    "retention/test_retention_actions.py _record_segment",
    "retention/test_retention_prune.py _Pruner",
    "retention/test_retention_prune.py _begin",
    "retention/test_retention_prune.py _transaction",
    "review/doctor/test_doctor_checks.py _keys",
    "review/doctor/test_doctor_checks.py _policies",
    "support/crash/witness_sequence.py _connection",
}
"""A fault, an attack or a moment between two steps, made at the only place where it can be made."""

PARTS = {
    "bench/bench_call.py _journal",
    "bench/bench_call.py _policies",
    "bench/bench_call.py _recorder",
    "policy/opa/test_opa_commands.py _inspector",
    "retention/test_retention_schedule.py _state",
    "support/guards.py _policies",
    "support/guards.py _journal",
    "support/guards.py _tenants",
    "support/programs/guard_driver.py _committer",
    "support/programs/guard_driver.py _settings",
    "wiring/test_opening.py _policies",
}
"""The parts of a guard: for the kits that look into it, and for what measures each step."""


def private(name: str) -> bool:
    """Return True if a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__") and name not in FOREIGN


def own(tree: ast.Module) -> set[str]:
    """Return the private names that a file defines itself."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.update([node.attr] if ast.unparse(node.value) == "self" else [])
    return names


def used(tree: ast.Module) -> Iterator[str]:
    """Yield each private name that a file reads, changes, imports or patches elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}):
                yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "delattr")):
            texts = [each for each in node.args if isinstance(each, ast.Constant)]
            yield from (str(each.value).rsplit(".", 1)[-1] for each in texts)


def test_the_private_names_that_tests_use_are_those_that_are_named() -> None:
    """Exact, so that an exception that is no longer needed is removed."""
    found = set()
    for path in TESTS.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {name for name in used(tree) if private(name)} - own(tree)
        found |= {f"{path.relative_to(TESTS).as_posix()} {name}" for name in names}
    assert found == BOUNDED | PROCESSES | FAULTS | PARTS


def test_the_measure_sees_reads_changes_imports_and_patches() -> None:
    """And nothing that a file defines itself."""
    text = "from a import _b\nc._d\ne._f = 1\nmonkeypatch.setattr(g, '_h', 1)\nself._i\nos._exit(0)"
    assert {name for name in used(ast.parse(text)) if private(name)} == {"_b", "_d", "_f", "_h"}
    assert own(ast.parse("class A:\n def _m(self):\n  self._n = 1\n")) == {"A", "_m", "_n"}
