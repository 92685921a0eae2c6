"""Redacts the recorded parts of a call: arguments, results, errors and free text.

Every rule is evaluated, and the strictest treatment is applied. Values of class ``secret`` are
replaced by a random mark, and all others by a keyed token. The caller passes the functions that
make both: this module does not hold a key or generate random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guardrail.core.redaction.cut_strings import cut
from guardrail.core.redaction.faults import fails_closed
from guardrail.core.redaction.foreign import describe_error, plain, shape
from guardrail.core.redaction.key_names import stricter
from guardrail.core.redaction.limits import UNCUT
from guardrail.core.redaction.marks import MARK_PREFIX, is_mark, needs_normalising, normalised
from guardrail.core.redaction.recorded_view import View
from guardrail.core.redaction.replacements import Replacer, encodable
from guardrail.core.redaction.rules import BUILT_IN, Rules
from guardrail.core.redaction.scan import Spend, holds_known, join, scan_all, unmetered
from guardrail.core.redaction.schema_marks import SchemaMarks
from guardrail.core.redaction.session_memory import BLANK, Memory
from guardrail.core.redaction.view import Inspection
from guardrail.core.redaction.walk import Limits, Walk
from guardrail.errors import RedactionError

__all__ = ["Inspection", "Limits", "Redactor", "View", "is_structured"]

_IDENTITIES = 1_024
"""Maximum number of remembered texts of identities. Each has at most 512 characters."""
_SCHEMAS = 512
_READ = 4
"""How many times as many characters of an exception's message are read as are recorded."""
_NO_NAMES: frozenset[str] = frozenset()
_OPENING = frozenset({"{", "[", '"'})
# Names of guardrail's own fields, which ``gate`` checks in addition to text from users.
_FIELDS = frozenset(
    {
        "type",
        "bytes",
        "token",
        "items",
        "class",
        "message",
        "value",
        "null",
        "str",
        "object",
        "array",
        "int",
        "float",
        "bool",
    }
)


def is_structured(text: str) -> bool:
    """Return True if *text* can be JSON, whose values are examined one by one."""
    first = text[:1]
    return first in _OPENING or first.isspace()


