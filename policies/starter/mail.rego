# Mail: allowed to colleagues, and to others if a person approves. Unreadable addresses are denied.
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

# If a field is present, it must be a string or a list, because other values could hide a recipient.
mail_readable(name) if data.guardrail.lib.args.value(name, null) == null

mail_readable(name) if is_string(data.guardrail.lib.args.value(name, null))

mail_readable(name) if is_array(data.guardrail.lib.args.value(name, null))

all_mail_readable if {
	every name in ["to", "cc", "bcc"] {
		mail_readable(name)
	}
}

# The approver sees the call as it is recorded. A record shows a token in place of a mail address,
# so the approver can't read the recipients, and "needs": ["/to"] would make approval impossible.
# If the approver must know the recipient, give the tool an argument that may be recorded, such as
# the domain or a customer number, and name it in needs as well.
# guardrail:ignore mutation:/cc without it, the mail goes to nobody outside
require_approval contains {
	"rule": "mail-outside",
	"message": "mail to someone outside needs approval",
	"needs": ["/subject"],
} if {
	mail_tool
	some domain in mail_domains
	not domain in data.starter.own_domains
}

deny contains {"rule": "mail-address", "message": "a recipient is not a plain mail address"} if {
	mail_tool
	"" in mail_domains
}

# guardrail:ignore mutation:/cc,mutation:/bcc without it, the mail goes to nobody else
deny contains {"rule": "mail-address", "message": "a recipient is not a plain mail address"} if {
	mail_tool
	not all_mail_readable
}

# The text of a mail is not recorded.
redact contains "/body" if mail_tool
