# input {"calls":[{"t":100,"tool":"a"},{"t":160,"tool":"a"},{"t":170,"tool":"b"}],"now":200,"window":60,"limits":{"a":1}}
package ordinary.rate_windows

recent := [c | some c in input.calls; input.now - c.t <= input.window]

per_tool[tool] := n if {
	some c in recent
	tool := c.tool
	n := count([1 | some other in recent; other.tool == tool])
}

over contains tool if {
	some tool, n in per_tool
	n > input.limits[tool]
}

next_free := min([c.t | some c in recent]) + input.window

tools := object.keys(per_tool)

busy if max([n | some n in per_tool]) >= 2
