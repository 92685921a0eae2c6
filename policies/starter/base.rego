# What every call must pass. Nothing is allowed unless a rule says so: without an `allow`, a call is denied.
package guardrail.policy

# Tools that nobody declared have no schema: nothing is known about their arguments.
deny contains {"rule": "undeclared", "message": "this tool is not declared", "severity": "high"} if {
	not input.resource.properties.declared
}

# Tools that only read, by name or by the label "read" that they are declared with.
allow contains "read-only" if input.resource.id in data.starter.read_tools

allow contains "read-only" if "read" in input.resource.properties.labels
