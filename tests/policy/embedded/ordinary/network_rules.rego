# input {"rules":[{"cidr":"10.0.0.0/8","port":22,"proto":"tcp"},{"cidr":"0.0.0.0/0","from":0,"to":65535}],"source":"10.1.2.3"}
package ordinary.network_rules

public := {"0.0.0.0/0", "::/0"}

deny contains msg if {
	some i, rule in input.rules
	rule.cidr in public
	covers(rule, 22)
	msg := sprintf("rule %d opens SSH to %s", [i, rule.cidr])
}

covers(rule, port) if rule.port == port

covers(rule, port) if {
	rule.from <= port
	rule.to >= port
}

inside if net.cidr_contains("10.0.0.0/8", input.source)

allowed_from contains rule.port if {
	some rule in input.rules
	net.cidr_contains(rule.cidr, input.source)
}

wide contains rule.cidr if {
	rule := input.rules[_]
	to_number(split(rule.cidr, "/")[1]) < 16
}
