# Safe functions to read the arguments of a call. They always have a value, even if the argument is missing or has
# another type, so a condition on the value is true or false, and never silently undefined.
#
# In a policy, write the full name: data.guardrail.lib.args.text("to")

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.args

# True if the argument is present, even if it is null.
has(name) if name in object.keys(input.action.properties.args)

# The argument, or the fallback if it is missing.
value(name, fallback) := object.get(input.action.properties.args, name, fallback)

# The argument if it is a string, else "".
default text(_) := ""

text(name) := found if {
	found := object.get(input.action.properties.args, name, "")
	is_string(found)
}

# True if the argument is a number from low to high, both included.
number_within(name, low, high) if {
	found := object.get(input.action.properties.args, name, null)
	is_number(found)
	found >= low
	found <= high
}

# The argument if it is a list; a string as a list with one item; else [].
default list(_) := []

list(name) := found if {
	found := object.get(input.action.properties.args, name, [])
	is_array(found)
}

list(name) := [found] if {
	found := object.get(input.action.properties.args, name, null)
	is_string(found)
}
