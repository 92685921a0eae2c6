"""One tree of errors; what an agent may see holds nothing else."""

from __future__ import annotations

import copy
import pickle
import traceback
from pathlib import Path

import pytest

import guardrail
from guardrail import errors
from guardrail.errors import (
    ApprovalRequired,
    ArgumentsError,
    Denied,
    Finding,
    GuardrailError,
    LedgerSealedError,
    PolicyError,
    PolicyLoadError,
)


def test_every_error_is_in_the_tree_and_in_its_drawing() -> None:
    """The module's docstring is the reference."""
    for name in errors.__all__:
        if name in {"Finding", "SchemaWarning"}:
            continue
        assert issubclass(getattr(errors, name), GuardrailError)
        assert name in (errors.__doc__ or "")


def test_a_denial_shows_its_public_message_and_seq_alone() -> None:
    """str, repr, args and a pickle of it."""
    denied = Denied("denied by policy: no", seq=7, cause="policy")
    assert str(denied) == "denied by policy: no"
    assert repr(denied) == "Denied('denied by policy: no', seq=7)"
    assert denied.args == ("denied by policy: no",)
    again = pickle.loads(pickle.dumps(denied))
    assert (str(again), again.seq, again.hint) == (str(denied), 7, "guardrail why 7")


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (Denied("no", seq=7), "[denied.policy] next: guardrail why 7"),
        (Denied("no", seq=7, cause="identity", hint="open a session"), "next: open a session"),
        (ApprovalRequired("ask", seq=3, approval="01"), "next: guardrail approve 01 --reason TEXT"),
        (
            LedgerSealedError("m", hint="guardrail recover"),
            "[ledger.sealed] next: guardrail recover",
        ),
        (GuardrailError("m"), "[guardrail]"),
    ],
)
def test_a_traceback_ends_with_code_and_hint(error: GuardrailError, note: str) -> None:
    """For the developer; once, also after a pickle, and in nothing else that shows the error."""
    for shown in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        (told,) = shown.__notes__
        assert "".join(traceback.format_exception(shown)).endswith(f"{told}\n")
        assert shown.hint == "" or shown.hint not in f"{shown} {shown!r} {shown.args}"
    (told,) = error.__notes__
    assert told.endswith(note)


def test_a_hint_that_is_found_later_takes_the_place_of_the_first() -> None:
    """Notes of others stay."""
    error = LedgerSealedError("m", hint="guardrail doctor")
    error.add_note("while the report was made")
    error.hint = "guardrail recover"
    assert error.__notes__ == [
        "while the report was made",
        "[ledger.sealed] next: guardrail recover",
    ]
    assert pickle.loads(pickle.dumps(error)).__notes__ == error.__notes__


def test_a_pickled_denial_holds_no_hint_that_was_given() -> None:
    """An agent may get the pickle."""
    assert b"open a session" not in pickle.dumps(Denied("no", seq=7, hint="open a session"))


def test_an_approval_request_travels_as_well() -> None:
    """As a denial does."""
    asked = ApprovalRequired("a person must agree", seq=3)
    again = pickle.loads(pickle.dumps(asked))
    assert (repr(again), again.seq) == ("ApprovalRequired('a person must agree', seq=3)", 3)


@pytest.mark.parametrize(
    "error",
    [
        GuardrailError("m", code="c", hint="h"),
        PolicyError("m", cause="timeout", detail="deadline"),
        PolicyLoadError(
            [Finding("a.rego", 3, "walk-assigned", "no"), Finding("-", 0, "x", "y")] * 2
        ),
        ArgumentsError("m", detail="type", pointer="/a"),
        LedgerSealedError("m"),
    ],
)
def test_errors_survive_a_process_boundary(error: GuardrailError) -> None:
    """With everything they carry."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def test_a_load_error_names_every_place() -> None:
    """The first three in its message, all in findings."""
    error = PolicyLoadError([Finding("a.rego", line, "c", "m") for line in range(1, 6)])
    assert "a.rego:1: m [c]" in str(error)
    assert "and 2 more" in str(error)
    assert len(error.findings) == 5
    assert str(Finding("-", 0, "c", "m")) == "-: m [c]"


@pytest.mark.parametrize(
    ("codes", "hint"),
    [
        (["test-failed"], "guardrail policy test"),
        (["walk-assigned", "x"], "guardrail policy check"),
        (["test-failed", "x"], "guardrail policy check, and guardrail policy test"),
        ([], "guardrail policy check"),
    ],
)
def test_a_load_error_leads_to_the_command_that_shows_its_findings(
    codes: list[str], hint: str
) -> None:
    """`policy check` runs no tests."""
    assert PolicyLoadError([Finding("a.rego", 1, code, "m") for code in codes]).hint == hint


def test_a_system_error_has_a_reason_whatever_raised_it() -> None:
    """Never empty and never None; what an error without a ``strerror`` says is kept, a path is
    not.
    """
    import errno

    from guardrail.errors import os_reason

    assert os_reason(OSError(errno.ENOENT, "No such file or directory", "/home/x")) == (
        "No such file or directory"
    )
    assert os_reason(OSError("AF_UNIX path too long")) == "AF_UNIX path too long"
    assert os_reason(TimeoutError()) == "TimeoutError"
    assert os_reason(OSError(errno.EIO, None, "/home/x")) == "OSError"  # type: ignore[arg-type]


def test_no_message_is_made_of_what_an_error_may_not_have() -> None:
    """Each place says why through ``os_reason``: ``strerror`` can be None."""
    root = Path(guardrail.__file__).parent
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in sorted(root.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ".strerror" in line and "os.strerror" not in line and "strerror or " not in line
    ]
    assert found == []
