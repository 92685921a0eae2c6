# The tenant to which the call belongs.
#
# Every function here is true or false, also if the input names no tenant. Then it is false.
#
# In a policy, write the full name: data.guardrail.lib.tenant.is("acme")

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.tenant

# True if the call belongs to this tenant.
default is(_) := false

is(name) if {
	is_string(name)
	name != ""
	input.subject.properties.tenant == name
}

# True if the call belongs to one of these tenants, a list or set.
default one_of(_) := false

one_of(names) if {
	is_list(names)
	is_string(input.subject.properties.tenant)
	input.subject.properties.tenant != ""
	input.subject.properties.tenant in names
}

is_list(names) if is_array(names)

is_list(names) if is_set(names)
