"""Writes docs/api.md from the code: every public name, with its signature and the first sentence of
its docstring.

``make api`` runs it; a test compares what it makes with the page.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "api.md"

MODULES = {
    "guardrail": (
        "The names that a program needs. They are loaded when they are first used: `import"
        " guardrail` alone\nloads no engine and no database."
    ),
    "guardrail.approvals.service": (
        "The type of `guard.approvals`, for programs that ask people themselves\n"
        "([approvals.md](approvals.md))."
    ),
    "guardrail.approvals.request": (
        "Who answers, as `guard.approvals.approve` and `refuse` take it."
    ),
    "guardrail.testing": (
        "Doubles for the tests of programs that use guardrail. The guard on top of them is the real"
        " one,\nand so are schemas, redaction and records. Nothing is durable."
    ),
    "guardrail.testing.conformance": (
        "The rules that every adapter keeps, as checks that run against an adapter of your own."
    ),
    "guardrail.integrations.openai": (
        "Tool calls of an OpenAI client under policy ([integrations.md](integrations.md)). It"
        " needs\nthe extra `openai`."
    ),
    "guardrail.integrations.anthropic": (
        "Tool use of an Anthropic client under policy ([integrations.md](integrations.md)). It"
        " needs\nthe extra `anthropic`."
    ),
    "guardrail.integrations.langchain": (
        "LangChain tools under policy. They need the extra `langchain`."
    ),
    "guardrail.integrations.fastapi": (
        "Sessions of bearer tokens in FastAPI and Starlette applications"
        " ([web-apps.md](web-apps.md)). It requires the extra `guardrail-ledger[fastapi]`."
    ),
    "guardrail.integrations.presidio": (
        "Presidio as a detector for reports ([redaction.md](redaction.md#other-detectors)). It"
        " needs\nthe extra `presidio`."
    ),
    "guardrail.integrations.deepagents": (
        "Deep agents under policy. They need the extra `deepagents`."
    ),
}
"""The modules of the page, with what it says about each."""

NAMES = {
    "guardrail.approvals.service": ("ApprovalService", "Answer"),
    "guardrail.approvals.request": ("Approver",),
}
"""Public names of modules of which the other names are not public."""

_INTRODUCTION = """# Public names

<!-- Written by docs/make_api.py from the code: run `make api` after a change. -->

Every public name, with its signature and the first sentence of its docstring. `help(name)` shows
the rest: what holds when a function returns and which errors it raises. Names that are not on this
page may change without notice.

