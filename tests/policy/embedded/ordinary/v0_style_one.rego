# input {"resource":{"kind":"Pod","spec":{"containers":[{"name":"a","image":"x:1","ports":[{"containerPort":80,"hostPort":80}]}]}}}
package ordinary.v0_style_one

default allow = false

default message = "denied"

name = input.resource.metadata.name

is_pod if input.resource.kind == "Pod"

allow if {
	is_pod
	not violation_found
}

violation_found if count(violation) > 0

violation contains {"msg": msg, "details": {"ports": ports}} if {
	container = input.resource.spec.containers[_]
	ports = [p | p = container.ports[_].hostPort]
	ports != []
	msg = sprintf("%s uses host ports %v", [container.name, ports])
}

first_image = image if image = input.resource.spec.containers[0].image

images contains input.resource.spec.containers[_].image

port_map[name] = port if {
	container := input.resource.spec.containers[_]
	name := container.name
	port := container.ports[0].containerPort
}

array_contains(arr, elem) if arr[_] = elem

has if array_contains(input.resource.spec.containers[0].ports, {"containerPort": 80, "hostPort": 80})
