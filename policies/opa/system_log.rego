# What OPA leaves out when it logs decisions: everything that a caller, a session or a policy message could have put in.
#
# guardrail's ledger holds the redacted input and every rule of each call, and names the decision id that stands here. An
# evaluation that ends in an error is dropped: its message may quote values, and no mask reaches it.
package system.log

mask contains "/input"

# A decision stands alone, or in an answer.
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

# A decision that is none of guardrail's: nothing is known about what it holds.
mask contains "/result" if not startswith(input.path, "guardrail/main/")
