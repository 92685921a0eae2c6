"""Recall and excess on calls and strings that others published. NOT RUN unless
``GUARDRAIL_CORPORA`` names their folder.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.session_memory import Memory

_FOLDER = os.environ.get("GUARDRAIL_CORPORA", "")
pytestmark = [
    pytest.mark.corpora,
    pytest.mark.skipif(not _FOLDER, reason="NOT RUN: GUARDRAIL_CORPORA names no folder"),
]

# Floors, a little below what is reached. The figures are in sample: key families and detectors were
# written by someone who had seen these corpora, as families and not as their lists. Other tools
# will do worse.
_TAU_CALLS = 0.99
_TAU_OUTPUTS = 0.995
_KINGFISHER = 0.88
_BENIGN_CHARS = 0.01
_BENIGN_TURNS = 0.02


_MARK = re.compile(r"gr1:[a-z_]+:[\w-]+:[a-z2-7]{24}")


def _token(cls: str, value: str) -> str:
    digest = hashlib.sha256(f"{cls}\0{value}".encode("utf-8", "surrogatepass")).digest()
    return f"gr1:{cls}:k1:{base64.b32encode(digest[:15]).decode('ascii').lower()}"


REDACTOR = Redactor(token=_token, mark=lambda cls: f"gr1:{cls}:-:{'a' * 24}")


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(Path(_FOLDER) / name, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _left(value: str, text: str) -> bool:
    if len(value) <= 4:
        return re.search(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", text) is not None
    return value in text or json.dumps(value)[1:-1] in text


def _recall(name: str, field: str) -> float:
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for row in _rows(name):
        view = REDACTOR.inspect(row[field], schema=None, declared=True, memory=Memory()).view()
        text = _MARK.sub(" ", json.dumps(view.value, ensure_ascii=False))
        for label in row["labels"]:
            total[label["class"]] += 1
            if _left(str(label["value"]), text):
                missed[label["class"]] += 1
            else:
                found[label["class"]] += 1
    for cls in sorted(total):
        print(f"{name} {cls}: {found[cls]}/{total[cls]} = {found[cls] / total[cls]:.3f}")
    share = found.total() / total.total()
    print(f"{name} total: {found.total()}/{total.total()} = {share:.4f}")
    return share


def test_personal_data_in_tool_calls_is_removed() -> None:
    """Labelled personal data of the retail and airline calls is in no recorded argument."""
    assert _recall("tau_tool_calls.jsonl.gz", "args") >= _TAU_CALLS


def test_personal_data_in_tool_outputs_is_removed() -> None:
    """Labelled personal data of profiles, orders and reservations is in no recorded output."""
    assert _recall("tau_tool_outputs.jsonl.gz", "output") >= _TAU_OUTPUTS


def test_published_secret_examples_are_removed() -> None:
    """Examples of 745 secret scanning rules lose the value that the rule captures."""
    found = total = 0
    for row in _rows("kingfisher_examples.jsonl.gz"):
        total += 1
        # The marks themselves are no leak, though one says "secret".
        found += row["secret"] not in _MARK.sub(" ", REDACTOR.text(row["text"], Memory()))
    print(f"kingfisher: {found}/{total} = {found / total:.4f}")
    assert found / total >= _KINGFISHER


@pytest.mark.parametrize(
    ("name", "limit"),
    [("bfcl_tool_calls_dev.jsonl.gz", _BENIGN_CHARS), ("bfcl_multi_turn_calls_dev.jsonl.gz", _BENIGN_TURNS)],
)  # fmt: skip
def test_benign_calls_stay_readable(name: str, limit: float) -> None:
    """Few characters of benign calls are changed, those aside whose change is right: passwords,
    tokens, API keys, cards, e-mail addresses.
    """
    changed = right = total = text = units = touched = 0
    for row in _rows(name):
        view = REDACTOR.inspect(row["args"], schema=None, declared=True, memory=Memory()).view()
        units += 1
        touched += view.changed
        text += len(json.dumps(row["args"], ensure_ascii=False))
        before, after = _leaves(row["args"]), _leaves(view.value)
        for pointer, value in before.items():
            total += len(value)
            if after.get(pointer) != value:
                lost = len(value) - _kept(value, after.get(pointer, ""))
                changed += lost
                right += lost * (pointer.endswith(_RIGHT) or _EMAIL.search(value) is not None)
    print(
        f"{name}: {changed}/{total} = {changed / total:.4f} of the characters of values, {changed / text:.4f} of all characters"
    )
    print(
        f"{name}: {right} of them right; the rest is {(changed - right) / total:.4f} of the characters of values"
    )
    print(f"{name}: {touched}/{units} = {touched / units:.4f} of the calls")
    assert (changed - right) / total <= limit


_RIGHT = ("password", "api_key", "access_token", "card_id", "card_number", "verification_number")
_EMAIL = re.compile(r"[^@\s]@[^@\s]+\.[a-z]")


def _leaves(value: Any, where: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {
            key: text
            for name, member in value.items()
            for key, text in _leaves(member, f"{where}/{name}").items()
        }
    if isinstance(value, list):
        return {
            key: text
            for index, member in enumerate(value)
            for key, text in _leaves(member, f"{where}/{index}").items()
        }
    return {where: value if isinstance(value, str) else json.dumps(value)}


def _kept(before: str, after: str) -> int:
    rest = _MARK.split(after)
    return sum(len(part) for part in rest if part in before) if len(rest) > 1 else 0
