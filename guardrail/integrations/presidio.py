"""Presidio as a detector for reports (``guardrail missed --detector presidio``). It needs the extra
``presidio``.

Presidio never runs during a call: it takes milliseconds for a short text, and its answers are
guesses with a score. Its results show a team which rules to add.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from guardrail.core.redaction.detector import SensitiveSpan
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

__all__ = ["PresidioDetector"]

_SCORE: Final = 0.5
"""Lowest score that counts. Below it are numbers without a word that explains them."""
_CLASSES: Final = {
    "PERSON": "name",
    "EMAIL_ADDRESS": "contact",
    "PHONE_NUMBER": "contact",
    "LOCATION": "address",
    "NRP": "special",
    "CREDIT_CARD": "payment",
    "IBAN_CODE": "payment",
    "US_BANK_NUMBER": "payment",
    "CRYPTO": "payment",
    "IP_ADDRESS": "device",
    "MAC_ADDRESS": "device",
}
_IGNORED: Final = frozenset({"DATE_TIME", "URL", "ORGANIZATION"})
"""Entities that are not sensitive by themselves, and that investigators need."""
_SIZES: Final = "sm md lg trf"
"""The sizes of spaCy's models, smallest first."""
_OTHER: Final = "government_id"
"""All other entities are numbers of states: social security, tax, passports, licences."""


class PresidioDetector:
    """Finds what a Presidio analyzer finds. It implements ``Detector``."""

    def __init__(
        self,
        analyzer: AnalyzerEngine | None = None,
        *,
        language: str = "en",
        score: float = _SCORE,
    ) -> None:
        """Use *analyzer*, or else Presidio's own recognizers for *language* with the largest
        installed spaCy model. Matches with less than *score* do not count.

        Without *analyzer*, nothing is downloaded: neither a model nor a list of domains. Raises
        ``ConfigError`` if Presidio is not installed.
        """
        self.note = ""
        """A remark about what this detector can't find, or an empty string."""
        self._language = language
        self._score = score
        if analyzer is None:
            try:
                analyzer, model = _analyzer(language)
            except ImportError:
                raise ConfigError(
                    "the detector presidio needs a package that is not installed",
                    code="config.detector",
                    hint="pip install 'guardrail-ledger[presidio]'",
                ) from None
            if not model:
                self.note = (
                    f"no spaCy model for the language {language} is installed, so Presidio finds "
                    "no names and places in running text"
                )
        self._analyzer = analyzer

    def find(self, text: str) -> Iterator[SensitiveSpan]:
        """Yield the entities that Presidio finds in *text*, with guardrail's classes."""
        found = self._analyzer.analyze(
            text=text, language=self._language, score_threshold=self._score
        )
        for each in found:
            if each.entity_type not in _IGNORED and each.start < each.end:
                yield SensitiveSpan(each.start, each.end, _CLASSES.get(each.entity_type, _OTHER))


def _analyzer(language: str) -> tuple[AnalyzerEngine, str]:
    """Return an analyzer, and the name of its spaCy model or an empty string."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    _stay_offline()
    installed = {each.name for each in entry_points(group="spacy_models")}
    models = [name for name in installed if name.startswith(f"{language}_")]
    model = max(models, key=_size, default="")

    class Installed(SpacyNlpEngine):  # type: ignore[misc]
        """Presidio's engine, which would otherwise download a missing model."""

        def load(self) -> None:
            """Load the installed model, or a pipeline that only splits words."""
            self.nlp: Any = {language: spacy.load(model) if model else spacy.blank(language)}

    engine = Installed(models=[{"lang_code": language, "model_name": model or "blank"}])
    engine.load()
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=engine)
    return (
        AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language]),
        model,
    )


def _size(model: str) -> tuple[int, str]:
    """Return the rank of a model, whose name ends with its size."""
    return _SIZES.find(model.rpartition("_")[2]), model


def _stay_offline() -> None:
    """Make the library that knows the domains of e-mail addresses use the list that it contains. It
    would otherwise download a list, and store it in the user's cache.
    """
    from tldextract import TLDExtract, tldextract

    tldextract.TLD_EXTRACTOR = TLDExtract(suffix_list_urls=(), cache_dir=None)
