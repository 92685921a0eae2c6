# The composition: every decision is data.guardrail.main.decision, for any policies in any number of files.
#
# Each reference to another package is written in full, from data to the rule. If an engine reaches rules through an
# alias or a whole package, it may evaluate them in the wrong order.

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.main

# The decision that the guard requests. Every key is always present.
decision := {
	"contract": "guardrail/1",
	"effect": effect,
	"labels": [label | some label in data.guardrail.policy.label],
	"obligations": [obligation | some obligation in data.guardrail.policy.obligation],
	"redact": [pointer | some pointer in data.guardrail.policy.redact],
	"rules": array.concat(fired, absence),
}

# The answer that the guard requests from a server. The input is an envelope with the input of the call and a random
# text. The answer repeats that text, so the guard detects an answer to another question, and policies can't read the
# text. (A function reads the envelope, because it does not fit the input schema that `opa check` uses.)
answer := {"decision": made, "echo": object.get(input, "echo", "")} if {
	made := data.guardrail.main.decision with input as object.get(input, "question", null)
}

# The answer for a listing of tools: hidden tools are not offered to the model. A listing grants nothing. If a listed
# tool is called, the call is decided like any other.
listing := {
	"contract": "guardrail/1",
	"offered": count(data.guardrail.policy.hide) == 0,
	"rules": [normal(r, "deny") | some r in data.guardrail.policy.hide],
}

# The same answer for a server, which repeats the random text of its request.
listed := {"echo": object.get(input, "echo", ""), "listing": made} if {
	made := data.guardrail.main.listing with input as object.get(input, "question", null)
}

# Only these conditions give an allow. If an error occurs in them, the default applies.
default effect := "deny"

effect := "allow" if {
	count(data.guardrail.policy.deny) == 0
	count(data.guardrail.policy.allow) > 0
	count(unapproved) == 0
} else := "require_approval" if {
	count(data.guardrail.policy.deny) == 0
	count(data.guardrail.policy.allow) > 0
	count(unapproved) > 0
}

# Every rule that fired, with its effect. So a denial also names the rules that would have allowed the call, and an
# approved call also names the rules that the approval covered.
fired := array.concat(
	[normal(r, "deny") | some r in data.guardrail.policy.deny],
	array.concat(
		[normal(r, "require_approval") | some r in data.guardrail.policy.require_approval],
		[normal(r, "allow") | some r in data.guardrail.policy.allow],
	),
)

# A denial always has a reason, even if the reason is only that no rule allows the call.
default absence := []

absence := [normal({"rule": "guardrail.no_allow", "message": "no rule allows this call"}, "deny")] if {
	count(data.guardrail.policy.allow) == 0
}

unapproved contains r if {
	some r in data.guardrail.policy.require_approval
	not rule_id(r) in approved
}

# context.approval is null, or {"valid": true, "rules": [ids]}: people approved exactly this call, and the approval
# covers these rules.
approved contains id if {
	input.context.approval.valid == true
	some id in input.context.approval.rules
}

# No approval covers a rule without an id: the guard refuses the whole document because of the empty id.
default rule_id(_) := ""

rule_id(r) := r if is_string(r)

rule_id(r) := object.get(r, "rule", "") if is_object(r)

defaults := {"approvers": 1, "needs": [], "severity": "info"}

# A rule of another type becomes null, so that the guard refuses the document and denies the call.
default normal(_, _) := null

normal(r, kind) := object.union(defaults, {"effect": kind, "message": r, "rule": r}) if is_string(r)

normal(r, kind) := object.union_n([defaults, r, {"effect": kind}]) if is_object(r)
