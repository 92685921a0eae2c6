# Rules for every call. A call is denied unless an `allow` rule fires.

# METADATA
# scope: subpackages
# schemas:
#   - input: schema.guardrail_input
package guardrail.policy

# Undeclared tools have no schema, so their arguments were not checked.
deny contains {"rule": "undeclared", "message": "this tool is not declared", "severity": "high"} if {
	not input.resource.properties.declared
}

# Tools that only read: the tools in the list, and tools declared with the label "read".
allow contains "read-only" if input.resource.id in data.starter.read_tools

allow contains "read-only" if "read" in input.resource.properties.labels
