# File names.

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.paths

# True if path is an absolute path below folder. Paths are compared as text, because only the tool can resolve symbolic
# links. A path with unusual parts counts as outside.
inside(path, folder) if {
	is_string(path)
	startswith(path, concat("", [folder, "/"]))
	every part in split(trim_prefix(path, "/"), "/") {
		not part in {"", ".", ".."}
	}
	not contains(path, "\\")
	not contains(path, "\u0000")
}
