"""The kinds of settings: each function returns a dataclass field that ``parsing`` can check, with
the description that ``guardrail init`` writes.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

__all__ = [
    "choice_field",
    "classes_field",
    "command_field",
    "file_field",
    "issuers_field",
    "number_field",
    "switch_field",
    "switch_on_field",
    "switch_or_file_field",
    "text_field",
    "texts_field",
]


def number_field(default: float, low: float, high: float, about: str) -> Any:
    """Return the field of a number from *low* to *high*."""
    return field(default=default, metadata={"low": low, "high": high, "about": about})


def choice_field(default: str, *choices: str, about: str) -> Any:
    """Return the field of one of *choices*."""
    return field(default=default, metadata={"choices": choices, "about": about})


def text_field(default: Any, about: str) -> Any:
    """Return the field of a string, a path or a list of paths, as *default* is."""
    return field(default=default, metadata={"about": about})


def file_field(about: str) -> Any:
    """Return the field of the path of an optional file."""
    return field(default=None, metadata={"about": about, "file": True})


def switch_or_file_field(default: bool, about: str) -> Any:
    """Return the field of true, false or the path of a file."""
    return field(default=default, metadata={"about": about, "switch_or_file": True})


def texts_field(about: str) -> Any:
    """Return the field of a list of strings."""
    return field(default=(), metadata={"about": about, "texts": True})


def command_field(about: str) -> Any:
    """Return the field of a command: a program and its arguments."""
    return field(default=(), metadata={"about": about, "texts": True, "command": True})


def classes_field(about: str, example: str) -> Any:
    """Return the field of a table that maps classes to lists of strings."""
    return field(default=(), metadata={"about": about, "classes": True, "example": example})


def switch_on_field(about: str) -> Any:
    """Return the field of a switch that is on by default."""
    return field(default=True, metadata={"about": about, "switch": True})


def switch_field(about: str) -> Any:
    """Return the field of a switch that is off by default."""
    # Such a switch is off by default. Turning it on weakens a guarantee, which the switch's name
    # states, or may interrupt work.
    return field(default=False, metadata={"about": about, "switch": True})


def issuers_field(about: str) -> Any:
    """Return the field of a table that maps issuers to their settings."""
    return field(default=(), metadata={"about": about, "issuers": True})
