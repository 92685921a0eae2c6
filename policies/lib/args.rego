# Safe ways to read the arguments of a call: each of these always has a value, also where the argument is missing or of
# another type. A condition on it is then false or true, and never silently undefined.
#
# From a policy, in full: data.guardrail.lib.args.text("to")
package guardrail.lib.args

# Whether the argument is there, null included.
has(name) if name in object.keys(input.action.properties.args)

# The argument, or the fallback.
value(name, fallback) := object.get(input.action.properties.args, name, fallback)

# The argument where it is a text, else "".
default text(_) := ""

text(name) := found if {
	found := object.get(input.action.properties.args, name, "")
	is_string(found)
}

# Whether the argument is a number from low to high, both included.
number_within(name, low, high) if {
	found := object.get(input.action.properties.args, name, null)
	is_number(found)
	found >= low
	found <= high
}

# The argument where it is a list; a single text as a list of one; else [].
default list(_) := []

list(name) := found if {
	found := object.get(input.action.properties.args, name, [])
	is_array(found)
}

list(name) := [found] if {
	found := object.get(input.action.properties.args, name, null)
	is_string(found)
}
