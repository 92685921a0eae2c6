# Mail addresses.

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.mail

# The part after the @, in lower case; "" if this is not a plain address.
default domain(_) := ""

domain(address) := lower(parts[1]) if {
	is_string(address)
	parts := split(address, "@")
	count(parts) == 2
	parts[0] != ""
	regex.match(`^[A-Za-z0-9.-]+$`, parts[1])
}
