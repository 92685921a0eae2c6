# The composition: every decision is data.guardrail.main.decision, whatever the policies say and in however many files.
#
# Each reference to another package is written in full, from data to the rule: an engine that reaches rules through an
# alias or a whole package may evaluate them in the wrong order.
package guardrail.main

# What the guard asks for. The document is complete: each key is always there.
decision := {
	"contract": "guardrail/1",
	"effect": effect,
	"labels": [label | some label in data.guardrail.policy.label],
	"obligations": [obligation | some obligation in data.guardrail.policy.obligation],
	"redact": [pointer | some pointer in data.guardrail.policy.redact],
	"rules": array.concat(fired, absence),
}

# What a server is asked for. The input of the call stands in an envelope, so that the answer can repeat the random text
# that came with the question, and no policy can read it: an answer to another question is noticed. (The envelope is read
# by a function because it does not fit the schema of inputs that `opa check` judges policies by.)
answer := {"decision": made, "echo": object.get(input, "echo", "")} if {
	made := data.guardrail.main.decision with input as object.get(input, "question", null)
}

# What is asked when tools are listed to a model: hidden ones are not offered. A listing grants nothing, a tool that is
# offered is decided like any other when it is called.
listing := {
	"contract": "guardrail/1",
	"offered": count(data.guardrail.policy.hide) == 0,
	"rules": [normal(r, "deny") | some r in data.guardrail.policy.hide],
}

# An allow is derived, never left over: whatever goes wrong above leaves the default.
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

# Every rule that fired, each with the effect it asked for: a denial also says what would have allowed the call, an
# approved call also says which rules the approval covered.
fired := array.concat(
	[normal(r, "deny") | some r in data.guardrail.policy.deny],
	array.concat(
		[normal(r, "require_approval") | some r in data.guardrail.policy.require_approval],
		[normal(r, "allow") | some r in data.guardrail.policy.allow],
	),
)

# A denial has a reason, also where it is that nothing allowed the call.
default absence := []

absence := [normal({"rule": "guardrail.no_allow", "message": "no rule allows this call"}, "deny")] if {
	count(data.guardrail.policy.allow) == 0
}

unapproved contains r if {
	some r in data.guardrail.policy.require_approval
	not rule_id(r) in approved
}

# context.approval is null, or {"valid": true, "rules": [ids]}: the guard found a person's approval of exactly this
# call, and these are the rules it covers.
approved contains id if {
	input.context.approval.valid == true
	some id in input.context.approval.rules
}

# A rule without an id is covered by no approval: the empty id is refused with the rest of the document.
default rule_id(_) := ""

rule_id(r) := r if is_string(r)

rule_id(r) := object.get(r, "rule", "") if is_object(r)

defaults := {"approvers": 1, "needs": [], "severity": "info"}

# A rule of another type is passed on as it is, so that the guard refuses the document and denies.
default normal(_, _) := null

normal(r, kind) := object.union(defaults, {"effect": kind, "message": r, "rule": r}) if is_string(r)

normal(r, kind) := object.union(object.union(defaults, r), {"effect": kind}) if is_object(r)
