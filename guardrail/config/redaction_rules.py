"""The redaction rules of the settings, the built-in ones and those in ``[redaction]``, and the
limits.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any

from guardrail.config.sections import PolicySettings, RedactionSettings
from guardrail.core.log.record import dumps
from guardrail.core.redaction.limits import UNCUT, Limits
from guardrail.core.redaction.rules import BUILT_IN, Find, Rules, SitePattern, is_class
from guardrail.core.words import counted
from guardrail.errors import ConfigError

__all__ = ["redaction_limits", "redaction_rules"]

_MAX_RULES = 256
_MAX_CHARS = 1_000
_MEMORY = 1 << 20
"""Memory in bytes that a compiled pattern may take. Larger patterns are rejected."""
_GROUP = "value"


@functools.lru_cache(maxsize=16)
def redaction_rules(settings: RedactionSettings) -> Rules:
    """Return the rules that *settings* specify.

    Raises ``ConfigError`` for an unknown class name, a pattern that is malformed or matches the
    empty text, too many rules, and if the package for patterns is not installed.
    """
    if not (settings.keys or settings.patterns):
        return BUILT_IN
    names: dict[str, str] = {}
    for cls, each in _pairs("keys", settings.keys):
        if not any(map(str.isalnum, each)):
            raise _refused("keys", cls, each, "it contains no letter or digit")
        if names.get(each, cls) != cls:
            raise _refused("keys", cls, each, f"it is already of class {names[each]}")
        names[each] = cls
    patterns = [
        SitePattern(cls, _compile(cls, each)) for cls, each in _pairs("patterns", settings.patterns)
    ]
    digest = hashlib.sha256(dumps([settings.keys, settings.patterns])).hexdigest()[:16]
    return Rules(names, patterns, profile=f"{settings.profile}+{digest}")


def redaction_limits(settings: PolicySettings) -> Limits:
    """Return the limits for the arguments of a call. If the policy decides on the recorded view,
    longer strings are recorded completely, because a call of which it would see a part is denied.
    """
    return UNCUT if settings.input == "recorded" else Limits()


def _pairs(key: str, rules: tuple[tuple[str, tuple[str, ...]], ...]) -> Iterator[tuple[str, str]]:
    count = sum(len(texts) for _, texts in rules)
    if count > _MAX_RULES:
        raise ConfigError(
            f"[redaction.{key}] contains {counted(count, 'rule')}, and at most {_MAX_RULES} are "
            "allowed",
            code="config.redaction",
            hint="combine patterns with |, and name only the last words of keys",
        )
    for cls, texts in rules:
        if not is_class(cls):
            raise ConfigError(
                f"[redaction.{key}] {cls!r} can't be the name of a class",
                code="config.redaction",
                hint=(
                    "use a built-in class (docs/redaction.md), or up to 32 lower-case letters, "
                    "digits and underscores that begin with a letter"
                ),
            )
        for text in texts:
            if len(text) > _MAX_CHARS:
                raise _refused(key, cls, f"{text[:40]}...", f"it exceeds {_MAX_CHARS} characters")
            yield cls, text


def _compile(cls: str, pattern: str) -> Find:
    try:
        import re2
    except ImportError:
        raise ConfigError(
            "[redaction.patterns] needs a package that is not installed",
            code="config.redaction",
            hint="pip install 'guardrail-ledger[patterns]'",
        ) from None
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0] if error.args else "malformed"
        shown = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise _refused("patterns", cls, pattern, shown) from None
    if compiled.search("") is not None:
        raise _refused("patterns", cls, pattern, "it matches the empty text")
    group = dict(compiled.groupindex).get(_GROUP, 0)
    return _finder(compiled, group)


def _finder(compiled: Any, group: int) -> Find:
    def find(text: str) -> Iterator[tuple[int, int]]:
        for match in compiled.finditer(text):
            first, last = match.span(group)
            # A group that matches nothing must not leave the value in the record.
            yield (first, last) if 0 <= first < last else match.span()

    return find


def _refused(key: str, cls: str, text: str, why: str) -> ConfigError:
    return ConfigError(
        f"[redaction.{key}] {cls}: {text!r} is rejected: {why}",
        code="config.redaction",
        hint=(
            "correct the pattern; its syntax is that of RE2, without look-around and references"
            if key == "patterns"
            else "correct the name of the key"
        ),
    )
