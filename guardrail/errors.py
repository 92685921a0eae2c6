"""Every exception that guardrail raises, as one tree.

::

    GuardrailError                  code, message, hint
     +- ConfigError                 settings or files that guardrail rejects at startup
     +- UsageError                  the program called guardrail wrongly; nothing was recorded
     +- Denied                      the call was decided and recorded, and must not run
     +- ApprovalRequired            the call was recorded; a person must approve it first
     +- PolicyError                 no well-formed reply from the policy: cause and detail
     |   +- PolicyLoadError         policies that were rejected when loaded: a list of findings
     +- LedgerError                 the call was not recorded: not run, or its result is withheld
     |   +- LedgerPoisonedError     an I/O error or a deadline: blocked until the ledger reopens
     |   +- LedgerSealedError       contradicts acknowledged records: run `guardrail recover`
     |   +- LedgerOpenError         the ledger can't be opened: missing, unreadable or too new
     +- ToolTimeoutError            the body did not end in time; also a TimeoutError
     +- RecordError                 a value that can't be recorded
     +- SchemaError                 a tool schema that guardrail rejects
     +- ArgumentsError              arguments that do not fit the tool's schema
     +- RedactionError              a value that can't be redacted
     +- IdentityError               the caller's identity can't be established
     +- KeysError                   missing, unreadable or exposed key files, or a failing signer
     +- NoteError                   a malformed signed note, checkpoint, proof or note key
     +- AccessError                 a ledger that must not be read: the read can't be recorded
     +- RetentionError              records that must not be deleted, or an invalid segment copy
     +- AnchorError                 a head that could not be sent to, or read from, an anchor

``code`` is stable and meant for programs. ``hint`` says what to do next, with the command to run,
if there is one. A traceback ends with both (``__notes__``); they are not shown anywhere else.
Messages never contain a value that a caller passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AccessError",
    "AnchorError",
    "ApprovalRequired",
    "ArgumentsError",
    "ConfigError",
    "Denied",
    "Finding",
    "GuardrailError",
    "IdentityError",
    "KeysError",
    "LedgerError",
    "LedgerOpenError",
    "LedgerPoisonedError",
    "LedgerSealedError",
    "NoteError",
    "PolicyError",
    "PolicyLoadError",
    "RecordError",
    "RedactionError",
    "RetentionError",
    "SchemaError",
    "SchemaWarning",
    "ToolTimeoutError",
    "UsageError",
]


def os_reason(error: OSError) -> str:
    """Return the system's reason for *error*, without a path. Never empty, even if the ``OSError``
    has no ``strerror``.
    """
    return error.strerror or ("" if error.filename else str(error)) or type(error).__name__


class GuardrailError(Exception):
    """Base class of every exception that guardrail raises on purpose."""

    default_code = "guardrail"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else self.default_code
        self._note = ""
        self.hint = hint

    @property
    def hint(self) -> str:
        """The next step, or an empty string if there is none to suggest."""
        return self._hint

    @hint.setter
    def hint(self, hint: str) -> None:
        # A traceback shows the hint to the developer. str, repr and args, which an agent may see,
        # do not contain it.
        self._hint = hint
        others = [note for note in getattr(self, "__notes__", ()) if note != self._note]
        self._note = f"[{self.code}]" + (f" next: {hint}" if hint else "")
        self.__notes__ = [*others, self._note]

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(
    cls: type[GuardrailError], args: tuple[object, ...], state: dict[str, object]
) -> GuardrailError:
    error = cls.__new__(cls, *args)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class ConfigError(GuardrailError):
    """Settings or files that guardrail rejects. Nothing was changed."""

    default_code = "config"


class UsageError(GuardrailError):
    """The program called guardrail wrongly. Nothing was recorded and nothing ran."""

    default_code = "usage"


class Denied(GuardrailError):
    """The call was denied. The decision is durable, and the body did not run.

    ``str``, ``repr``, ``args`` and pickles contain only the public message and ``seq``, so the
    exception is safe to show to the agent. The record *seq* in the ledger lists every rule that
    fired. ``code`` and ``hint`` are for the developer.
    """

    default_code = "denied"

    def __init__(
        self,
        message: str,
        *,
        seq: int,
        cause: str = "policy",
        hint: str = "",
        code: str | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(
            message, code=code or f"denied.{cause}", hint=hint or f"guardrail why {seq}"
        )
        self.seq = seq
        self.reason = reason
        """The operator's reason if the call is suspended, otherwise an empty string. For the
        program, not for the agent.
        """

    def __repr__(self) -> str:
        return f"Denied({self.message!r}, seq={self.seq})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_denied, (type(self), self.message, self.seq))


def _rebuild_denied(cls: type[Denied], message: str, seq: int) -> Denied:
    return cls(message, seq=seq)


class ApprovalRequired(GuardrailError):
    """A person must approve this call. The request is recorded, and the body did not run.

    After ``guardrail approve APPROVAL --reason TEXT``, run the call with ``guard.call(...,
    approval=error.approval)``, with the same arguments and in the same session.
    """

    default_code = "approval_required"

    def __init__(self, message: str, *, seq: int, approval: str = "", hint: str = "") -> None:
        answer = (
            f"guardrail approve {approval} --reason TEXT" if approval else f"guardrail why {seq}"
        )
        super().__init__(message, hint=hint or answer)
        self.seq = seq
        self.approval = approval
        """Id of the requested approval: the call's id."""

    def __repr__(self) -> str:
        return f"ApprovalRequired({self.message!r}, seq={self.seq})"

    def __reduce__(self) -> tuple[object, ...]:
        parts = (type(self), self.message, self.seq, self.approval, self.hint)
        return (_rebuild_approval, parts)


