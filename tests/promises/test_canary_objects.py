"""Canaries in every live object of guardrail: in no text that Python makes of it."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.redaction.redactor import Inspection, Redactor
from guardrail.errors import GuardrailError
from guardrail.ledger.writing.writer import LedgerWriter
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.system import cpu_meter
from tests.support import canaries
from tests.support.guards import appearances, ruled

SUPPLIED = {"Principal", "Agent", "Session", "CallContext", "Decision", "Tool"}
"""Classes of plain values that the host or the policy supplies: a program that pickles one pickles
what is in it. The names of tools are such values, and a ``repr`` shows them.
"""
WAYS: dict[str, Callable[[object], str]] = {
    "repr": repr,
    "str": str,
    "pickle": lambda each: pickle.dumps(each).decode("latin-1"),
}
NAMES = {"tool name", "tool server", "rejected call", "rejected call of a server"}
PLACES = [name for name in canaries.IN_CALLS if name not in canaries.SUPPLIED | NAMES]
SAID = ["session attribute", "nested session attribute", "principal attribute", "delegation"]


class Look:
    """Looks at every object of guardrail that was made since, and is alive at some moment."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = [each.encode() for each in secrets]
        self.secrets = secrets
        self.seen: set[str] = set()
        self.leaks: dict[tuple[str, str], list[str]] = {}

    def __call__(self) -> None:
        for each in gc.get_objects():
            kind = type(each)
            if not str(kind.__module__).startswith("guardrail."):
                continue
            self.seen.add(f"{kind.__module__}.{kind.__qualname__}")
            for way, show in WAYS.items():
                if way == "pickle" and kind.__name__ in SUPPLIED:
                    continue
                self._show(kind, way, show, each)

    def _show(self, kind: type, way: str, show: Callable[[object], str], each: object) -> None:
        if (kind.__name__, way) in self.leaks:
            return
        try:
            shown = show(each)
        except Exception as error:  # a pickle that is refused, or an object that is half made
            shown = repr(error)
        data = shown.encode("latin-1", "backslashreplace")
        for secret in self.secrets:
            if found := appearances(secret, data):
                self.leaks[kind.__name__, way] = found


@contextmanager
def looking(look: Look, monkeypatch: pytest.MonkeyPatch, hooks: dict[type, str]) -> Iterator[None]:
    """Look before each of *hooks* runs, in some calls: there, a call is half done."""

    def hook(owner: type, name: str) -> None:
        real, count = getattr(owner, name), iter(range(1_000_000))

        def looked(*args: Any, **options: Any) -> Any:
            if next(count) % 11 == 0:
                look()
            return real(*args, **options)

        monkeypatch.setattr(owner, name, looked)

    gc.collect()
    gc.freeze()
    try:
        for owner, name in hooks.items():
            hook(owner, name)
        yield
    finally:
        gc.unfreeze()


def test_no_object_shows_or_pickles_a_canary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any class, also of one that is added later: objects are found by their class's module, in
    the middle of calls (views, input, decision, record), in bodies, and after denials.
    """
    shaped, known = canaries.shaped(), canaries.plain()
    look = Look(shaped, known)
    hooks = {
        Redactor: "inspect",
        EmbeddedEngine: "decide",
        Inspection: "view",
        LedgerWriter: "submit",
    }
    monkeypatch.setattr(cpu_meter, "SECONDS", 60.0)  # looking at all objects counts, too
    errors: list[GuardrailError] = []
    with (
        looking(look, monkeypatch, hooks),  # type: ignore[arg-type]
        ruled(tmp_path, canaries.ECHOES) as guard,
    ):
        canaries.prepare(guard)
        for number, secret in enumerate((shaped, known)):
            with guard.session(principal="alice", agent="bot", id=f"canary-{number}"):
                canaries.learn(guard, secret)
                for name in PLACES:
                    canaries.IN_CALLS[name](guard, secret)
                for echo in ("message", "needs")[: 1 + (secret == shaped)]:
                    with pytest.raises(GuardrailError) as caught:
                        guard.call("send", {"echo": echo, "text": secret}, lambda **_: 1)
                    errors.append(caught.value)
                guard.call("send", {"text": secret, secret: [secret]}, lambda **_: look())
                admission = guard.admit("send", {"text": secret})
                look()
                admission.settle("ok", result=secret)
        for name in SAID:
            with guard.session(**{"principal": "alice", **canaries.SESSIONS[name](shaped)}):
                guard.call("send", {"text": "x"}, lambda **_: look())
    assert look.leaks == {}
    assert {"Denied", "ApprovalRequired"} <= {type(each).__name__ for each in errors}
    made = {name.rpartition(".")[2] for name in look.seen}
    assert {"Request", "Prepared", "Decided", "Admitted", "Snapshot", "Draft", "Walk"} <= made
    assert {"Guard", "Admission", "SessionScope", "Memory", "TenantKeys", "CallSteps"} <= made
    assert len(made) > 100