The [README](../README.md) and [examples/](../examples/) show how they are used.
"""


def public(module: str) -> Iterator[tuple[str, Any]]:
    """Yield the names of *module* that the page shows, with their values."""
    loaded = importlib.import_module(module)
    for name in NAMES.get(module, loaded.__all__):
        yield name, getattr(loaded, name)


def first_sentence(value: object) -> str:
    """Return the first sentence of a docstring, on one line, as Markdown; empty if there is no
    docstring of its own.
    """
    paragraph = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=\.)\s+(?=[A-Z*`])", paragraph)[0]
    return re.sub(r"(?<![*\w])\*(\w+)\*", r"`\1`", sentence.replace("``", "`"))


class _Bare:
    """An annotation or a default, shown without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _bare(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return value
    if isinstance(value, Enum):
        return _Bare(f"{type(value).__name__}.{value.name}")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _Bare(f"{type(value).__name__}()")
    if isinstance(value, type):
        return _Bare(value.__name__)
    if callable(value):
        return _Bare(value.__name__)
    return _Bare(value if isinstance(value, str) else repr(value))


def _default(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Enum):
        return value  # with its quotes
    return _Bare("...") if repr(value) == "<factory>" else _bare(value)


def signature(name: str, function: Any, *, bound: bool) -> str:
    """Return how *function* is called, in lines of at most 100 characters. *bound* leaves the first
    parameter out.
    """
    found = inspect.signature(function)
    parameters = list(found.parameters.values())[1 if bound else 0 :]
    shown = found.replace(
        parameters=[
            each.replace(
                annotation=_bare(each.annotation),
                default=_default(each.default),
            )
            for each in parameters
        ],
        return_annotation=_bare(found.return_annotation),
    )
    word = "async " if inspect.iscoroutinefunction(function) else ""
    line = f"{word}{name}{shown}"
    if len(line) <= 100:
        return line
    opening, rest = line.split("(", 1)
    inner, end = rest.rsplit(")", 1) if " -> " not in rest else _split_return(rest)
    parts = _commas(inner)
    body = textwrap.wrap(
        ", ".join(part.replace(" ", "\0") for part in parts) + ",",
        96,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [f"    {each}".replace("\0", " ") for each in body]
    return "\n".join([f"{opening}(", *lines, f"){end}"])


def _split_return(rest: str) -> tuple[str, str]:
    at = rest.rindex(") -> ")
    return rest[:at], rest[at + 1 :]


def _commas(text: str) -> list[str]:
    """Split *text* at the commas that are in no bracket."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _code(*lines: str) -> list[str]:
    return ["```python", *lines, "```"]


def _function(name: str, function: Any, *, bound: bool = False) -> list[str]:
    made = typing.get_overloads(function) or [function]
    lines = [signature(name, each, bound=bound) for each in made]
    sentence = first_sentence(function)
    return [*_code(*lines), *([sentence] if sentence else []), ""]


def _own_init(cls: type) -> bool:
    made_by_programs = cls.__module__.startswith(("guardrail.testing", "guardrail.integrations"))
    return dataclasses.is_dataclass(cls) or (
        made_by_programs and not issubclass(cls, BaseException)
    )


def _attributes(cls: type) -> list[str]:
    """Return the public attributes that a constructor sets, in its order."""
    if dataclasses.is_dataclass(cls):
        return []  # they are in the signature
    try:
        (made,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError):
        return []
    found: dict[str, None] = {}
    for function in ast.walk(made):
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "self"
                    and not node.attr.startswith("_")
                    and not isinstance(getattr(cls, node.attr, None), property)
                ):
                    found[node.attr] = None
    return list(found)


def _class(name: str, cls: type) -> list[str]:
    bases = [
        base.__name__
        for base in cls.__bases__
        if base is not object and not inspect.isabstract(base)
    ]
    lines = [*_code(f"class {name}({', '.join(bases)})" if bases else f"class {name}")]
    lines += [first_sentence(cls), ""]
    if issubclass(cls, Enum):
        members = ", ".join(f"`{each.name}` (`{each.value}`)" for each in cls)
        return [*lines, f"Members: {members}.", ""]
    if _own_init(cls):
        lines += [*_code(signature(name, cls, bound=False)), ""]
    code = vars(cls).get("default_code")
    if code is not None:
        lines += [f"`code` is `{code}` or starts with `{code}.`", ""]
    attributes = _attributes(cls)
    if attributes:
        lines += [f"Attributes: {', '.join(f'`{each}`' for each in attributes)}.", ""]
    for member, value in _members(cls).items():
        if not member.startswith("_"):
            lines += _member(f"{name}.{member}", value)
    return lines


def _members(cls: type) -> dict[str, Any]:
    """Return the members of *cls*, and those that it inherits from an abstract class."""
    found = dict(vars(cls))
    for base in cls.__mro__[1:]:
        if inspect.isabstract(base) and base.__module__.startswith("guardrail."):
            found.update({name: vars(base)[name] for name in vars(base) if name not in found})
    return found


def _member(name: str, value: object) -> list[str]:
    if isinstance(value, property):
        sentence = first_sentence(value)
        return [*_code(name), *([sentence] if sentence else []), ""]
    if isinstance(value, classmethod):
        return _function(name, value.__func__, bound=True)
    if isinstance(value, staticmethod):
        return _function(name, value.__func__)
    return _function(name, value, bound=True) if inspect.isfunction(value) else []


def page() -> str:
    """Return the text of docs/api.md."""
    lines = [_INTRODUCTION]
    for module, said in MODULES.items():
        lines += [f"## `{module}`", "", said, ""]
        for name, value in public(module):
            lines += [f"### `{name}`", ""]
            if isinstance(value, type):
                lines += _class(name, value)
            elif callable(value):
                lines += _function(name, value)
            else:
                lines += ["The version of guardrail.", ""]
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
