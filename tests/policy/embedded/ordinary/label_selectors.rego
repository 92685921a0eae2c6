# input {"labels":{"app":"x","env":"prod"},"selectors":[{"key":"app","values":["x","y"]},{"key":"tier","values":["z"]}]}
package ordinary.label_selectors

matches(selector) if {
	value := input.labels[selector.key]
	value in selector.values
}

matches(selector) if {
	not input.labels[selector.key]
	selector.optional
}

failed := [s.key | s := input.selectors[_]; not matches(s)]

all_match if count(failed) == 0

required_labels := {"app": `^[a-z]+$`, "env": "^(prod|test)$"}

deny contains msg if {
	pattern := required_labels[key]
	not regex.match(pattern, input.labels[key])
	msg := sprintf("label %v=%v does not match %v", [key, input.labels[key], pattern])
}

deny contains msg if {
	required_labels[key]
	not input.labels[key]
	msg := sprintf("label %s is missing", [key])
}
