# File names.
#
# Nothing here is undefined. A path that programs could read in different ways counts as outside: with two dots in one
# part, backslashes, percent-encoded characters, control characters, or characters that look like dots and slashes.
# Paths are compared as text, because only the tool can resolve symbolic links.
#
# In a policy, write the full name: data.guardrail.lib.paths.under(input.action.properties.args.path, "/srv/data")

# METADATA
# scope: package
# schemas:
#   - input: schema.guardrail_input
package guardrail.lib.paths

# True if path is an absolute path below folder. A path with unusual parts counts as outside.
default inside(_, _) := false

inside(path, folder) if {
	is_string(path)
	is_string(folder)
	startswith(path, concat("", [folder, "/"]))
	every part in split(trim_prefix(path, "/"), "/") {
		not part in {"", ".", ".."}
	}
	not contains(path, "\\")
	not contains(path, "\u0000")
}

# The absolute path without empty parts, and without parts that are one dot. "" if it is relative or can't be read
# safely.
default normal(_) := ""

normal(path) := concat("", ["/", concat("/", parts(path))]) if {
	is_string(path)
	startswith(path, "/")
}

# True if the path is the root, an absolute path, or below it.
default under(_, _) := false

under(path, root) if {
	normal(root) != ""
	normal(path) == normal(root)
}

under(path, root) if {
	normal(root) != ""
	startswith(normal(path), concat("", [trim_right(normal(root), "/"), "/"]))
}

# True if the path is relative, and leads to a place below the current folder.
default is_relative(_) := false

is_relative(path) if {
	count(parts(path)) > 0
	not regex.match(`^[/~-]|:`, path)
}

parts(path) := kept if {
	is_string(path)
	not regex.match("[[:cntrl:]\\\\\u0080-\u009f\u2024-\u2026\u2044\u2215\u2216\u2028\u2029\u29f5\u29f8\u3002\ufe52\uff0e\uff0f\uff3c]|%[0-9A-Fa-f][0-9A-Fa-f]", path)
	kept := [part | some part in split(path, "/"); not part in {"", "."}]
	every part in kept {
		not regex.match(`[. ]$|^ `, part)
	}
}
