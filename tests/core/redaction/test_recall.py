"""Recall and excess on generated calls, sentences, lines of code and harmless strings.

The generators and the rules are written by the same people, so the figures say that the families of
names work in every spelling and form, not how much is found in the calls of a stranger. Run with
``-s`` to see the tables.
"""

from __future__ import annotations

import random

import pytest

from guardrail.core.redaction.session_memory import Memory
from tests.core.redaction.corpora.benign import FIELDS, benign
from tests.core.redaction.corpora.measuring import Table, measure_calls, measure_lines
from tests.core.redaction.corpora.personal import calls, remembered, sentences
from tests.core.redaction.corpora.secret_lines import secret_lines
from tests.support.redaction import view

_SEED = 20261130


def _show(title: str, table: Table) -> float:
    share = table.share()
    print(f"\n-- {title}: {share:.3f}", *table.lines(), sep="\n")
    return share


@pytest.fixture(scope="module")
def found_in_calls() -> Table:
    return measure_calls(calls(_SEED, rounds=1))


def test_personal_data_is_found_under_any_spelling_of_a_name(found_in_calls: Table) -> None:
    """Camel case, kebab case, abbreviations and some fifteen languages, in five nestings."""
    assert _show("calls", found_in_calls) >= 0.97


@pytest.mark.parametrize("form", ["field", "nested", "json in a string", "name and value", "list"])
def test_each_nesting_is_as_good_as_the_others(found_in_calls: Table, form: str) -> None:
    """A value is found wherever its key is."""
    assert found_in_calls.share(form=form) >= 0.95


def test_personal_data_is_found_in_prose_by_the_words_before_it() -> None:
    """Numbers, names, addresses and dates of birth in sentences of eight languages."""
    assert _show("sentences", measure_calls(sentences(_SEED, rounds=2))) >= 0.93


def test_secrets_are_found_in_lines_of_code_and_configuration() -> None:
    """In each syntax: shell, YAML, INI, source code, command lines, headers, SQL, XML, logs."""
    assert _show("lines", measure_lines(secret_lines(_SEED, rounds=2))) >= 0.93


def test_parts_of_a_name_are_found_in_later_prose() -> None:
    """A first name or a surname alone, after a field that is named for it showed the full name."""
    for earlier, text, part in remembered(_SEED):
        memory = Memory()
        view(earlier, memory=memory)
        assert part not in str(view({"note": text}, memory=memory).value), (earlier, text)


def test_harmless_strings_stay() -> None:
    """Code, logs, versions, coordinates, prices, ISBNs, tracking numbers, licence texts."""
    strings = list(benign(_SEED))
    assert len(strings) >= 2_000
    removed = {text: seen for _, text in strings if (seen := view({"text": text}).removed)}
    print(
        f"\nharmless strings changed: {len(removed)} of {len(strings)}", *removed.items(), sep="\n"
    )
    assert len(removed) <= 0.005 * len(strings)


def test_harmless_fields_stay() -> None:
    """Keys that share a word with a personal one, and values that are no name and no number."""
    rng = random.Random(_SEED)
    for key, make in FIELDS.items():
        value = make(rng)
        assert view({key: value}).value == {key: value}
