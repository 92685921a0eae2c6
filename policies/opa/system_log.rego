# OPA's decision log omits all data that may come from a caller, a session or a policy message.
#
# guardrail's ledger contains the redacted input and every rule of each call, and the decision id that OPA logs. If an
# evaluation ends in an error, its entry is dropped: the error message may quote values, and a mask can't remove them.
package system.log

mask contains "/input"

# The result is a decision, or an answer that contains one.
mask contains "/result/rules"

mask contains "/result/redact"

mask contains "/result/labels"

mask contains "/result/obligations"

mask contains "/result/decision/rules"

mask contains "/result/decision/redact"

mask contains "/result/decision/labels"

mask contains "/result/decision/obligations"

mask contains "/nd_builtin_cache"

drop if input.error

# The content of any other decision is unknown, so it is omitted.
mask contains "/result" if not startswith(input.path, "guardrail/main/")
