# input {"args":{"path":"/srv/../etc/passwd","mode":"r"},"roots":["/srv","/tmp/"]}
package ordinary.tool_paths

deny contains "path leaves the folder" if ".." in split(input.args.path, "/")

deny contains "unknown root" if not under_root

under_root if startswith(input.args.path, concat("", [trim_right(input.roots[_], "/"), "/"]))

deny contains msg if {
	count(input.args.path) > 4096
	msg := "the path is too long"
}

hidden if {
	parts := split(input.args.path, "/")
	part := parts[_]
	startswith(part, ".")
	part != ".."
}

extension := parts[count(parts) - 1] if {
	parts := split(input.args.path, ".")
	count(parts) > 1
}
