# input {"tool":{"name":"shell","args":{"command":"rm -rf /tmp/x","timeout":30}},"session":{"calls":[{"tool":"read","n":1},{"tool":"shell","n":2}]},"user":{"groups":["eng"]}}
package ordinary.agent_tools

default allow := false

tool := input.tool

dangerous := ["rm -rf", "mkfs", "dd if="]

allow if {
	not denied
	tool.name in permitted[group]
	group in input.user.groups
}

permitted := {"eng": {"shell", "read"}, "sales": {"mail"}}

some_group contains group if {
	some group in input.user.groups
	permitted[group][tool.name]
}

denied if {
	tool.name == "shell"
	some pattern in dangerous
	contains(lower(tool.args.command), pattern)
}

denied if tool.args.timeout > 60

used := count([c | some c in input.session.calls; c.tool == tool.name])

over if used >= object.get(limits, tool.name, 5)

limits := {"shell": 2, "read": 100}

explain := sprintf("%s was called %d times (limit %d)", [tool.name, used, limits[tool.name]])
