"""The last gate passes over texts that were just found clean, and over no others."""

from __future__ import annotations

from guardrail.core.log.fields import strings
from guardrail.core.redaction.session_memory import Memory
from tests.support.redaction import REDACTOR, view


def test_the_gate_searches_a_text_again_once_another_value_is_known() -> None:
    """It passes over values and keys that the inspection has just searched, and only over those."""
    memory = Memory()
    args = {"password": "tr0ub4dor&3x", "note": "the code is q7w-va1ue-9", "k9x-va1ue-7": 1}
    leaves = strings(view(args, memory=memory).value)
    assert REDACTOR.gate(leaves, memory) is None
    assert {"note", "the code is q7w-va1ue-9"} <= memory.clean()
    memory.remember("q7w-va1ue-9", "name")
    assert REDACTOR.gate(leaves, memory) == "name"
    memory.remember("k9x-va1ue-7", "contact")
    assert REDACTOR.gate(["k9x-va1ue-7"], memory) == "contact"


def test_the_gate_reads_keys_in_their_normal_form() -> None:
    """The inspection searches keys as they are written, so others than ASCII are searched again."""
    memory = Memory()
    memory.remember("k9x-va1ue-7", "name")
    wide = "".join(chr(ord(char) + 0xFEE0) for char in "k9x-va1ue-7")
    view({"note": "ordinary", wide: "text"}, memory=memory)
    assert wide not in memory.clean()
    assert REDACTOR.gate([wide], memory) == "name"


def test_the_gate_names_the_strictest_class_of_all_texts() -> None:
    """Also if a detector finds it in a text that contains no known value."""
    memory = Memory()
    memory.remember("q7w-va1ue-9", "name")
    leak = "https://user:tr0ub4dor3x@host.example/"
    assert "known" not in str(view({"link": leak}, memory=memory).removed)
    assert REDACTOR.gate(["x q7w-va1ue-9 y", leak], memory) == "secret"
