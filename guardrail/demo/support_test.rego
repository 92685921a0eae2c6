package guardrail.policy_test

support_call(label, args) := {
	"action": {"name": "tools/call", "properties": {"arg_classes": {}, "args": args}},
	"resource": {"id": "tool", "properties": {"declared": true, "labels": [label]}, "type": "tool"},
	"subject": {"id": "agent", "properties": {}, "type": "user"},
}

support_effect(label, args) := decision.effect if {
	shop := {"customers": ["mia@example.com"]}
	decision := data.guardrail.main.decision with input as support_call(label, args) with data.support as shop
}

test_support_reading_is_allowed if support_effect("read", {}) == "allow"

test_support_an_order_is_shipped if support_effect("stock", {}) == "allow"

test_support_a_small_refund_is_allowed if support_effect("money", {"amount": 100}) == "allow"

test_support_a_large_refund_needs_approval if support_effect("money", {"amount": 101}) == "require_approval"

test_support_a_refund_of_nothing_is_denied if support_effect("money", {"amount": 0}) == "deny"

test_support_a_refund_without_an_amount_is_denied if support_effect("money", {}) == "deny"

test_support_mail_to_a_customer_is_allowed if support_effect("mail", {"to": "mia@example.com"}) == "allow"

test_support_mail_to_a_stranger_is_denied if support_effect("mail", {"to": "eve@example.net"}) == "deny"

test_support_another_tool_is_denied if support_effect("other", {}) == "deny"
