"""Explains the causes of decisions in words, with the next step for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guardrail.core.types import Cause
from guardrail.review.approval_words import NEXT, REASONS

__all__ = ["CAUSES", "CauseExplanation", "reason_of"]


@dataclass(frozen=True, slots=True)
class CauseExplanation:
    """The meaning of a cause, and the next step."""

    sentence: str
    next_step: str
    """``SEQ`` is the number of the decision record."""


CAUSES: Mapping[Cause, CauseExplanation] = {
    Cause.POLICY: CauseExplanation(
        "The policy was asked, and its rules gave this answer.",
        "To change the answer, change the rules listed here, then run `guardrail policy test`.",
    ),
    Cause.ARGUMENTS: CauseExplanation(
        "The arguments do not fit the tool's schema, so the policy was not asked: a rule about "
        "an argument that is missing or has the wrong type would not have fired.",
        "Compare the call with the tool's schema. If the call is right, correct the schema where"
        " the tool is declared.",
    ),
    Cause.UNDEFINED: CauseExplanation(
        "The policy was asked and gave no answer at all: its decision is undefined for this input.",
        "Run `guardrail policy check`: the composition that answers every call is missing or"
        " shadowed.",
    ),
    Cause.MALFORMED: CauseExplanation(
        "The policy's answer does not have the agreed form, so it was ignored.",
        "Run `guardrail policy check`; every rule must be a string or an object with `rule` and"
        " `message`.",
    ),
    Cause.UNREACHABLE: CauseExplanation(
        "No policy engine could be reached, so nothing allowed the call.",
        "Run `guardrail doctor`, which starts the engine and reports the problem.",
    ),
    Cause.TIMEOUT: CauseExplanation(
        "The policy did not answer in time, so its answer is not known.",
        "Run `guardrail policy test` and look for slow rules (loops over large data), or raise the"
        " limit in guardrail.toml.",
    ),
    Cause.CRASHED: CauseExplanation(
        "The policy engine died or broke its protocol while it was deciding this call.",
        "Run `guardrail doctor`. If one kind of call always causes this, check the rules that "
        "read its arguments.",
    ),
    Cause.ERROR: CauseExplanation(
        "The policy raised an error while it was evaluated: a built-in rejected its operands, two "
        "rules disagree, or `guardrail.lib.time` got a zone without an offset, or malformed hours "
        "or days.",
        "Run `guardrail policy eval --from SEQ`, which evaluates the recorded input again, and "
        "shows the line and the reason.",
    ),
    Cause.OBLIGATION: CauseExplanation(
        "The policy allows the call only under an obligation that this version of guardrail can't"
        " fulfil.",
        "Remove the obligation from the policy: the contract `guardrail/1` defines none.",
    ),
    Cause.REDACTOR: CauseExplanation(
        "The call can't be recorded without writing something sensitive, or too much, so it was not"
        " allowed to run.",
        "Check which values the record omits. Declare a schema that marks the sensitive "
        "argument, or send less.",
    ),
    Cause.IDENTITY: CauseExplanation(
        "The caller's identity could not be established, or this session belongs to someone else.",
        "Check how the program opens its session: principal, agent and session id must belong "
        "together.",
    ),
    Cause.APPROVAL: CauseExplanation(
        "The approval presented with the call is not valid for it.",
        "Request approval again: an approval is for one call, with exactly these arguments, for "
        "a limited time.",
    ),
    Cause.REVISION: CauseExplanation(
        "The policy that answered does not have the required revision.",
        "Load the required revision, then run `guardrail policy reload`.",
    ),
    Cause.PINNED: CauseExplanation(
        "The policy that answered is not the one that is pinned in the configuration.",
        "Compare the policy digest in this record with the pinned one in guardrail.toml.",
    ),
    Cause.QUOTA: CauseExplanation(
        "A limit on the number or rate of calls was reached.",
        "Wait, or raise the limit in the configuration.",
    ),
    Cause.ANCHOR: CauseExplanation(
        "The head of the ledger could not be anchored in time, which the configuration requires.",
        "Run `guardrail doctor` and check the anchors.",
    ),
    Cause.CONTENTION: CauseExplanation(
        "Too many calls were waiting to be decided at the same moment. If the detail is"
        " `displaced`, too many other callers have made calls since this one's last call.",
        "Send fewer calls at once, or give the engine more workers in guardrail.toml. For"
        " `displaced`, use one tenant for each group of callers.",
    ),
    Cause.DUPLICATE: CauseExplanation(
        "A framework made this call again, for example because a paused graph was resumed, but "
        "the call with this id has already succeeded, or is still running, in this session or "
        "thread.",
        "Nothing, if the graph was resumed. To run the call once more, let the model request it "
        "again.",
    ),
    Cause.SUSPENDED: CauseExplanation(
        "A person had suspended the principal, the agent, the tool or all calls, so the policy was "
        "not asked.",
        "Run `guardrail suspensions`. `guardrail resume SUBJECT` ends a suspension.",
    ),
    Cause.EFFECT: CauseExplanation(
        "An earlier call had the same effect key, and it ran or may have run.",
        "Find out whether that call ran. `guardrail resolve SEQ not-run` permits another call, and "
        "`guardrail resolve SEQ ran` confirms it.",
    ),
}

_UNKNOWN_CAUSE = CauseExplanation(
    "The record contains a cause that this version of guardrail does not know.",
    "Read the record with the version that wrote it, or a newer one.",
)

_APPROVAL: Mapping[str, tuple[str, str]] = {
    str(code): (words, NEXT[code]) for code, words in REASONS.items()
}

_BREAKER = CauseExplanation(
    "Calls like this one made the policy engine fail repeatedly, so it was not asked for a "
    "while; other sessions and tools were not affected.",
    "Look at the first of these calls (`guardrail show last`), fix the rule that it breaks, and "
    "try again.",
)

_NOT_JSON = CauseExplanation(
    "An argument contains a value that JSON can't represent, so neither the policy nor the "
    "record could receive it.",
    "Convert the value to JSON (text, number, list, object) before the call.",
)

_DETAILS: Mapping[tuple[str, str], CauseExplanation] = {
    ("redactor", "redaction.budget"): CauseExplanation(
        "Finding the sensitive values in this call would take too much processor time, so it was "
        "not allowed to run, and its record leaves the arguments out.",
        "Pass less text, or less text that looks sensitive. `guardrail redact` shows whether "
        "arguments can be redacted in time.",
    ),
    ("redactor", "redaction.fault"): CauseExplanation(
        "The redactor failed, which is a bug in guardrail, so the call was not allowed to run, and "
        "its record leaves the arguments out.",
        "Report the bug, with the kind of the arguments but without their values.",
    ),
    ("timeout", "breaker_open"): _BREAKER,
    ("crashed", "breaker_open"): _BREAKER,
    ("timeout", "eval_limit"): CauseExplanation(
        "Evaluating the policy for this call exceeded the time limit, so its worker was "
        "stopped. The policy's answer is not known.",
        "Look at the rules that read this call's arguments (loops over large values), or raise"
        " policy.eval_limit_ms.",
    ),
    ("timeout", "queue_full"): CauseExplanation(
        "Too many calls were waiting for the policy at that moment, so it was not asked about "
        "this one.",
        "Send fewer calls at once, or raise policy.workers in guardrail.toml.",
    ),
    ("crashed", "memory"): CauseExplanation(
        "Evaluating the policy for this call exceeded a worker's memory limit.",
        "Look at the rules that build large values from this call's arguments, or raise"
        " policy.memory_mb.",
    ),
    ("unreachable", "closed"): CauseExplanation(
        "The guard was closing or reloading its policies while this call waited for an answer.",
        "Make the call again.",
    ),
    ("unreachable", "engine_version"): CauseExplanation(
        "The embedded policy engine is missing, or is not the one version that is known to "
        "decide as OPA does.",
        "Run `guardrail doctor`: it shows the version to install.",
    ),
    ("error", "input_size"): CauseExplanation(
        "The call exceeds the policy engine's size limit, so the rules were not asked.",
        "Send less in one call.",
    ),
    ("error", "integer_range"): CauseExplanation(
        "The call contains an integer beyond 64 bits, or a fraction of 54 to 64 bits, which the"
        " embedded policy engine can't compare exactly.",
        "Pass such numbers as strings, or fractions of that size as integers.",
    ),
    ("anchor", "conflict"): CauseExplanation(
        "An anchor has a head that this ledger does not continue: the ledger was truncated, "
        "rolled back, replaced or forked.",
        "Run `guardrail doctor`: it names the head and the solution. Put the right ledger back, "
        "or record the interruption with `guardrail recover`. To leave a head signed by another "
        "key behind, use `guardrail anchor move`.",
    ),
    ("malformed", "no_reason"): CauseExplanation(
        "The policy's answer does not name a rule that explains its effect, so it was ignored.",
        "Run `guardrail policy check`: only the installed composition may make the decision.",
    ),
    ("malformed", "contradiction"): CauseExplanation(
        "The policy's answer claims to permit the call although one of its own rules denies it; a"
        " denial always wins.",
        "Run `guardrail policy check`: only the installed composition may make the decision.",
    ),
    ("arguments", "unknown_argument"): CauseExplanation(
        "The call contains an argument that the tool's schema does not allow, so the policy was "
        "not asked.",
        "Correct the call, or declare the argument in the tool's schema.",
    ),
    ("arguments", "size"): CauseExplanation(
        "The arguments exceed the size limit for a call, so the policy was not asked.",
        "Send less in one call. A schema with patterns lowers the limit, unless it limits the "
        "length of its strings.",
    ),
    ("arguments", "nodes"): CauseExplanation(
        "The arguments contain more values than a call may have, so the policy was not asked.",
        "Send fewer items in one call.",
    ),
    ("arguments", "depth"): CauseExplanation(
        "The arguments exceed the nesting limit for a call, so the policy was not asked.",
        "Send a flatter structure.",
    ),
    ("arguments", "nan"): _NOT_JSON,
    ("arguments", "surrogate"): _NOT_JSON,
    ("arguments", "key"): _NOT_JSON,
    ("arguments", "not_json"): _NOT_JSON,
    ("arguments", "cyclic"): _NOT_JSON,
    ("arguments", "not_object"): CauseExplanation(
        "The arguments are not a JSON object, so the policy was not asked.",
        "Pass the arguments by name.",
    ),
    ("arguments", "unstable"): CauseExplanation(
        "Another thread changed the arguments during the copy, so the policy was not asked.",
        "Pass arguments that no other code changes during the call.",
    ),
    ("arguments", "missing"): CauseExplanation(
        "An argument that the tool's schema requires is missing, so the policy was not asked.",
        "Correct the call, or give the argument a default where the tool is declared.",
    ),
    ("identity", "absent"): CauseExplanation(
        "The program passed no principal for the call, and calls without a principal are denied, "
        "so the policy was not asked. Usual reasons: no `with guard.session(principal=...)` "
        "around the call, a new thread, a sync dependency of a web framework that yields inside "
        "the block, a background task, a streaming response.",
        "Pass session= to the call, or use guard.bind(session): docs/web-apps.md. To let the policy"
        ' decide about such calls, write require = "any" under [identity] in guardrail.toml.',
    ),
    ("identity", "unverified"): CauseExplanation(
        "The program only asserted the principal, and the settings require a verified one, so the "
        "policy was not asked.",
        "Open the session with guard.session(token=...): docs/identity.md.",
    ),
    ("identity", "token_expired"): CauseExplanation(
        "The token with which the session was opened has expired, so the policy was not asked.",
        "Open another session with a new token: docs/identity.md.",
    ),
    ("identity", "token_key"): CauseExplanation(
        "The issuer no longer publishes the key with which the session's token is signed, so the "
        "policy was not asked.",
        "Open another session with a new token: docs/identity.md.",
    ),
    ("identity", "token_keys"): CauseExplanation(
        "The keys of the token's issuer could not be read for longer than [identity] "
        "jwks_max_age_s, so the policy was not asked.",
        "Check that the issuer's key set can be read: guardrail doctor.",
    ),
    ("identity", "token_revoked"): CauseExplanation(
        "The issuer says that the token of the session is no longer active, so the policy was not "
        "asked.",
        "Open another session with a new token: docs/identity.md.",
    ),
    ("identity", "token_introspection"): CauseExplanation(
        "The issuer's introspection endpoint gave no valid answer about the token of the session, "
        "so the policy was not asked.",
        "Check that the endpoint is running, and url, client_id and secret_file in the table of the"
        " issuer.",
    ),
    ("identity", "token_introspection_busy"): CauseExplanation(
        "The issuer's introspection endpoint was being asked about so many other tokens that it was"
        " not asked about that of the session, so the policy was not asked.",
        "Check that the endpoint answers quickly, and repeat the call.",
    ),
    ("identity", "ended"): CauseExplanation(
        "The call was made by a task or thread that was started inside `with guard.session(...)`"
        " and continued after the block had ended, so the policy was not asked.",
        "Pass session= to the call, or use guard.bind(session): docs/web-apps.md.",
    ),
    ("identity", "suspended"): CauseExplanation(
        "A generator that had entered the session through a function was suspended when other code "
        "made the call. The session does not belong to that code, so the policy was not asked.",
        "In the generator, pass session= to each call instead of entering the session:"
        " docs/web-apps.md.",
    ),
    ("identity", "closed"): CauseExplanation(
        "The program had closed this session, so the policy was not asked.",
        "Open another session with guard.session(...).",
    ),
    ("identity", "session"): CauseExplanation(
        "The session belongs to another tenant, principal or agent, because that caller's call was"
        " the first one recorded in it. The policy was not asked.",
        "Open a separate session for each caller: omit the id in guard.session(...), or choose "
        "a unique one.",
    ),
    ("arguments", "integer_range"): CauseExplanation(
        "An argument is an integer beyond 64 bits, which the embedded policy engine can't compare"
        " exactly.",
        "Pass such numbers as strings.",
    ),
}


def reason_of(cause: str, detail: str) -> CauseExplanation:
    """Return the explanation for *detail* if there is one, otherwise the one for *cause*."""
    special = _DETAILS.get((cause, detail))
    if cause == Cause.APPROVAL and detail in _APPROVAL:
        words, next_step = _APPROVAL[detail]
        special = CauseExplanation(
            f"The approval presented with the call does not count: {words}.", next_step
        )
    if cause == Cause.SUSPENDED and detail.isdecimal():
        general = CAUSES[Cause.SUSPENDED]
        special = CauseExplanation(
            f"{general.sentence} Record {detail} shows who suspended what, and the reason.",
            f"Run `guardrail show {detail}`. If that suspension is still listed by `guardrail "
            "suspensions`, `guardrail resume SUBJECT` ends it.",
        )
    if cause == Cause.EFFECT and detail.isdecimal():
        special = CauseExplanation(
            f"The call of record {detail} has the same effect key, and it ran or may have run.",
            f"Run `guardrail show {detail}`, and find out whether that call ran. If it did not, "
            f"`guardrail resolve {detail} not-run --reason TEXT` permits another call.",
        )
    if special is not None:
        return special
    try:
        return CAUSES[Cause(cause)]
    except ValueError:
        return _UNKNOWN_CAUSE
