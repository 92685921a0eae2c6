"""Presidio as a detector, with the real analyzer. It needs the extra ``presidio``, which is too
large for the set-up of every test run.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.redaction.detector import Detector, SensitiveSpan, find_spans
from guardrail.integrations.presidio import PresidioDetector

presidio = pytest.importorskip("presidio_analyzer")
spacy = pytest.importorskip("spacy")
SpacyNlpEngine = pytest.importorskip("presidio_analyzer.nlp_engine").SpacyNlpEngine


def test_presidio_finds_numbers_and_addresses_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would otherwise download a list of domains, and a model."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    detector = PresidioDetector()
    assert isinstance(detector, Detector)
    text = "card 4111 1111 1111 1111, tax 912-70-1234, mail bob@example.com, at 10.1.2.3"
    found = {text[span.start : span.end]: span.cls for span in find_spans("p", detector, text)}
    assert found == {
        "4111 1111 1111 1111": "payment",
        "912-70-1234": "government_id",
        "bob@example.com": "contact",
        "10.1.2.3": "device",
    }


MODEL = """
import spacy

def load(**_):
    made = spacy.blank("en")
    made.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Anna Bauer"}])
    return made
"""


def test_the_largest_installed_model_finds_names_in_running_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of other languages are not used. These models are packages without statistics."""
    for name in ("en_site_sm", "en_site_lg", "de_site_trf"):
        about = tmp_path / f"{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[spacy_models]\n{name} = {name}\n")
        (tmp_path / f"{name}.py").write_text(MODEL if name == "en_site_lg" else "")
    monkeypatch.syspath_prepend(tmp_path)
    detector = PresidioDetector()
    assert detector.note == ""
    assert [*detector.find("for Anna Bauer")] == [SensitiveSpan(4, 14, "name")]


def test_the_analyzer_of_a_site_is_used_as_it_is() -> None:
    """Its own recognizers have the class of numbers of states, unless guardrail knows them."""
    registry = presidio.RecognizerRegistry(supported_languages=["en"])
    registry.add_recognizer(
        presidio.PatternRecognizer(
            supported_entity="BADGE", patterns=[presidio.Pattern("badge", r"BADGE-\d+", 0.9)]
        )
    )

    class Blank(SpacyNlpEngine):  # type: ignore[misc,valid-type]
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}

    engine = Blank()
    engine.load()
    analyzer = presidio.AnalyzerEngine(
        registry=registry, nlp_engine=engine, supported_languages=["en"]
    )
    detector = PresidioDetector(analyzer)
    assert detector.note == ""
    assert [*detector.find("BADGE-1234, 4111 1111 1111 1111")] == [
        SensitiveSpan(0, 10, "government_id")
    ]
    assert [*PresidioDetector(analyzer, score=0.95).find("BADGE-1234")] == []
