# Mail: to colleagues freely, to others when a person approves, and never with an address that can't be read.
package guardrail.policy

mail_tool if input.resource.id in data.starter.mail_tools

recipients := array.concat(
	data.guardrail.lib.args.list("to"),
	array.concat(data.guardrail.lib.args.list("cc"), data.guardrail.lib.args.list("bcc")),
)

mail_domains := [data.guardrail.lib.mail.domain(address) | some address in recipients]

allow contains "mail" if {
	mail_tool
	count(recipients) > 0
}

require_approval contains {
	"rule": "mail-outside",
	"message": "mail to someone outside needs approval",
	"needs": ["/to"],
} if {
	mail_tool
	some domain in mail_domains
	not domain in data.starter.own_domains
}

deny contains {"rule": "mail-address", "message": "a recipient is not a plain mail address"} if {
	mail_tool
	"" in mail_domains
}

# What people write to each other is not for the log.
redact contains "/body" if mail_tool
