package guardrail.policy_test

banking_account := {
	"balance": 500,
	"payees": ["DE02120300000000202051"],
	"standing_orders": {"3": {"amount": 80, "recipient": "DE02500105170137075030"}},
}

banking_request := {
	"accounts": ["DE02100500000054540402"],
	"numbers": [300],
	"passwords": ["correct7horse"],
	"words": ["Greengrocer"],
}

banking_call(label, args) := {
	"action": {"name": "tools/call", "properties": {"arg_classes": {}, "args": args}},
	"resource": {"id": "tool", "properties": {"declared": true, "labels": [label]}, "type": "tool"},
	"subject": {"id": "mia@example.com", "properties": {"typed": banking_request}, "type": "user"},
}

banking_payment(recipient, amount) := banking_call("payment", {
	"amount": amount,
	"recipient": recipient,
	"subject": "June",
})

banking_effect(call) := decision.effect if {
	decision := data.guardrail.main.decision with input as call with data.banking as banking_account
}

test_banking_reading_is_allowed if banking_effect(banking_call("read", {})) == "allow"

test_banking_a_known_payee_is_paid if banking_effect(banking_payment("DE02120300000000202051", 20)) == "allow"

test_banking_a_typed_account_is_paid if banking_effect(banking_payment("DE02100500000054540402", 20)) == "allow"

test_banking_a_typed_name_is_paid if banking_effect(banking_payment("Greengrocer", 20)) == "allow"

test_banking_a_new_payee_needs_approval if banking_effect(banking_payment("Bookshop", 20)) == "require_approval"

test_banking_a_payment_beyond_the_balance_is_denied if {
	banking_effect(banking_payment("DE02120300000000202051", 501)) == "deny"
}

test_banking_a_payment_of_nothing_is_denied if {
	banking_effect(banking_payment("DE02120300000000202051", 0)) == "deny"
}

test_banking_an_order_rises_a_little if {
	banking_effect(banking_call("standing_order", {"amount": 100, "id": 3, "recipient": null})) == "allow"
}

test_banking_an_order_rises_to_a_typed_amount if {
	banking_effect(banking_call("standing_order", {"amount": 300, "id": 3, "recipient": null})) == "allow"
}

test_banking_an_order_that_rises_much_needs_approval if {
	banking_effect(banking_call("standing_order", {"amount": 101, "id": 3, "recipient": null})) == "require_approval"
}

test_banking_an_order_that_is_redirected_needs_approval if {
	banking_effect(banking_call("standing_order", {
		"amount": null,
		"id": 3,
		"recipient": "DE02300209000106531065",
	})) == "require_approval"
}

test_banking_an_order_that_does_not_exist_is_denied if {
	banking_effect(banking_call("standing_order", {"amount": 80, "id": 4, "recipient": null})) == "deny"
}

test_banking_a_typed_password_is_set if {
	banking_effect(banking_call("credential", {"password": "correct7horse"})) == "allow"
}

test_banking_another_password_needs_approval if {
	banking_effect(banking_call("credential", {"password": "another9horse"})) == "require_approval"
}

test_banking_a_new_address_is_allowed if {
	banking_effect(banking_call("profile", {"city": "Bern", "first_name": null, "last_name": null})) == "allow"
}

test_banking_a_new_name_needs_approval if {
	banking_effect(banking_call("profile", {"first_name": "Max", "last_name": null})) == "require_approval"
}

test_banking_a_tool_without_a_label_is_denied if banking_effect(banking_call("other", {})) == "deny"

# Without the account's data, no payment is allowed.
test_banking_without_data_a_payment_is_denied if {
	data.guardrail.main.decision.effect == "deny" with input as banking_payment("Greengrocer", 20)
}
