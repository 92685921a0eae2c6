# input {"tool":"delete_user","args":{"id":7},"roles":["ops"]}
# data {"rules":[{"tool":"delete_*","roles":["admin"],"pattern":"^delete_[a-z]+$"},{"tool":"read_*","roles":["ops","admin"],"pattern":"^read"}]}
package ordinary.data_driven

default allow := false

allow if {
	some rule in data.rules
	glob.match(rule.tool, [], input.tool)
	some role in input.roles
	role in rule.roles
}

matching contains rule.tool if {
	some rule in data.rules
	regex.match(rule.pattern, input.tool)
}
