# Files: tools may use only files below the workspace.
package guardrail.policy

file_tool if input.resource.id in data.starter.file_tools

in_workspace if {
	data.guardrail.lib.paths.inside(data.guardrail.lib.args.text("path"), data.starter.workspace)
}

allow contains "file-in-workspace" if {
	file_tool
	in_workspace
}

deny contains {"rule": "file-outside", "message": "tools may not use files outside the workspace"} if {
	file_tool
	not in_workspace
}
