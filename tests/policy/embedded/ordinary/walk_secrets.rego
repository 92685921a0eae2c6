# input {"spec":{"env":[{"name":"TOKEN","value":"abc"},{"name":"X","value":"y"}],"nested":{"password":"p","list":[{"secret_key":1}]}}}
package ordinary.walk_secrets

secret_paths contains path if {
	[path, value] := walk(input)
	is_string(value)
	key := path[count(path) - 1]
	regex.match(`(?i)(password|secret|token)`, sprintf("%v", [key]))
}

names contains value.name if {
	walk(input, [_, value])
	value.name
}

found if {
	some path
	walk(input.spec, [path, "abc"])
	path[0] == "env"
}

unlisted contains value if {
	walk(input.spec, [_, value])
	is_string(value)
	not input.listed[value]
}
