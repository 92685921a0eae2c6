"""Moves late imports to the top, and writes out imported names.

The embedded engine rejects an import below a rule. It may evaluate rules that it reaches through an
import before the rules that they depend on, so each use of an imported name is written as the full
path: ``import data.team.limits`` and ``limits.most`` become ``data.team.limits.most``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from guardrail.policy.rego.rewriting.splices import Splice, spliced
from guardrail.policy.rego.tree import Import, Module, nodes
from guardrail.policy.tokens import Token, tokens

__all__ = ["hoisted", "written_out"]

_HEADS = frozenset({b"data", b"input", b"rego", b"future"})
_OPENING, _CLOSING = frozenset({b"(", b"[", b"{"}), frozenset({b")", b"]", b"}"})
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_KEYWORDS = frozenset(
    [
        "as",
        "contains",
        "data",
        "default",
        "else",
        "every",
        "false",
        "if",
        "import",
        "in",
        "input",
        "not",
        "null",
        "package",
        "some",
        "true",
        "with",
    ]
)


def hoisted(text: str) -> str:
    """Return *text* with each import that follows a rule moved to the package's line."""
    if "import" not in text:
        return text
    raw = text.encode("utf-8")
    written = list(tokens(raw))
    header = _header_end(written)
    if header is None:
        return text
    package_end, index = header
    late: dict[bytes, None] = {}
    splices: list[Splice] = []
    depth = 0
    while index < len(written):
        token = written[index]
        depth += (token.written in _OPENING) - (token.written in _CLOSING)
        if token.written == b"import" and not depth and _begins_line(raw, token):
            last = _import_end(written, index)
            if last is not None:
                part = raw[token.start : written[last].end]
                late[b" ".join(part.split())] = None
                blank = bytes(byte if byte in b"\r\n" else 0x20 for byte in part)
                splices.append(Splice(token.start, written[last].end, blank))
                index = last
        index += 1
    early = {b" ".join(part.split()) for part in _early_imports(raw, written)}
    moved = b"".join(b" " + part for part in late if part not in early)
    return spliced(text, [Splice(package_end, package_end, moved), *splices]) if splices else text


def _begins_line(raw: bytes, token: Token) -> bool:
    line = raw[raw.rfind(b"\n", 0, token.start) + 1 : token.start]
    return not line.strip()


def _path_end(written: Sequence[Token], index: int) -> int:
    """Return the index of the last token of the path that begins at *index*."""
    while index + 2 < len(written):
        sign, part = written[index + 1], written[index + 2]
        if sign.written == b"." and _NAME.match(part.written):
            index += 2
        elif (
            sign.written == b"["
            and sign.start == written[index].end
            and part.written[:1] in {b'"', b"`"}
            and index + 3 < len(written)
            and written[index + 3].written == b"]"
        ):
            index += 3
        else:
            break
    return index


def _import_end(written: Sequence[Token], index: int) -> int | None:
    """Return the index of the last token of the import at *index*, or None if it is no import."""
    if index + 1 >= len(written) or written[index + 1].written not in _HEADS:
        return None
    last = _path_end(written, index + 1)
    named = last + 2 < len(written) and written[last + 1].written == b"as"
    if named and _NAME.match(written[last + 2].written):
        return last + 2
    return last


def _header_end(written: Sequence[Token]) -> tuple[int, int] | None:
    """Return the position after the package's name, and the index of the first token behind the
    package and the imports at the top.
    """
    if len(written) < 2 or written[0].written != b"package":
        return None
    index = _path_end(written, 1) + 1
    end = written[index - 1].end
    while index < len(written) and written[index].written == b"import":
        last = _import_end(written, index)
        if last is None:
            break
        index = last + 1
    return end, index


def _early_imports(raw: bytes, written: Sequence[Token]) -> Iterator[bytes]:
    index = _path_end(written, 1) + 1
    while index < len(written) and written[index].written == b"import":
        last = _import_end(written, index)
        if last is None:
            return
        yield raw[written[index].start : written[last].end]
        index = last + 1


def written_out(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, without imports of data and input. The names of
    local variables must differ from those of imports.
    """
    return [_text(module) for module in modules]


def _text(module: Module) -> str:
    own = {rule.name for rule in module.rules}
    known: dict[str, Import] = {}
    for item in module.imports:
        if item.ignored or item.alias in own or not _is_literal(item):
            continue
        if known.setdefault(item.alias, item).target.parts != item.target.parts:
            # One name for two things. OPA refuses it.
            return module.source.text
    if not known:
        return module.source.text
    raw = module.source.text.encode("utf-8")
    splices = [
        Splice(start, end, bytes(byte if byte in b"\r\n" else 0x20 for byte in raw[start:end]))
        for start, end in (
            item.span for item in module.imports if known.get(item.alias) is not None
        )
    ]
    places: dict[tuple[int, int], bytes] = {}
    for rule in module.rules:
        if rule.default and rule.form == "function":
            # Its arguments only have names.
            continue
        for name, content in nodes(rule.node):
            if name == "Var" and content["value"] in known:
                span = content["span"]
                path = _written(known[content["value"]])
                places[int(span["start"]), int(span["end"])] = path.encode("utf-8")
    splices += [Splice(start, end, path) for (start, end), path in places.items()]
    return spliced(module.source.text, splices)


def _is_literal(item: Import) -> bool:
    target = item.target
    return target.head in {"data", "input"} and len(target.static) == len(target.parts)


def _written(item: Import) -> str:
    parts = [
        f".{name}"
        if _PLAIN.match(name) and name not in _KEYWORDS
        else f"[{json.dumps(name, ensure_ascii=False)}]"
        for name in item.target.static
    ]
    return "".join([str(item.target.head), *parts])
