"""The recorded form of a value, with the reasons for what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["View"]


@dataclass(frozen=True, slots=True)
class View:
    """The recorded form of a value."""

    value: object
    removed: dict[str, list[str]]
    """The class and the rules of each removed value, by RFC 6901 pointer.

    Sensitive keys appear in their recorded form.
    """
    truncated: bool
    """True if a part was too long, too deep or too large, and only its kind, size and token are
    recorded.
    """
    changed: bool
    """True if ``value`` differs from the original value."""
    classes: dict[str, list[str]] = field(default_factory=dict, compare=False)
    """The classes of the original values by pointer, within a limited size. Keys appear as in
    ``value``.
    """
    cut: bool = field(default=False, compare=False)
    """True if the total was too large, so ``value`` shows only the kind, size and token of large
    members.
    """
    unshown: tuple[str, ...] = field(default=(), compare=False)
    """Tokens of values that were found in long strings behind the part that is shown."""
