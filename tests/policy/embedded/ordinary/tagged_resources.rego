# input {"resource_changes":[{"address":"a.b","type":"aws_instance","change":{"actions":["create"],"after":{"tags":{"owner":"x"}}}},{"address":"c.d","type":"aws_s3_bucket","change":{"actions":["delete","create"],"after":{"tags":null}}},{"address":"e","type":"aws_x","change":{"actions":["no-op"],"after":null}}]}
package ordinary.tagged_resources

required := {"owner", "team"}

tags(resource) := object.get(resource.change.after, "tags", {})

changed contains resource if {
	resource := input.resource_changes[_]
	resource.change.actions[_] in {"create", "update"}
}

missing(resource) := required - object.keys(tags(resource))

deny contains msg if {
	some resource in changed
	absent := missing(resource)
	count(absent) > 0
	msg := sprintf("%s lacks %s", [resource.address, concat(", ", sort(absent))])
}

last_action(resource) := resource.change.actions[count(resource.change.actions) - 1]

replaced := [r.address | some r in input.resource_changes; last_action(r) == "create"; count(r.change.actions) == 2]