def _rebuild_approval(
    cls: type[ApprovalRequired], message: str, seq: int, approval: str, hint: str
) -> ApprovalRequired:
    return cls(message, seq=seq, approval=approval, hint=hint)


class PolicyError(GuardrailError):
    """The policy did not return a well-formed reply. The guard turns this into a recorded denial.

    ``cause`` is a cause of a denial (``timeout``, ``crashed``, ``malformed``, ...); ``detail`` is a
    stable sub-code. The message never quotes the input.
    """

    default_code = "policy"

    def __init__(self, message: str, *, cause: str, detail: str, hint: str = "") -> None:
        super().__init__(message, code=f"policy.{cause}.{detail}", hint=hint)
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Finding:
    """One error or warning about a policy, with its location."""

    file: str
    """Path as specified, or ``-`` if the finding is not about a file."""
    line: int
    """Line number, starting at 1, or 0 if the finding has no line."""
    code: str
    """Stable name of the check, e.g. ``walk-assigned``."""
    message: str
    """One-line description of the problem."""
    hint: str = ""
    """Suggested replacement, and whether the server engine accepts the original."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message} [{self.code}]"


class PolicyLoadError(PolicyError):
    """Policies were rejected when they were loaded. ``findings`` contains every reason, not only
    the first.

    ``hint`` contains the commands that show all of them: ``guardrail policy check``, ``guardrail
    policy test`` for failed tests, or both.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        lines = "; ".join(str(finding) for finding in self.findings[:3])
        more = len(self.findings) - 3
        text = f"policies refused: {lines}" + (f" (and {more} more)" if more > 0 else "")
        failed = {finding.code == "test-failed" for finding in self.findings} or {False}
        commands = {True: "guardrail policy test", False: "guardrail policy check"}
        hint = ", and ".join(commands[each] for each in sorted(failed))
        super().__init__(text, cause="error", detail="load", hint=hint)


class LedgerError(GuardrailError):
    """The call could not be recorded. Either its body did not run, or it ran and its result is
    withheld.
    """

    default_code = "ledger"


class LedgerPoisonedError(LedgerError):
    """The ledger is blocked after an I/O error, a missed deadline or a commit with an unknown
    result. The next call tries to reopen it.
    """

    default_code = "ledger.poisoned"


class LedgerSealedError(LedgerError):
    """The files contradict acknowledged records. No call runs until ``guardrail recover``."""

    default_code = "ledger.sealed"


class LedgerOpenError(LedgerError):
    """The ledger can't be opened: it is missing, unreadable, in a newer format, or on a file system
    that guardrail does not support.
    """

    default_code = "ledger.open"


class ToolTimeoutError(GuardrailError, TimeoutError):
    """The body of a call did not end within the tool's ``timeout``. It may have had side effects.

    The outcome is recorded. If the body was cancelled, it has ended. Otherwise, ``running`` is
    True: the body could not be stopped, and a ``call.claim`` record will show how it ended. The
    message is safe to show to the agent.
    """

    default_code = "tool.timeout"

    def __init__(self, message: str, *, running: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.running = running
        """True if the body may still be running."""


class RecordError(GuardrailError):
    """The value can't be recorded: it is NaN, not JSON or too large, or it contains a lone
    surrogate.
    """

    default_code = "record"


class SchemaError(GuardrailError):
    """guardrail rejects the tool's schema and treats the tool as undeclared. ``code`` is
    ``schema.<detail>``.
    """

    default_code = "schema"


class SchemaWarning(UserWarning):
    """A tool's JSON Schema was rejected when the tool was declared, so the tool counts as
    undeclared.
    """


class ArgumentsError(GuardrailError):
    """The arguments do not fit the tool's schema. ``detail`` is a stable sub-code; ``pointer`` (RFC
    6901) is the location.

    The guard turns this into a recorded denial with cause ``arguments``.
    """

    default_code = "arguments"

    def __init__(self, message: str, *, detail: str, pointer: str = "") -> None:
        super().__init__(message, code=f"arguments.{detail}")
        self.detail = detail
        self.pointer = pointer


class RedactionError(GuardrailError):
    """A value can't be redacted. If this happens in a decision, the call is denied with cause
    ``redactor``; if it happens in an outcome, the outcome is recorded without the value.
    """

    default_code = "redaction"


class IdentityError(GuardrailError):
    """The caller's identity can't be established, or an id belongs to someone else."""

    default_code = "identity"


class KeysError(GuardrailError):
    """Key files are missing, unreadable, malformed, or readable by others, or a signer fails."""

    default_code = "keys"


class NoteError(GuardrailError):
    """A signed note, checkpoint, proof or note key is malformed. Its content was not used."""

    default_code = "note.malformed"


class AccessError(GuardrailError):
    """The settings require every read to be recorded, and this one could not be. No part of the
    ledger was shown.
    """

    default_code = "access.required"


class RetentionError(GuardrailError):
    """Records must not be deleted now, or a copy of a segment is invalid or can't be made.

    The operation in the message was not carried out. If records had already been deleted, the log
    records each deletion.
    """

    default_code = "retention"


class AnchorError(GuardrailError):
    """A head could not be sent to, or read from, an anchor. The ledger itself is unchanged.

    ``code`` is ``anchor.unreachable`` (try again later), ``anchor.refused`` (the anchor does not
    accept this log's heads at present), ``anchor.malformed`` (the anchor's answer or content is
    malformed), or ``anchor.conflict`` (the anchor and the ledger contain different histories of
    this log).
    """

    default_code = "anchor.unreachable"
