# What policies add to: each set exists, also where no file writes to it.
package guardrail.policy

# Any one allows; without one the call is denied.
allow contains r if {
	false
	r := ""
}

# Any one denies, whatever allows.
deny contains r if {
	false
	r := ""
}

# A person must approve first.
require_approval contains r if {
	false
	r := ""
}

# Pointers into the arguments that are recorded only as tokens.
redact contains pointer if {
	false
	pointer := ""
}

# Put on the session when the call is admitted.
label contains name if {
	false
	name := ""
}

# Listings only: the tool is not offered to the model.
hide contains r if {
	false
	r := ""
}

# Contract guardrail/1 knows no obligation: one that is asked for denies.
obligation contains o if {
	false
	o := ""
}
