# input {"object":{"kind":"Deployment","spec":{"replicas":50},"metadata":{"name":"web"}},"ranges":[{"min_replicas":3,"max_replicas":10}]}
package ordinary.replicas

object_name := input.object.metadata.name

object_kind := input.object.kind

violation contains {"msg": msg} if {
	spec := input.object.spec
	not input_replica_limit(spec)
	msg := sprintf("The provided number of replicas is not allowed for %v: %v. Allowed ranges: %v", [object_kind, object_name, input.ranges])
}

input_replica_limit(spec) if {
	provided := spec.replicas
	count(input.ranges) > 0
	range := input.ranges[_]
	value_within_range(range, provided)
}

value_within_range(range, value) if {
	range.min_replicas <= value
	range.max_replicas >= value
}
