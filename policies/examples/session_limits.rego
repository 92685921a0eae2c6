# Limits that depend on earlier calls: a rate, a flow of information, and a new account.
package guardrail.policy

allow contains "the tools of the help desk" if input.resource.id in {"read_page", "refund_order", "send_email", "pay"}

deny contains "ten refunds an hour per user" if {
	data.guardrail.lib.session.over_rate("principal", ["refund_order"], 10, 3600)
}

label contains "untrusted" if input.resource.id == "read_page"

# guardrail:ignore mutation:/cc without it, the mail goes to nobody outside
deny contains "no external mail after reading untrusted content" if {
	input.resource.id == "send_email"
	data.guardrail.lib.flow.maybe_carries("principal", ["untrusted"])
	data.guardrail.lib.mail.maybe_external(["example.com"])
}

deny contains "never pay an account first seen in this session" if {
	input.resource.id == "pay"
	data.guardrail.lib.session.first_seen(["pay"])
}
