# File names.
package guardrail.lib.paths

# Whether path is an absolute name below folder. Names are compared as they are written: what a symbolic link leads to,
# only the tool itself can know. Anything unusual in a name is outside.
inside(path, folder) if {
	is_string(path)
	startswith(path, concat("", [folder, "/"]))
	every part in split(trim_prefix(path, "/"), "/") {
		not part in {"", ".", ".."}
	}
	not contains(path, "\\")
	not contains(path, "\u0000")
}
