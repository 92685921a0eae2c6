# input {"resource":{"id":"send_email"},"subject":{"properties":{"roles":["support"]}},"action":{"properties":{"args":{"to":"bob@example.com","subject":"hi"}}}}
# data {"tools":{"support":["search","send_email"],"finance":["pay"]}}
package ordinary.tool_allowlist

import data.tools
import input.action.properties.args
import input.resource.id as tool

allow contains "role" if {
	some role in input.subject.properties.roles
	tool in tools[role]
}

deny contains "external" if {
	tool == "send_email"
	not endswith(args.to, "@example.com")
}

deny contains "no subject" if {
	tool == "send_email"
	trim_space(args.subject) == ""
}
