# input {"recent":[{"tool":"a","at":100},{"tool":"a","at":160},{"tool":"b","at":170}],"now":180}
package ordinary.rate

window := 60

recent_calls(tool) := count([c | some c in input.recent; c.tool == tool; input.now - c.at <= window])

deny contains msg if {
	some tool in {c.tool | some c in input.recent}
	n := recent_calls(tool)
	n >= 2
	msg := sprintf("%s was called %d times in the last %d seconds", [tool, n, window])
}
