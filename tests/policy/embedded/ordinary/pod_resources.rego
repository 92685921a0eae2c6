# input {"request":{"kind":{"kind":"Pod"},"operation":"CREATE","object":{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"500m","memory":"1Gi"}}},{"name":"b","resources":{}}]}}}}
package ordinary.pod_resources

import input.request.object as pod

deny contains msg if {
	input.request.kind.kind == "Pod"
	container := pod.spec.containers[i]
	not container.resources.limits.memory
	msg := sprintf("container %d (%s) has no memory limit", [i, container.name])
}

cpu(text) := to_number(trim_suffix(text, "m")) if endswith(text, "m")

cpu(text) := to_number(text) * 1000 if not endswith(text, "m")

total := sum([cpu(c.resources.limits.cpu) | some c in pod.spec.containers])

too_much if total > 400

names := concat(",", [c.name | c := pod.spec.containers[_]])
