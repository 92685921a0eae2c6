# Run with: guardrail policy test
package guardrail.policy_test

call(tool, args) := {
	"subject": {
		"type": "user",
		"id": "alice@example.com",
		"properties": {
			"assurance": "asserted",
			"issuer": null,
			"method": "context",
			"roles": [],
			"tenant": "default",
		},
	},
	"action": {"name": "tools/call", "properties": {"args": args, "arg_classes": {}}},
	"resource": {
		"type": "tool",
		"id": tool,
		"properties": {"declared": true, "server": null, "schema_digest": "", "labels": [], "target": []},
	},
	"context": {"session": {"id": "s"}, "approval": null, "time": "2026-01-01T00:00:00.000000Z"},
}

effect(tool, args) := found if {
	found := data.guardrail.main.decision.effect with input as call(tool, args)
}

test_a_tool_without_a_rule_is_denied if effect("launch", {}) == "deny"

test_a_read_tool_is_allowed if effect("search", {"query": "x"}) == "allow"

test_a_tool_with_the_read_label_is_allowed if {
	labelled := object.union(call("anything", {}), {"resource": {"properties": {"labels": ["read"]}}})
	data.guardrail.main.decision.effect == "allow" with input as labelled
}

test_an_undeclared_read_tool_is_denied if {
	undeclared := object.union(call("search", {}), {"resource": {"properties": {"declared": false}}})
	data.guardrail.main.decision.effect == "deny" with input as undeclared
}

test_mail_to_a_colleague_is_allowed if effect("send_email", {"to": "bob@Example.com", "body": "x"}) == "allow"

test_mail_to_others_needs_approval if {
	effect("send_email", {"to": ["bob@example.com"], "cc": ["eve@elsewhere.org"]}) == "require_approval"
}

test_mail_to_something_that_is_no_address_is_denied if {
	every to in ["bob", "bob@example.com@elsewhere.org", "@example.com", "", ["bob@example.com", 5]] {
		effect("send_email", {"to": to}) == "deny"
	}
}

test_mail_to_what_is_neither_a_text_nor_a_list_is_denied if {
	every name in ["cc", "bcc"] {
		every value in [{}, {"0": "eve@elsewhere.org"}, 5, true] {
			effect("send_email", {"to": "bob@example.com", name: value}) == "deny"
		}
	}
}

test_mail_to_nobody_is_denied if effect("send_email", {}) == "deny"

test_mail_is_recorded_without_its_body if {
	"/body" in data.guardrail.main.decision.redact with input as call("send_email", {"to": "bob@example.com"})
}

test_a_small_payment_to_a_known_payee_is_allowed if {
	effect("transfer", {"payee": "ACME-RENT", "amount": 100}) == "allow"
}

test_other_payments_need_approval if {
	effect("transfer", {"payee": "ACME-RENT", "amount": 100.01}) == "require_approval"
	effect("transfer", {"payee": "NEW", "amount": 5}) == "require_approval"
	effect("transfer", {"amount": 5}) == "require_approval"
}

test_approved_payments_are_allowed if {
	approved := object.union(
		call("transfer", {"payee": "NEW", "amount": 5}),
		{"context": {"approval": {"valid": true, "rules": ["payment-new-payee"]}}},
	)
	data.guardrail.main.decision.effect == "allow" with input as approved
}

test_an_approval_covers_only_its_rules if {
	approved := object.union(
		call("transfer", {"payee": "NEW", "amount": 500}),
		{"context": {"approval": {"valid": true, "rules": ["payment-new-payee"]}}},
	)
	data.guardrail.main.decision.effect == "require_approval" with input as approved
}

test_impossible_amounts_are_denied if {
	every amount in [10001, -1, null, "5", [5], {}, true] {
		effect("transfer", {"payee": "ACME-RENT", "amount": amount}) == "deny"
	}
	effect("transfer", {"payee": "ACME-RENT"}) == "deny"
}

test_files_in_the_workspace_are_allowed if {
	effect("read_file", {"path": "/workspace/notes/a.txt"}) == "allow"
}

test_files_elsewhere_are_denied if {
	paths := [
		"/etc/passwd", "/workspace", "/workspace/../etc/passwd", "/workspace//etc", "workspace/a", "/workspaces/a",
		"/workspace/./a", "/workspace/a\\b", null, ["/workspace/a"],
	]
	every path in paths {
		effect("read_file", {"path": path}) == "deny"
	}
	effect("read_file", {}) == "deny"
}
