# input {"spec":{"containers":[{"name":"a","securityContext":{"capabilities":{"add":["NET_ADMIN","CHOWN"],"drop":["ALL"]}}}]},"allowed":["CHOWN"]}
package ordinary.capabilities

violation contains msg if {
	some container in input.spec.containers
	has_disallowed_capabilities(container)
	msg := sprintf("container <%v> has a disallowed capability. Allowed capabilities are %v", [container.name, get_default(input, "allowed", "NONE")])
}

violation contains msg if {
	some container in input.spec.containers
	missing_drop(container)
	msg := sprintf("container <%v> is not dropping all capabilities", [container.name])
}

has_disallowed_capabilities(container) if {
	allowed := {c | c := lower(input.allowed[_])}
	not "*" in allowed
	capabilities := {c | c := lower(container.securityContext.capabilities.add[_])}
	count(capabilities - allowed) > 0
}

missing_drop(container) if not "all" in {c | c := lower(container.securityContext.capabilities.drop[_])}

get_default(obj, param, _) := obj[param]

get_default(obj, param, _default) := _default if {
	not obj[param]
	not obj[param] == false
}