@fails_closed("inspect", "value", "text", "beginning", "result", "error", "identity")
@fails_closed("gate", "gate_identity")
class Redactor:
    """Converts values from a caller, a tool or a policy to their recorded form.

    Thread-safe. It stores only short values that are not sensitive.
    """

    __slots__ = ("_clean", "_limits", "_meter", "_replacer", "_rules", "_schemas")

    def __init__(
        self,
        *,
        token: Callable[[str, str], str],
        mark: Callable[[str], str],
        limits: Limits = Limits(),  # noqa: B008 - frozen
        meter: Callable[[], Spend] = lambda: unmetered,
        rules: Rules = BUILT_IN,
    ) -> None:
        """Use *token*, which makes a keyed token from a class and a value, and *mark*, which makes
        a random mark from a class. ``marks`` describes both.

        *meter* is called once for each view, each text and each call of ``gate``. It returns a
        function that is called with the amount of work before that work is done, and that raises
        ``RedactionError`` if the total is too large. This limits the time of one view. *rules* find
        the sensitive values.

        Raises ``RedactionError`` if *token* or *mark* makes marks that would not be recognised as
        guardrail's own.
        """
        if not is_mark(mark("secret")) or not is_mark(token("name", "probe")):
            raise RedactionError(
                "tokens and marks must have the form gr1:<class>:<key id>:<24 characters>",
                code="redaction.mark",
            )
        self._replacer = Replacer(token, mark, limits, rules=rules)
        self._rules = rules
        self._limits = limits
        self._meter = meter
        self._clean: set[str] = set()
        """Texts of identities without a secret, which are the same in session after session."""
        self._schemas: dict[int, tuple[Mapping[str, object], SchemaMarks]] = {}

    # --- the interface ---

    def inspect(
        self,
        args: Mapping[str, object],
        *,
        schema: Mapping[str, object] | None,
        declared: bool,
        memory: Memory,
        minimal: str = "undeclared",
    ) -> Inspection:
        """Walk *args* once. When this returns, the session knows all sensitive values.

        *args* is not mutated and must not change before the last ``view``. For an undeclared tool,
        the view is minimal; *minimal* is the class stated in this view. Raises ``RedactionError``
        if *args* is not JSON.
        """
        source = args if type(args) is dict else dict(args)
        return self._inspection(source, schema, memory, minimal="" if declared else minimal)

    def value(
        self,
        value: object,
        memory: Memory,
        schema: Mapping[str, object] | None = None,
        *,
        limits: Limits | None = None,
    ) -> View:
        """Return the recorded form of any JSON value, within *limits* if they are passed. Raises
        ``RedactionError`` if it is not JSON.
        """
        return self._inspection(value, schema, memory, limits=limits).view()

    def text(self, text: str, memory: Memory) -> str:
        """Return free text without its sensitive parts. The text is a message, a label, or the name
        of a tool.
        """
        text = str.__str__(text)
        if len(text) > self._limits.text:
            return self._metered().beginning(text, self._limits.text, memory)
        if is_structured(text):
            return str(self.value(text, memory, limits=UNCUT).value)
        return self._metered().cleaned(text, memory)

    def beginning(self, text: str, size: int, memory: Memory) -> str:
        """Return at most *size* characters of a longer text, without its sensitive parts."""
        return self._metered().beginning(text, size, memory)

    def result(self, value: object, *, log_output: bool, memory: Memory) -> dict[str, Any]:
        """Return the recorded form of a tool's result, and add its sensitive values to the
        session's memory.

        The form is ``{"type", "bytes", "token", "items"}``, or ``{"type", "value"}`` with the
        redacted value if *log_output* is True. The work is bounded for a result of any size, and no
        method of a foreign object is called. Raises only ``RedactionError``.
        """
        described = shape(value, self._replacer.token, lambda name: self.text(name, memory))
        if value is None and not log_output:
            return described
        limits = self._limits
        content = plain(value, nodes=limits.nodes, chars=limits.result, searched=limits.searched)
        inspection = self._inspection(content, None, memory)
        if log_output:
            view = inspection.view()
            return {"type": described["type"], "value": view.value}
        return described

    def error(self, error: BaseException, memory: Memory) -> dict[str, str]:
        """Return the class and the redacted message of an exception and of its causes. Never
        raises, even for hostile exceptions.
        """
        limits = self._limits
        name, parts = describe_error(error, _READ * limits.message + limits.past)
        message = "; ".join(self._error_part(part, memory) for part in parts)
        return {
            "class": self.text(name, memory),
            "message": self._metered().settle([cut(message, limits.message)], memory)[0],
        }

    def _error_part(self, part: str, memory: Memory) -> str:
        most = _READ * self._limits.message
        if len(part) > most:
            return self._metered().beginning(part, most, memory)
        return self.text(part, memory)

    def identity(self, text: str) -> str:
        """Return the identity *text* without secrets. Personal data is kept, because the program
        supplied it in clear text.
        """
        if not text.isascii():
            text = encodable(text)
        plain_text = normalised(text) if needs_normalising(text) else text
        hits = self._rules.scan_secrets(plain_text)
        return self._replacer.splice(plain_text, hits) if hits else text

    def gate(
        self,
        leaves: Iterable[str],
        memory: Memory,
        *,
        supplied: Iterable[str] = (),
        schema: Mapping[str, object] | None = None,
    ) -> str | None:
        """Return the strictest class of sensitive values left in the user-derived strings and keys
        of a finished record, or None.

        guardrail's own marks never count. Values that the program or the policy *supplied*, and the
        names and constants of *schema*, are checked by detectors only.
        """
        replacer = self._replacer
        seen = memory.clean() if len(memory) else None
        texts = [
            leaf
            for leaf in replacer.clean.others(leaves, seen)
            if leaf not in _FIELDS and not (leaf[:4] == MARK_PREFIX and is_mark(leaf))
        ]
        spend = self._meter()
        hunted: list[str] = []
        if seen is not None:
            given = _NO_NAMES if schema is None else self._marks(schema).supplied
            hunted = [text for text in texts if text not in given]
        unseen = [text for text in hunted if text not in seen] if seen else hunted
        if not (unseen and holds_known(join(unseen, spend)[0], memory, spend)):
            # The hits of detectors depend only on the text, so clean texts need not be scanned
            # again.
            memory = BLANK
            hunted = replacer.clean.others((*texts, *supplied))
            if not hunted:
                return None
        worst: str | None = None
        for hits in scan_all(hunted, memory, spend, self._rules.scan):
            for hit in hits:
                worst = hit.cls if worst is None else stricter(worst, hit.cls)
        if worst is None:
            replacer.clean.update(hunted)
        return worst

    def gate_identity(self, leaves: Iterable[str]) -> str | None:
        """Return ``secret`` if an identity contains a secret that can be recognised by its shape,
        otherwise None.

        Values known to a session do not count.
        """
        for leaf in leaves:
            if leaf in self._clean:
                continue
            if self._rules.scan_secrets(normalised(leaf) if needs_normalising(leaf) else leaf):
                return "secret"
            if len(self._clean) >= _IDENTITIES:
                self._clean.clear()
            self._clean.add(leaf)
        return None

    def _inspection(
        self,
        value: object,
        schema: Mapping[str, object] | None,
        memory: Memory,
        *,
        minimal: str = "",
        limits: Limits | None = None,
    ) -> Inspection:
        marks = None if schema is None else self._marks(schema)
        root = None if marks is None else marks.root
        replacer = self._metered(_NO_NAMES if marks is None else marks.supplied, limits)
        walk = Walk(replacer.limits, replacer.token, replacer.spend, self._rules)
        box: list[Any] = [None]
        try:
            walk.value(value, box, 0, None, root, root.mark if root is not None else None, None)
        except RecursionError:
            raise RedactionError("a value is nested too deeply", code="redaction.depth") from None
        return Inspection(
            replacer,
            value,
            walk,
            box,
            memory,
            minimal=minimal,
            again=lambda: self._inspection(value, schema, BLANK, minimal=minimal, limits=limits),
        )

    def _metered(
        self, supplied: frozenset[str] = _NO_NAMES, limits: Limits | None = None
    ) -> Replacer:
        spend = self._meter()
        if spend is unmetered and not supplied and limits is None:
            return self._replacer
        return self._replacer.for_view(limits or self._limits, spend, supplied)

    def _marks(self, schema: Mapping[str, object]) -> SchemaMarks:
        found = self._schemas.get(id(schema))
        if found is not None and found[0] is schema:
            return found[1]
        marks = SchemaMarks(schema)
        if len(self._schemas) >= _SCHEMAS:
            self._schemas = {}
        self._schemas[id(schema)] = (schema, marks)
        return marks
