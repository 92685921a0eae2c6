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
default has(_) := false

has(name) if {
	is_object(input.action.properties.args)
	name in object.keys(input.action.properties.args)
}

# The argument, or the fallback if it is missing.
value(name, fallback) := object.get(input.action.properties.args, name, fallback) if has(name)

value(name, fallback) := fallback if not has(name)

# The argument if it is a string, else "".
default text(_) := ""

text(name) := found if {
	found := value(name, "")
	is_string(found)
}

# True if the argument is a number from low to high, both included.
default number_within(_, _, _) := false

number_within(name, low, high) if {
	found := value(name, null)
	every number in [found, low, high] {
		is_number(number)
	}
	found >= low
	found <= high
}

# The argument if it is a list; a string as a list with one item; else [].
default list(_) := []

list(name) := found if {
	found := value(name, [])
	is_array(found)
}

list(name) := [found] if {
	found := value(name, null)
	is_string(found)
}
