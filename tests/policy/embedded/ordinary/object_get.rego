# input {"config":{"limits":{"max":5}},"name":"x"}
package ordinary.object_get

max_value := object.get(input, ["config", "limits", "max"], 10)

owner := object.get(input.config, "owner", "nobody")

deny contains msg if {
	max_value > 3
	msg := sprintf("%s: %v exceeds 3 (owner %s)", [input.name, max_value, owner])
}

keys := object.keys(input.config)

merged := object.union({"a": 1, "b": {"c": 2}}, input.config)
