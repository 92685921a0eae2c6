# Files: tools may use files below the workspace, and no others.
package guardrail.policy

file_tool if input.resource.id in data.starter.file_tools

in_workspace if {
	data.guardrail.lib.paths.inside(data.guardrail.lib.args.text("path"), data.starter.workspace)
}

allow contains "file-in-workspace" if {
	file_tool
	in_workspace
}

deny contains {"rule": "file-outside", "message": "files outside the workspace are not touched"} if {
	file_tool
	not in_workspace
}
