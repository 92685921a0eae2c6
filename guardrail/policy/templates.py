"""Writes template strings (``$"hello {input.name}"``), which the embedded engine can't read, as
calls of guardrail's own formatter.

Each expression becomes a list comprehension, which is empty if the expression is undefined. OPA
compiles a template in the same way.
"""

from __future__ import annotations

__all__ = ["without_templates"]

_QUOTES = b'"`'


class _Unreadable(Exception):
    """A template that does not end."""


def without_templates(text: str) -> str:
    """Return *text* with each template string replaced. A template that can't be read stays as it
    is, and the parser reports it.
    """
    if '$"' not in text and "$`" not in text:
        return text
    raw = text.encode("utf-8")
    try:
        return _Scanner(raw).run().decode("utf-8")
    except _Unreadable:
        return text


class _Scanner:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.index = 0
        self.number = 0

    def run(self) -> bytes:
        return self._code(nested=False)

    def _code(self, *, nested: bool) -> bytes:
        """Copy Rego up to its end or, if it is *nested* in a template, up to the closing brace."""
        found = bytearray()
        depth = 0
        while self.index < len(self.raw):
            character = self.raw[self.index : self.index + 1]
            following = self.raw[self.index + 1 : self.index + 2]
            if character == b"$" and following and following in _QUOTES:
                self.index += 1
                found += self._template()
                continue
            if character in {b'"', b"`"}:
                found += self._string(character)
                continue
            if character == b"#":
                end = self.raw.find(b"\n", self.index)
                end = len(self.raw) if end < 0 else end
                found += self.raw[self.index : end]
                self.index = end
                continue
            depth += (character == b"{") - (character == b"}")
            if nested and depth < 0:
                return bytes(found)
            found += character
            self.index += 1
        if nested:
            raise _Unreadable
        return bytes(found)

    def _string(self, quote: bytes) -> bytes:
        start = self.index
        self.index += 1
        while self.index < len(self.raw):
            character = self.raw[self.index : self.index + 1]
            self.index += 2 if character == b"\\" and quote == b'"' else 1
            if character == quote:
                return self.raw[start : self.index]
        raise _Unreadable

    def _template(self) -> bytes:
        quote = self.raw[self.index : self.index + 1]
        self.index += 1
        pieces: list[bytes] = []
        literal = bytearray()
        computed = False
        while True:
            character = self.raw[self.index : self.index + 1]
            if not character:
                raise _Unreadable
            self.index += 1
            if character == quote:
                break
            if character == b"\\":
                # A backslash before a brace makes the brace a plain character.
                following = self.raw[self.index : self.index + 1]
                brace = following == b"{"
                if brace or quote == b'"':
                    self.index += 1
                    literal += following if brace else character + following
                else:
                    literal += character
            elif character == b"{":
                computed = True
                pieces += [quote + bytes(literal) + quote] if literal else []
                literal = bytearray()
                pieces.append(self._expression())
            else:
                literal += character
        if literal or not computed:
            pieces.append(quote + bytes(literal) + quote)
        if not computed:
            return pieces[0]
        return b"guardrail.template([" + b", ".join(pieces) + b"])"

    def _expression(self) -> bytes:
        name = self._name()
        code = self._code(nested=True)
        self.index += 1
        if not code.strip() or b"#" in code:
            raise _Unreadable
        return b"[" + name + b" | " + name + b" := " + code + b"]"

    def _name(self) -> bytes:
        while True:
            name = f"__t{self.number}".encode()
            self.number += 1
            if name not in self.raw:
                return name
