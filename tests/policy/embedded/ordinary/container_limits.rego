# input {"containers":[{"name":"a","resources":{"limits":{"cpu":"200m","memory":"1Gi"}}},{"name":"b","resources":{"limits":{"cpu":2,"memory":"12Ki"}}},{"name":"c"}]}
package ordinary.container_limits

missing(obj, field) if not obj[field]

missing(obj, field) if obj[field] == ""

canonify_cpu(orig) := new if {
	is_number(orig)
	new := orig * 1000
}

canonify_cpu(orig) := new if {
	not is_number(orig)
	endswith(orig, "m")
	new := to_number(replace(orig, "m", ""))
}

canonify_cpu(orig) := new if {
	not is_number(orig)
	not endswith(orig, "m")
	regex.match("^[0-9]+(\\.[0-9]+)?$", orig)
	new := to_number(orig) * 1000
}

mem_multiple("Ki") := 1024000

mem_multiple("Mi") := 1048576000

mem_multiple("Gi") := 1073741824000

suffix(mem) := substring(mem, count(mem) - 2, -1) if count(mem) > 1

canonify_mem(mem) := to_number(replace(mem, suffix(mem), "")) * mem_multiple(suffix(mem))

violation contains msg if {
	some container in input.containers
	missing(container, "resources")
	msg := sprintf("container <%v> has no resource limits", [container.name])
}

violation contains msg if {
	some container in input.containers
	cpu := canonify_cpu(container.resources.limits.cpu)
	cpu > 500
	msg := sprintf("container <%v> cpu limit <%v> is higher than the maximum", [container.name, container.resources.limits.cpu])
}

violation contains msg if {
	some container in input.containers
	mem := canonify_mem(container.resources.limits.memory)
	mem > 536870912000
	msg := sprintf("container <%v> memory limit <%v> is higher than the maximum", [container.name, container.resources.limits.memory])
}
