# input {"kind":"Deployment","metadata":{"labels":{"app":"x"}},"spec":{"template":{"spec":{"containers":[{"securityContext":{"privileged":true,"capabilities":{"add":["SYS_ADMIN"]}}}]}}}}
package ordinary.helper_library

kinds := {"Deployment", "StatefulSet", "DaemonSet"}

pod_spec := input.spec.template.spec if input.kind in kinds

pod_spec := input.spec if input.kind == "Pod"

containers contains container if {
	keys := {"containers", "initContainers"}
	container := pod_spec[keys[_]][_]
}

has_key(x, k) if _ = x[k]

get_default(x, k, _) := x[k] if has_key(x, k)

get_default(x, k, d) := d if not has_key(x, k)

added(c, cap) if c.securityContext.capabilities.add[_] == cap

dangerous contains cap if {
	some cap in ["SYS_ADMIN", "NET_ADMIN"]
	some c in containers
	added(c, cap)
}

user := get_default(input.metadata, "annotations", "none")

deny contains "privileged" if containers[_].securityContext.privileged

empty(value) if count(value) == 0

empty(value) if value == null
