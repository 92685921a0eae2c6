package guardrail.policy_test

payer := {
	"action": {"properties": {"args": {"invoice": "2026-117"}}},
	"context": {
		"agent": {"assurance": "verified", "id": "clerk-bot", "issuer": "https://login.example.com", "method": "oidc_jwt"},
		"approval": null,
		"time": "2026-07-01T10:30:00.000000Z",
	},
	"resource": {"id": "pay_invoice", "properties": {"declared": true, "labels": []}},
	"subject": {
		"id": "alice@example.com",
		"properties": {
			"assurance": "verified",
			"authenticated_at": "2026-07-01T10:00:00Z",
			"issuer": "https://login.example.com",
			"method": "oidc_jwt",
			"roles": ["finance"],
		},
		"type": "user",
	},
}

payment_effect(changes) := decision.effect if {
	decision := data.guardrail.main.decision with input as object.union(payer, changes)
}

test_a_verified_person_pays if payment_effect({}) == "allow"

test_a_service_does_not_pay if payment_effect({"subject": {"type": "service"}}) == "deny"

test_an_asserted_person_does_not_pay if {
	payment_effect({"subject": {"properties": {"assurance": "asserted"}}}) == "deny"
}

test_an_old_login_does_not_pay if {
	payment_effect({"subject": {"properties": {"authenticated_at": "2026-07-01T09:00:00Z"}}}) == "deny"
}

test_other_departments_do_not_pay if payment_effect({"subject": {"properties": {"roles": ["sales"]}}}) == "deny"

test_an_agent_that_is_not_verified_needs_an_approval if {
	payment_effect({"context": {"agent": {"assurance": "asserted"}}}) == "require_approval"
}
