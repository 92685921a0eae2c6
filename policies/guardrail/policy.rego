# The sets that policies extend. Each set exists, even if no policy adds to it.
package guardrail.policy

# One member is enough to allow the call. Without any, the call is denied.
allow contains r if {
	false
	r := ""
}

# One member is enough to deny the call, even if another rule allows it.
deny contains r if {
	false
	r := ""
}

# Rules that a person must approve before the call runs.
require_approval contains r if {
	false
	r := ""
}

# Pointers to arguments that are recorded only as tokens.
redact contains pointer if {
	false
	pointer := ""
}

# Labels for the session, set when the call is admitted.
label contains name if {
	false
	name := ""
}

# If there is a member, the tool is not offered to the model. This affects only listings.
hide contains r if {
	false
	r := ""
}

# Contract guardrail/1 supports no obligations, so any member denies the call.
obligation contains o if {
	false
	o := ""
}
