"""Finds the detectors that commands use, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any, TypeVar

import click

from guardrail.cli.output import Style, remark
from guardrail.config import RedactionSettings
from guardrail.core.redaction.detector import BuiltInDetector, Detector
from guardrail.errors import ConfigError, GuardrailError, UsageError
from guardrail.review.terminal import one_line

__all__ = ["detector_option", "load_detectors"]

GROUP = "guardrail.detectors"
"""The entry point group in which installed packages offer detectors."""
OWN = "guardrail"
PRESIDIO = "presidio"

_F = TypeVar("_F", bound=Callable[..., Any])


def detector_option(help_text: str) -> Callable[[_F], _F]:
    """Return a decorator that adds ``--detector``, which can be repeated."""
    return click.option("--detector", "names", metavar="NAME", multiple=True, help=help_text)


def load_detectors(names: Iterable[str], settings: RedactionSettings) -> dict[str, Detector]:
    """Return the detectors in *names*: ``guardrail`` (the built-in rules and those in *settings*),
    ``presidio``, or one that an installed package offers.

    Raises ``UsageError`` for an unknown name, and ``ConfigError`` if a detector can't be loaded.
    """
    loaded = {name: _load(name, settings) for name in dict.fromkeys(names)}
    for detector in loaded.values():
        note = getattr(detector, "note", "")
        if note and isinstance(note, str):
            remark(f"note: {one_line(note)}", Style.WARN)
    return loaded


def _load(name: str, settings: RedactionSettings) -> Detector:
    if name == OWN:
        from guardrail.config.redaction_rules import redaction_rules

        return BuiltInDetector(redaction_rules(settings))
    if name == PRESIDIO:
        from guardrail.integrations.presidio import PresidioDetector

        return PresidioDetector()
    offered = {each.name: each for each in entry_points(group=GROUP)}
    if name not in offered:
        known = [OWN, PRESIDIO, *sorted(offered)]
        near = difflib.get_close_matches(name, known, 1)
        raise UsageError(
            f"there is no detector {one_line(name)}",
            code="usage.detector",
            hint=(f"did you mean {near[0]}? " if near else "") + f"known: {', '.join(known)}",
        )
    try:
        made = offered[name].load()()
    except GuardrailError:
        raise
    except Exception as error:  # noqa: BLE001 - a boundary: a detector is foreign code
        raise _unusable(name, f"loading it raised {type(error).__name__}") from None
    if not isinstance(made, Detector):
        raise _unusable(name, "it has no method find")
    return made


def _unusable(name: str, problem: str) -> ConfigError:
    return ConfigError(
        f"the detector {one_line(name)} can't be used: {problem}",
        code="config.detector",
        hint="an entry point in guardrail.detectors is a callable that returns a detector",
    )
