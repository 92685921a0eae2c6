# input {"user":"u","tags":["a"],"meta":{"k":"v"}}
package ordinary.rule_value_objects

user_info := {
	"id": input.user,
	"tags": input.tags,
	"n": count(input.tags),
	"missing": object.get(input.meta, "zz", null),
}

as_list := [input.user, count(input.tags), concat("-", input.tags)]

as_set := {input.user, lower(input.user)}

nested := {"a": {"b": [input.user, upper(input.user)]}}

computed := {k: upper(v) | some k, v in input.meta}

quoted := json.marshal({"user": input.user})

text := concat(" ", ["user", input.user, format_int(count(input.tags), 10)])

ids contains {"id": input.user, "tag": tag} if some tag in input.tags
