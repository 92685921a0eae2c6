# input {"tool":"write_file","args":{"path":"/home/agent/../../etc/passwd"}}
# input {"tool":"write_file","args":{"path":"/home/agent/notes.txt"}}
package ordinary.file_paths

roots := ["/home/agent/", "/tmp/"]

blocked := {"/etc/*", "/root/**", "/home/*/.ssh/*"}

inside(path) if startswith(path, roots[_])

traversal if contains(input.args.path, "..")

traversal if regex.match(`(^|/)\.\.(/|$)`, input.args.path)

deny contains "outside" if not inside(input.args.path)

deny contains "traversal" if traversal

deny contains sprintf("blocked by %v", [pattern]) if {
	some pattern in blocked
	glob.match(pattern, ["/"], input.args.path)
}

deny contains "extension" if {
	parts := split(input.args.path, ".")
	not parts[count(parts) - 1] in {"txt", "md", "csv"}
}
